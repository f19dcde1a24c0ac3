"""Devices and the ALSA configuration: what is listed, what is opened, and which channel is heard."""

import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from captured_sound import (
    CARD,
    OTHER_SPEECH,
    SPEECH,
    FakeCards,
    Make,
    lose,
    make,
    part_like,
    program,
    read_wav,
    whole,
)
from virtual_microphone import VirtualMicrophone, virtual_microphone

from agent.audio.source import SourceLost, SourceState
from agent.capture.alsa_config import PCM, PLAIN_PCM, Channel, render, write_config
from agent.capture.devices import NO_PORTAUDIO, list_devices
from agent.capture.microphone import Microphone
from agent.capture.process import run_once
from agent.errors import MicrophoneError
from agent.host.sound_cards import SoundCards

__all__ = ["make", "virtual_microphone", "whole"]


def test_a_missing_portaudio_says_what_to_install(
    virtual_microphone: VirtualMicrophone, make: Make, tmp_path: Path
) -> None:
    """When the library does not load, microphone and listing name the package; the former keeps trying."""
    (tmp_path / "libportaudio.so.2").touch()
    environment = virtual_microphone.env | {"LD_LIBRARY_PATH": str(tmp_path)}
    microphone = make(environment=environment)
    assert lose(microphone, 3)[1] == "; ".join(NO_PORTAUDIO)
    assert (microphone.state, microphone.last_error) == (SourceState.WAITING, "; ".join(NO_PORTAUDIO))
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


def test_alsas_converters_are_no_devices(virtual_microphone: VirtualMicrophone, tmp_path: Path) -> None:
    """PortAudio takes libasound2-plugins' converters for inputs; they are not listed."""
    config = tmp_path / "asound.conf"
    config.write_text(
        "".join(f'pcm.{name} {{ type pulse device "mic" }}\n' for name in ("default", "speexrate", "mic"))
    )
    environment = virtual_microphone.env | {"ALSA_CONFIG_PATH": str(config)}
    assert b"speexrate" in run_once(sys.executable, environment, "--list", timeout=5)
    assert [device.id for device in list_devices(FakeCards(), environment=environment)] == ["mic", "default"]


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


@pytest.mark.parametrize("channel", ["left", "right", "mix", 1, 2])
def test_each_choice_of_a_channel_on_a_stereo_card(
    virtual_microphone: VirtualMicrophone, stereo: Path, tmp_path: Path, channel: Channel
) -> None:
    """What ALSA gives for left, right, mix and a numbered input is what was played there; judged by arecord."""
    left = np.pad(read_wav(SPEECH), (4800, 0))
    right = np.pad(read_wav(OTHER_SPEECH), (4800, 0))
    left, right = left[: len(right)], right[: len(left)]
    both, heard = tmp_path / "both.wav", tmp_path / "heard.wav"
    with wave.open(str(both), "wb") as file:
        file.setparams((2, 2, 48000, 0, "NONE", ""))
        file.writeframes(np.stack([left, right], axis=1).tobytes())
    environment = virtual_microphone.env | {"ALSA_CONFIG_PATH": str(stereo)}
    path = write_config(tmp_path, CARD, channels=1, channel=channel, environment=environment)
    environment["ALSA_CONFIG_PATH"] = str(path)
    record = f"arecord -q -D {PCM} -r 48000 -c 1 -f S16_LE -d 3 {heard}"
    with subprocess.Popen(record.split(), env=environment, stderr=subprocess.DEVNULL):
        time.sleep(0.3)
        virtual_microphone.play(both, "stereo")
    mix = ((left.astype(np.int32) + right) / 2).astype(np.int16)
    played = {"left": left, "right": right, "mix": mix, 1: left, 2: right}[channel]
    error = part_like(read_wav(heard), played).astype(np.int32) - played
    assert int(np.max(np.abs(error))) <= (1 if channel == "mix" else 0)


@pytest.fixture
def through_card(
    virtual_microphone: VirtualMicrophone, make: Make, tmp_path: Path
) -> Callable[..., Microphone]:
    """Make a microphone on a fake card: the virtual one stands in for its plug, default is none."""
    config = tmp_path / "base.conf"
    config.write_text('pcm.!default { type hw card 31 }\npcm.mic { type pulse device "mic" }\n')
    script = f'exec {sys.executable} $(echo "$@" | sed "s/{PCM} {PLAIN_PCM}/mic/")'
    environment = virtual_microphone.env | {"ALSA_CONFIG_PATH": str(config)}

    def make_one(cards: SoundCards) -> Microphone:
        return make(cards=cards, environment=environment, python=program(tmp_path, script))

    return make_one


def test_default_falls_back_to_the_only_card(through_card: Callable[..., Microphone]) -> None:
    """When ALSA's default cannot be opened the one card is, but nobody chooses between two."""
    microphone = through_card(FakeCards(CARD))
    microphone.require(5)
    assert (microphone.identity, microphone.name) == (CARD.stable_id, CARD.name)
    with pytest.raises(SourceLost, match="No default microphone was found"):
        through_card(FakeCards(CARD, CARD)).read(5)


def test_a_card_that_hangs_because_it_was_unplugged_is_lost(
    virtual_microphone: VirtualMicrophone, through_card: Callable[..., Microphone]
) -> None:
    """PortAudio says nothing when a card goes: the kernel's list tells a lost one from a wedged one."""
    cards = FakeCards(CARD)
    microphone = through_card(cards)
    microphone.require(5)
    virtual_microphone.freeze()
    cards.cards.clear()
    seconds, reason = lose(microphone, 3)
    assert seconds < 2
    assert "went away" in reason
    assert microphone.state is SourceState.LOST


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
        ((1,), 2, "left", "device 0 } }  rate"),
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
    assert "<" not in text
    assert text.count('{ type hw card "Fake" device 0 }') == 2
    own = render(
        card, channels=channels, channel=channel, environment={"ALSA_CONFIG_PATH": "/a.conf:/b.conf"}
    )
    assert own.startswith("</a.conf>\n</b.conf>\n")
    assert own.count('"hw:CARD=Fake,DEV=0"') == 2


def test_a_runtime_directory_that_alsa_cannot_name_is_refused(tmp_path: Path) -> None:
    """A space in the path is an error of one sentence instead of a configuration that ALSA would not find."""
    with pytest.raises(MicrophoneError, match="a space or a colon"):
        write_config(tmp_path / "a b", CARD, channels=1, channel="mix", environment={})
