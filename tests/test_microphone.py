"""The microphone: a real PortAudio capture through a virtual device, and what happens when things break."""

import json
import os
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import structlog
from virtual_microphone import VirtualMicrophone, virtual_microphone

from agent.audio.alsaconfig import PCM, Channel, render, write_config
from agent.audio.devices import NO_PORTAUDIO, list_devices
from agent.audio.earprocess import ear_command, ear_environment
from agent.audio.microphone import Microphone
from agent.audio.source import SourceLost, SourceState
from agent.errors import MicrophoneError
from agent.host.soundcards import Card, SoundCards

__all__ = ["virtual_microphone"]

SPEECH = Path("/usr/share/sounds/alsa/Front_Center.wav")
OTHER_SPEECH = Path("/usr/share/sounds/alsa/Rear_Left.wav")
CARD = Card(1, "Fake", "Fake USB Mic", ("usb-1:2-3",), "usb-1:2-3", 0, None, None)

Samples = npt.NDArray[np.int16]
Make = Callable[..., Microphone]


class FakeCards(SoundCards):
    """A machine with the given cards."""

    def __init__(self, *cards: Card) -> None:
        super().__init__()
        self.cards = list(cards)

    def present(self) -> list[Card]:
        """Return them."""
        return self.cards


@pytest.fixture
def make(virtual_microphone: VirtualMicrophone, tmp_path: Path) -> Iterator[Make]:
    """Make microphones that hear the virtual one, and close them after the test."""
    made: list[Microphone] = []

    def make_one(wanted: str = "default", rate: int = 48000, **options: Any) -> Microphone:
        defaults: dict[str, Any] = {
            "channels": 1,
            "channel": "mix",
            "runtime_directory": tmp_path / "run",
            "cards": FakeCards(),
            "environment": virtual_microphone.env,
        }
        made.append(Microphone(wanted, rate, **(defaults | options)))
        return made[-1]

    yield make_one
    for microphone in made:
        microphone.close()


@pytest.fixture(autouse=True)
def whole(virtual_microphone: VirtualMicrophone) -> Iterator[None]:
    """Bring the device back when a test broke it and failed half-way."""
    yield
    if not virtual_microphone.running:
        virtual_microphone.start()
    virtual_microphone.thaw()


def read_wav(path: Path) -> Samples:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")


def collect(microphone: Microphone, seconds: float) -> Samples:
    """Read so much sound, after what is there already."""
    end = time.monotonic() + seconds
    samples = bytearray()
    while (block := microphone.read(1)) is not None:
        samples += block.samples
        if block.captured_at > end:
            break
    return np.frombuffer(samples, dtype="<i2")


def correlate(heard: Samples, played: Samples) -> tuple[int, float]:
    """Return the shift at which a part of ``heard`` is most like ``played``, and their correlation."""
    size = 1 << (len(heard) + len(played)).bit_length()
    product = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(played, size))
    shift = int(np.argmax(np.fft.irfft(product, size)[: len(heard) - len(played) + 1]))
    return shift, float(np.corrcoef(heard[shift : shift + len(played)], played)[0, 1])


def part_like(heard: Samples, played: Samples) -> Samples:
    """Return the part of ``heard`` at which ``played`` is."""
    shift, _ = correlate(heard, played)
    return heard[shift : shift + len(played)]


def play(microphone: VirtualMicrophone, wav: Path, sink: str = "vmic") -> subprocess.Popen[bytes]:
    return subprocess.Popen(["paplay", "-d", sink, str(wav)], env=microphone.env)


def lose(microphone: Microphone, within: float) -> tuple[float, str]:
    """Read until the source is lost; return after how many seconds, and the reason."""
    start = time.monotonic()
    while time.monotonic() - start < within:
        try:
            microphone.read(0.1)
        except SourceLost as error:
            return time.monotonic() - start, str(error)
    pytest.fail(f"not lost within {within} s")


def state(microphone: Microphone) -> str:
    """Return the state as a text, which mypy does not narrow."""
    return microphone.state.value


def children() -> set[str]:
    """Return the pids of this process's children, zombies included."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def descriptors() -> int:
    """Return how many file descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_speech_at_48_khz_is_captured_sample_for_sample(
    virtual_microphone: VirtualMicrophone, make: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    """Human speech played at real time arrives unchanged, in numbered blocks, with not a word on stderr."""
    microphone = make()
    assert microphone.state is SourceState.CLOSED
    microphone.require(5)
    assert (microphone.state, microphone.identity, microphone.name) == ("listening", "default", "default")
    with play(virtual_microphone, SPEECH):
        heard = collect(microphone, 2.5)
    played = read_wav(SPEECH)
    assert np.array_equal(part_like(heard, played), played)
    assert (microphone.blocks_lost, microphone.overflows, microphone.last_error) == (0, 0, "")
    noise = "".join(capfd.readouterr())
    assert "ALSA" not in noise
    assert "jack" not in noise.lower()


def test_speech_at_16_khz_correlates(virtual_microphone: VirtualMicrophone, make: Make) -> None:
    """Speech resampled on its way is still the same speech: correlation of at least 0.95."""
    microphone = make(rate=16000)
    microphone.require(5)
    with play(virtual_microphone, SPEECH):
        heard = collect(microphone, 2.5)
    played = read_wav(SPEECH)
    spectrum = np.fft.rfft(played)[: len(played) // 6 + 1]
    spectrum[-1] = 0
    reference = (np.fft.irfft(spectrum, len(played) // 3) / 3).astype(np.int16)
    assert correlate(heard, reference)[1] >= 0.95


def test_blocks_carry_the_time_of_their_capture(make: Make) -> None:
    """Stamps are monotonic seconds one block apart on average, and sequence numbers count from 0."""
    microphone = make()
    blocks = [block for _ in range(40) if (block := microphone.read(5)) is not None]
    assert [block.sequence for block in blocks] == list(range(len(blocks)))
    assert {len(block.samples) for block in blocks} == {48 * 60 * 2}
    assert blocks[-1].captured_at == pytest.approx(time.monotonic(), abs=0.2)
    spacing = (blocks[-1].captured_at - blocks[0].captured_at) / (len(blocks) - 1)
    assert spacing == pytest.approx(0.06, rel=0.2)


LISTENER = """
import os, sys
import structlog
from pathlib import Path
from agent.audio.microphone import Microphone
from agent.host.soundcards import SoundCards
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
microphone = Microphone("default", 48000, 1, "mix", runtime_directory=Path(sys.argv[1]), cards=SoundCards())
microphone.require(5)
os.write(1, b"%d\\n" % microphone.ear_pid)
with open(sys.argv[2], "wb", buffering=0) as file:
    while (block := microphone.read(2)) is not None:
        file.write(block.samples)
"""


def test_a_stopped_parent_loses_no_sample_and_its_ear_dies_with_it(
    virtual_microphone: VirtualMicrophone, tmp_path: Path
) -> None:
    """Stopped for 3 s while somebody speaks it misses nothing and keeps its ear, which dies when it does."""
    raw = tmp_path / "raw"
    command = [sys.executable, "-c", LISTENER, str(tmp_path), str(raw)]
    with subprocess.Popen(command, env=virtual_microphone.env, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        ear = Path("/proc") / parent.stdout.readline().strip()
        player = play(virtual_microphone, SPEECH)
        time.sleep(0.5)
        parent.send_signal(signal.SIGSTOP)
        time.sleep(3)
        player.wait()
        parent.send_signal(signal.SIGCONT)
        time.sleep(1)
        ear_lived_through = ear.exists()
        parent.kill()
    played = read_wav(SPEECH)
    heard = np.frombuffer(raw.read_bytes(), dtype="<i2")
    assert np.array_equal(part_like(heard, played), played)
    assert ear_lived_through
    deadline = time.monotonic() + 2
    while _alive(ear) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(ear)


def _alive(process: Path) -> bool:
    """Whether it runs; what nobody has reaped yet does not."""
    try:
        return "State:\tZ" not in (process / "status").read_text()
    except OSError:
        return False


def test_ctrl_c_does_not_reach_the_ear(make: Make) -> None:
    """SIGINT and SIGHUP, which a terminal sends to the whole group, leave the ear alone; SIGTERM ends it."""
    microphone = make()
    microphone.require(5)
    ear = microphone.ear_pid
    assert ear is not None
    os.kill(ear, signal.SIGINT)
    os.kill(ear, signal.SIGHUP)
    assert len(collect(microphone, 0.5)) > 0
    assert microphone.ear_pid == ear
    os.kill(ear, signal.SIGTERM)
    assert lose(microphone, 2)[0] < 1


def test_an_unplugged_microphone_is_lost_at_once_and_comes_back(
    virtual_microphone: VirtualMicrophone, make: Make
) -> None:
    """Lost within 2 s, said and warned of once, tried again quietly, listening within 10 s of its return."""
    microphone = make()
    microphone.require(5)
    with structlog.testing.capture_logs() as logs:
        virtual_microphone.kill()
        seconds, reason = lose(microphone, 3)
        assert seconds < 2
        assert "went away" in reason
        assert state(microphone) == "lost"
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            assert microphone.read(0.2) is None
        assert state(microphone) == "waiting"
        assert "no microphone default" in microphone.last_error
        virtual_microphone.start()
        microphone.require(10)
    assert state(microphone) == "listening"
    levels = [(entry["action"], entry["log_level"]) for entry in logs]
    assert levels[0] == ("microphone_fail", "warning")
    assert set(levels[1:-1]) == {("microphone_fail", "debug")}
    assert levels[-1] == ("microphone_open", "info")


def test_a_wedged_microphone_is_found_out_and_comes_back(
    virtual_microphone: VirtualMicrophone, make: Make
) -> None:
    """A device that hangs silently is WEDGED within 2 s, its ear is killed, and a new one hears it later."""
    microphone = make()
    microphone.require(5)
    first = microphone.ear_pid
    virtual_microphone.freeze()
    seconds, reason = lose(microphone, 3)
    assert seconds < 2
    assert "hangs" in reason
    assert microphone.state is SourceState.WEDGED
    assert str(first) not in children()
    virtual_microphone.thaw()
    microphone.require(10)
    assert microphone.ear_pid != first


def test_a_device_that_hangs_while_opening_is_given_up(
    virtual_microphone: VirtualMicrophone, make: Make
) -> None:
    """An opening that takes longer than the time-out is killed and called wedged, not waited for."""
    microphone = make(open_timeout=1.5)
    virtual_microphone.freeze()
    assert lose(microphone, 5)[0] == pytest.approx(1.5, abs=0.5)
    assert (microphone.state, children() & {str(microphone.ear_pid)}) == (SourceState.WEDGED, set())


def test_a_microphone_absent_at_first_is_waited_for(
    virtual_microphone: VirtualMicrophone, make: Make
) -> None:
    """Without a device: one SourceLost, WAITING, and ``require`` says why; then it listens by itself."""
    virtual_microphone.kill()
    microphone = make()
    assert "no microphone default" in lose(microphone, 3)[1]
    assert state(microphone) == "waiting"
    with pytest.raises(MicrophoneError, match="no microphone default"):
        microphone.require(0.7)
    virtual_microphone.start()
    microphone.require(10)
    assert state(microphone) == "listening"


def test_ten_openings_leave_nothing_behind(make: Make) -> None:
    """Neither a file descriptor nor a process, not even a zombie, is left by opening and closing."""
    open_files, processes = descriptors(), children()
    microphone = make()
    for _ in range(10):
        microphone.require(5)
        microphone.close()
    assert microphone.state is SourceState.CLOSED
    assert descriptors() == open_files
    assert children() == processes


def program(tmp_path: Path, script: str) -> str:
    """Return a program that takes the place of Python for an ear."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    "script", ["kill -ABRT $$", "kill -SEGV $$", "exit 0", "yes nonsense", "exec /nowhere"]
)
def test_an_ear_that_dies_while_opening_is_no_microphone(make: Make, tmp_path: Path, script: str) -> None:
    """Whatever kills the ear before sound flows, the state is WAITING and the sentence is ours."""
    microphone = make(python=program(tmp_path, script))
    assert "The microphone default" in lose(microphone, 3)[1]
    assert microphone.state is SourceState.WAITING


def test_an_ear_that_cannot_be_started_is_waited_for(make: Make) -> None:
    """A missing interpreter is a reason to wait, not to crash."""
    microphone = make(python="/nowhere/python")
    assert "The ear does not start" in lose(microphone, 3)[1]
    assert microphone.state is SourceState.WAITING


def test_attempts_follow_the_backoff(make: Make) -> None:
    """Attempts start 0.5, 1, 2, 4, 5, 5 s after one another, on the clock that is handed in."""
    now = 0.0
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        waits.append(seconds)

    microphone = make(python="/nowhere/python", monotonic=lambda: now, sleep=sleep)
    with pytest.raises(SourceLost):
        microphone.read(0)
    assert microphone.read(17.5) is None
    assert waits == [0.5, 1, 2, 4, 5, 5]


def test_a_missing_portaudio_says_what_to_install(
    virtual_microphone: VirtualMicrophone, make: Make, tmp_path: Path
) -> None:
    """When the library does not load, microphone and listing name the package; the former keeps trying."""
    (tmp_path / "libportaudio.so.2").touch()
    environment = virtual_microphone.env | {"LD_LIBRARY_PATH": str(tmp_path)}
    microphone = make(environment=environment)
    assert lose(microphone, 3)[1] == NO_PORTAUDIO
    assert (microphone.state, microphone.last_error) == (SourceState.WAITING, NO_PORTAUDIO)
    with pytest.raises(MicrophoneError, match="apt-get install libportaudio2"):
        list_devices(FakeCards(), environment=environment)


def test_a_pcm_is_opened_by_name_and_an_unknown_one_is_named(make: Make) -> None:
    """``mic`` is a PCM of the configuration; what is no PCM is answered with those that there are."""
    named = make("mic")
    named.require(5)
    assert (named.identity, named.name) == ("mic", "mic")
    with pytest.raises(SourceLost, match=r"no microphone tuba .*mic, default"):
        make("tuba").read(5)


def test_devices_lists_cards_and_named_pcms(virtual_microphone: VirtualMicrophone) -> None:
    """Cards by stable id with what the kernel tells, PCMs by name; ``default`` is the PCM if there is one."""
    card = CARD._replace(channel_counts=(1, 2), sample_rates=(44100, 48000))
    found = list_devices(FakeCards(card), environment=virtual_microphone.env)
    assert [(device.id, device.name, device.default) for device in found] == [
        ("usb-1:2-3", "Fake USB Mic", False),
        ("mic", "mic", False),
        ("default", "default", True),
    ]
    assert (found[0].channels, found[0].sample_rates) == (2, [44100, 48000])


def test_the_only_card_is_the_default_when_alsa_has_none(virtual_microphone: VirtualMicrophone) -> None:
    """Without a ``default`` that captures, the one card is what ``default`` means."""
    environment = virtual_microphone.env | {"ALSA_CONFIG_PATH": "/dev/null"}
    assert [
        (device.id, device.default) for device in list_devices(FakeCards(CARD), environment=environment)
    ] == [("usb-1:2-3", True)]


@pytest.fixture(scope="module")
def stereo(virtual_microphone: VirtualMicrophone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An ALSA configuration whose only card is a virtual one that does stereo and nothing else."""
    module = virtual_microphone.pactl(
        "load-module", "module-null-sink", "sink_name=stereo", "rate=48000", "channels=2"
    )
    pacat = [
        "pacat",
        "--raw",
        "--latency-msec=20",
        "--channels=2",
        "--rate=48000",
        "-d",
        "stereo",
        "/dev/zero",
    ]
    primer = subprocess.Popen(pacat, env=virtual_microphone.env)
    time.sleep(2.2)
    path = tmp_path_factory.mktemp("alsa") / "base.conf"
    path.write_text(
        "pcm.!default { type hw card 31 }\n"
        "pcm.hw { @args [ CARD DEV ] @args.CARD { type string } @args.DEV { type integer }\n"
        '  type mmap_emul slave.pcm { type pulse device "stereo.monitor" } }\n'
    )
    yield path
    primer.kill()
    primer.wait()
    if virtual_microphone.running:
        virtual_microphone.pactl("unload-module", module)


def test_each_choice_of_a_channel_on_a_stereo_card(
    virtual_microphone: VirtualMicrophone, make: Make, stereo: Path, tmp_path: Path
) -> None:
    """``default`` falls back to the only card, and left, right and mix are what was played there."""
    left = read_wav(SPEECH)
    right = np.resize(read_wav(OTHER_SPEECH), len(left))
    both = tmp_path / "both.wav"
    with wave.open(str(both), "wb") as file:
        file.setparams((2, 2, 48000, 0, "NONE", ""))
        file.writeframes(np.stack([left, right], axis=1).tobytes())
    environment = virtual_microphone.env | {"ALSA_CONFIG_PATH": str(stereo)}
    choices: tuple[Channel, ...] = ("left", "right", "mix")
    microphones = [
        make(
            channel=choice,
            cards=FakeCards(CARD),
            environment=environment,
            runtime_directory=tmp_path / choice,
        )
        for choice in choices
    ]
    for microphone in microphones:
        microphone.require(5)
    with play(virtual_microphone, both, "stereo"):
        heard = [collect(microphone, 2.5) for microphone in microphones]
    assert {microphone.identity for microphone in microphones} == {CARD.stable_id}
    assert np.array_equal(part_like(heard[0], left), left)
    assert np.array_equal(part_like(heard[1], right), right)
    mix = ((left.astype(np.int32) + right) / 2).astype(np.int16)
    assert int(np.max(np.abs(part_like(heard[2], mix).astype(np.int32) - mix))) <= 1


def test_a_card_of_another_rate_gets_the_good_converter(
    virtual_microphone: VirtualMicrophone, stereo: Path, tmp_path: Path
) -> None:
    """ALSA accepts the list of converters and takes the first one it has: speex."""
    environment = virtual_microphone.env | {"ALSA_CONFIG_PATH": str(stereo)}
    path = write_config(tmp_path, CARD, channels=1, channel="left", environment=environment)
    path.write_text(path.read_text().replace("channels 2", "channels 2 rate 48000"))
    record = f"arecord -v -D {PCM} -r 16000 -c 1 -f S16_LE -d 1 {tmp_path}/raw.wav"
    environment["ALSA_CONFIG_PATH"] = str(path)
    done = subprocess.run(record.split(), env=environment, capture_output=True, text=True, check=True)
    assert "Converter: libspeex" in done.stderr
    assert "0 <- 0\n" in done.stderr


@pytest.mark.parametrize(
    ("counts", "channels", "channel", "expected"),
    [
        (None, 1, "left", "channels 2 } ttable.0 { 0 1 1 0 }"),
        (None, 1, "mix", "channels 2 } ttable.0 { 0 0.5 1 0.5 }"),
        ((1, 2), 1, "right", "channels 2 } ttable.0 { 0 0 1 1 }"),
        ((1, 2), 1, "mix", "channels 1 }  rate"),
        ((1,), 1, "left", "channels 1 }  rate"),
        ((1,), 2, "left", 'DEV=0" }  rate'),
        ((2,), 2, "left", "channels 2 }  rate"),
        ((6,), 1, "mix", "channels 6 } ttable.0 { 0 0.5 1 0.5 }"),
    ],
)
def test_the_configuration_picks_a_channel_only_where_there_are_two(
    counts: tuple[int, ...] | None, channels: int, channel: Channel, expected: str
) -> None:
    """A mono card has no left and right, one that does mono mixes by itself, unknown ones count as stereo."""
    card = CARD._replace(channel_counts=counts)
    text = render(card, channels=channels, channel=channel, environment={})
    assert expected in text.splitlines()[-1]
    assert text.startswith("</usr/share/alsa/alsa.conf>\n")


def test_a_runtime_directory_that_alsa_cannot_name_is_refused(tmp_path: Path) -> None:
    """A space in the path is an error of one sentence instead of a configuration that ALSA would not find."""
    with pytest.raises(MicrophoneError, match="a space or a colon"):
        write_config(tmp_path / "a b", CARD, channels=1, channel="mix", environment={})


def test_an_orphaned_ear_does_not_start(virtual_microphone: VirtualMicrophone) -> None:
    """An ear whose parent is not the one it was told of exits without opening anything."""
    command = ear_command(sys.executable, "--list")
    command[command.index("--parent") + 1] = "1"
    environment = ear_environment(virtual_microphone.env)
    done = subprocess.run(command, env=environment, capture_output=True, timeout=10, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


def test_the_ear_stays_small(virtual_microphone: VirtualMicrophone, make: Make) -> None:
    """A listening ear measures at most 16 MiB PSS, and its list is JSON of what ALSA names."""
    microphone = make(rate=16000)
    microphone.require(5)
    rollup = Path(f"/proc/{microphone.ear_pid}/smaps_rollup").read_text()
    assert int(rollup.split("\nPss:")[1].split()[0]) < 16 * 1024
    command = ear_command(sys.executable, "--list")
    environment = ear_environment(virtual_microphone.env)
    done = subprocess.run(command, env=environment, capture_output=True, timeout=10, check=True)
    assert [entry["name"] for entry in json.loads(done.stdout)] == ["mic", "default"]
