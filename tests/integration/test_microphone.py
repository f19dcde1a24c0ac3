"""The microphone: a real PortAudio capture through a virtual device, and what happens when things break."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from captured_sound import (
    SPEECH,
    Make,
    children,
    collect,
    correlate,
    descriptors,
    lose,
    make,
    part_like,
    play,
    program,
    read_wav,
    state,
    whole,
)
from logcapture import capture_logs
from simulated import SimulatedClock
from virtual_microphone import VirtualMicrophone, virtual_microphone

from agent.audio.source import SourceLost, SourceState
from agent.capture import protocol
from agent.capture.microphone import GATHER_BLOCKS
from agent.capture.process import CaptureTimes, capture_command, capture_environment
from agent.errors import MicrophoneError

__all__ = ["make", "virtual_microphone", "whole"]


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
    blocks = [block for _ in range(20) if (block := microphone.read(5)) is not None]
    assert [block.sequence for block in blocks] == list(range(len(blocks)))
    assert {len(block.samples) for block in blocks} == {48 * 120 * 2}
    assert 0 <= time.monotonic() - blocks[-1].captured_at < 0.2 + GATHER_BLOCKS * 0.12
    spacing = (blocks[-1].captured_at - blocks[0].captured_at) / (len(blocks) - 1)
    assert spacing == pytest.approx(0.12, rel=0.2)


def test_a_reader_that_keeps_up_wakes_for_several_blocks_at_a_time(make: Make) -> None:
    """Most of the blocks are there at once when they are asked for, and none is passed over."""
    microphone = make()
    for _ in range(10):
        microphone.read(5)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    blocks = [block for _ in range(25) if (block := microphone.read(5)) is not None]
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before <= 0.75 * 25
    assert [block.sequence for block in blocks] == list(range(10, 35))


LISTENER = """
import os, sys
from pathlib import Path
from agent import log
from agent.capture.microphone import Microphone
from agent.capture.process import CaptureSettings
from agent.clock import SystemClock
from agent.host.sound_cards import SoundCards
log.configure("info", "text")
capture = CaptureSettings(48000, 1, "mix", Path(sys.argv[1]))
microphone = Microphone("default", capture, SoundCards(), SystemClock())
microphone.require(5)
os.write(1, b"%d\\n" % microphone.capture_pid)
with open(sys.argv[2], "wb", buffering=0) as file:
    while (block := microphone.read(2)) is not None:
        file.write(block.samples)
"""


def test_a_stopped_parent_loses_no_sample_and_its_capture_process_dies_with_it(
    virtual_microphone: VirtualMicrophone, tmp_path: Path
) -> None:
    """Stopped for 3 s while somebody speaks it misses nothing and keeps its capture process, which dies with it."""
    raw = tmp_path / "raw"
    command = [sys.executable, "-c", LISTENER, str(tmp_path), str(raw)]
    with subprocess.Popen(command, env=virtual_microphone.env, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        capture = Path("/proc") / parent.stdout.readline().strip()
        player = play(virtual_microphone, SPEECH)
        time.sleep(0.5)
        parent.send_signal(signal.SIGSTOP)
        time.sleep(3)
        player.wait()
        parent.send_signal(signal.SIGCONT)
        time.sleep(1)
        capture_process_lived_through = capture.exists()
        parent.kill()
    played = read_wav(SPEECH)
    heard = np.frombuffer(raw.read_bytes(), dtype="<i2")
    assert np.array_equal(part_like(heard, played), played)
    assert capture_process_lived_through
    deadline = time.monotonic() + 2
    while _alive(capture) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(capture)


def _alive(process: Path) -> bool:
    """Whether it runs; what nobody has reaped yet does not."""
    try:
        return "State:\tZ" not in (process / "status").read_text()
    except OSError:
        return False


def test_ctrl_c_does_not_reach_the_capture_process(make: Make) -> None:
    """SIGINT and SIGHUP, which a terminal sends to a whole group, leave the capture process alone; SIGTERM ends it."""
    microphone = make()
    microphone.require(5)
    capture = microphone.capture_pid
    assert capture is not None
    os.kill(capture, signal.SIGINT)
    os.kill(capture, signal.SIGHUP)
    assert len(collect(microphone, 0.5)) > 0
    assert microphone.capture_pid == capture
    os.kill(capture, signal.SIGTERM)
    assert lose(microphone, 2)[0] < 1


def test_an_unplugged_microphone_is_lost_at_once_and_comes_back(
    virtual_microphone: VirtualMicrophone, make: Make
) -> None:
    """Lost within 2 s, said and warned of once, tried again quietly, listening within 10 s of its return."""
    microphone = make()
    microphone.require(5)
    with capture_logs() as logs:
        virtual_microphone.kill()
        seconds, reason = lose(microphone, 3)
        assert seconds < 2
        assert "went away" in reason
        assert state(microphone) == "lost"
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            assert microphone.read(0.2) is None
        assert state(microphone) == "waiting"
        assert "No default microphone was found" in microphone.last_error
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
    """A device that hangs silently is WEDGED within 2 s, its capture process killed, and a new one hears it later."""
    microphone = make()
    microphone.require(5)
    first = microphone.capture_pid
    virtual_microphone.freeze()
    seconds, reason = lose(microphone, 3)
    assert seconds < 2
    assert "hangs" in reason
    assert microphone.state is SourceState.WEDGED
    assert str(first) not in children()
    virtual_microphone.thaw()
    microphone.require(10)
    assert microphone.capture_pid != first


def test_a_device_that_hangs_while_opening_is_given_up(
    virtual_microphone: VirtualMicrophone, make: Make
) -> None:
    """An opening that takes longer than the time-out is killed and called wedged, not waited for."""
    microphone = make(times=CaptureTimes(opening=1.5))
    virtual_microphone.freeze()
    assert lose(microphone, 5)[0] == pytest.approx(1.5, abs=0.5)
    assert (microphone.state, children() & {str(microphone.capture_pid)}) == (SourceState.WEDGED, set())


def test_a_microphone_absent_at_first_is_waited_for(
    virtual_microphone: VirtualMicrophone, make: Make
) -> None:
    """Without a device: one SourceLost, WAITING, and ``require`` says why; then it listens by itself."""
    virtual_microphone.kill()
    microphone = make()
    assert "No default microphone was found" in lose(microphone, 3)[1]
    assert state(microphone) == "waiting"
    with pytest.raises(MicrophoneError, match="No default microphone was found"):
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


@pytest.mark.parametrize(
    "script", ["kill -ABRT $$", "kill -SEGV $$", "exit 0", "yes nonsense", "exec /nowhere"]
)
def test_a_capture_process_that_dies_while_opening_is_no_microphone(
    make: Make, tmp_path: Path, script: str
) -> None:
    """Whatever kills the capture process before sound flows, the state is WAITING and the sentence is ours."""
    microphone = make(python=program(tmp_path, script))
    assert "The microphone " in lose(microphone, 3)[1]
    assert microphone.state is SourceState.WAITING


def test_a_capture_process_that_cannot_be_started_is_waited_for(make: Make) -> None:
    """A missing interpreter is a reason to wait, not to crash."""
    microphone = make(python="/nowhere/python")
    assert "The capture process does not start" in lose(microphone, 3)[1]
    assert microphone.state is SourceState.WAITING


def test_attempts_follow_the_backoff(make: Make) -> None:
    """Attempts start 0.5, 1, 2, 4, 5, 5 s after one another, on the clock that is handed in."""
    waits: list[float] = []

    class Counting(SimulatedClock):
        def sleep(self, seconds: float) -> None:
            waits.append(seconds)
            super().sleep(seconds)

    microphone = make(python="/nowhere/python", clock=Counting())
    with pytest.raises(SourceLost):
        microphone.read(0)
    assert microphone.read(17.5) is None
    assert waits == [0.5, 1, 2, 4, 5, 5]


def test_an_orphaned_capture_process_does_not_start(virtual_microphone: VirtualMicrophone) -> None:
    """A capture process whose parent is not the one it was told of exits without opening anything."""
    command = capture_command(sys.executable, "--list")
    command[command.index("--parent") + 1] = "1"
    environment = capture_environment(virtual_microphone.env)
    done = subprocess.run(command, env=environment, capture_output=True, timeout=10, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


def test_the_capture_process_stays_small(virtual_microphone: VirtualMicrophone, make: Make) -> None:
    """A listening capture process measures at most 16 MiB PSS, and its list is JSON of what ALSA names."""
    microphone = make(rate=16000)
    microphone.require(5)
    rollup = Path(f"/proc/{microphone.capture_pid}/smaps_rollup").read_text()
    assert int(rollup.split("\nPss:")[1].split()[0]) < 16 * 1024
    command = capture_command(sys.executable, "--list")
    environment = capture_environment(virtual_microphone.env)
    done = subprocess.run(command, env=environment, capture_output=True, timeout=10, check=True)
    assert [entry["name"] for entry in json.loads(done.stdout)] == ["mic", "default"]


def hello(virtual_microphone: VirtualMicrophone, *, rate: int, channels: int) -> dict[str, object]:
    """Open the device once; return what the capture process says of it."""
    command = capture_command(
        sys.executable, "--pcm", "default", "--rate", str(rate), "--channels", str(channels),
        "--block-samples", str(rate * 120 // 1000),
    )  # fmt: skip
    environment = capture_environment(virtual_microphone.env)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        _, kind, _, length, _, _ = protocol.HEADER.unpack(process.stdout.read(protocol.HEADER.size))
        facts = json.loads(process.stdout.read(length))
        process.kill()
    assert kind == protocol.HELLO
    return dict(facts)


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2)])
def test_the_driver_keeps_a_second_of_sound(
    virtual_microphone: VirtualMicrophone, rate: int, channels: int
) -> None:
    """A capture process that gets no time for a second loses nothing: the device is opened with such a buffer."""
    buffer_ms = hello(virtual_microphone, rate=rate, channels=channels)["buffer_ms"]
    assert isinstance(buffer_ms, int)
    assert 900 <= buffer_ms <= 2000
