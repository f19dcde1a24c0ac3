"""The capture volume: read and set by amixer; the listings are those of real cards."""

import os
from pathlib import Path

import pytest
from logcapture import capture_logs

from agent.capture.alsa_config import PCM, render, write_config
from agent.capture.mixer import CaptureControl, CaptureVolume, capture_control, control_of, set_capture
from agent.errors import MicrophoneError
from agent.host.sound_cards import Card

USB = """\
Simple mixer control 'Speaker',0
  Capabilities: pvolume pswitch pswitch-joined
  Playback channels: Front Left - Front Right
  Limits: Playback 0 - 37
  Mono:
  Front Left: Playback 20 [54%] [-17.00dB] [on]
  Front Right: Playback 20 [54%] [-17.00dB] [on]
Simple mixer control 'Mic',0
  Capabilities: pvolume pvolume-joined cvolume cvolume-joined pswitch pswitch-joined cswitch cswitch-joined
  Playback channels: Mono
  Capture channels: Mono
  Limits: Playback 0 - 31 Capture 0 - 35
  Mono: Playback 23 [74%] [7.00dB] [off] Capture 4 [12%] [-8.00dB] [off]
Simple mixer control 'Auto Gain Control',0
  Capabilities: pswitch pswitch-joined
  Playback channels: Mono
  Mono: Playback [on]
"""
HDA = """\
Simple mixer control 'Front Mic Boost',0
  Capabilities: volume
  Playback channels: Front Left - Front Right
  Capture channels: Front Left - Front Right
  Limits: 0 - 3
  Front Left: 0 [0%] [0.00dB]
  Front Right: 0 [0%] [0.00dB]
Simple mixer control 'Digital',0
  Capabilities: cvolume
  Capture channels: Front Left - Front Right
  Limits: Capture 0 - 120
  Front Left: Capture 60 [50%] [0.00dB]
  Front Right: Capture 60 [50%] [0.00dB]
Simple mixer control 'Capture',0
  Capabilities: cvolume cswitch
  Capture channels: Front Left - Front Right
  Limits: Capture 0 - 63
  Front Left: Capture 39 [62%] [12.00dB] [on]
  Front Right: Capture 31 [49%] [6.00dB] [on]
"""
ARRAY = Card(2, "Array", "Six Microphones", ("Array",), "Array", 0, (6,), (16000,))


def amixer(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Put an amixer before all others that notes its arguments; return where."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "amixer"
    program.write_text(f'#!/bin/sh\necho "$@" >>{folder}/asked\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin{os.pathsep}{os.environ['PATH']}")
    return folder / "asked"


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        (USB, CaptureControl("Mic", 0, 12, on=False)),
        (HDA, CaptureControl("Capture", 0, 49, on=True)),
        (
            HDA.split("Simple mixer control 'Capture'", maxsplit=1)[0],
            CaptureControl("Digital", 0, 50, on=None),
        ),
        (USB.split("Simple mixer control 'Mic'", maxsplit=1)[0], None),
        ("", None),
        ("nonsense\n[on] 5%", None),
    ],
)
def test_the_control_of_a_card(listing: str, expected: CaptureControl | None) -> None:
    """The capture side of the control that a person would turn; a playback volume or a boost is none."""
    assert control_of(listing) == expected


def test_it_is_set_and_switched_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The capture side alone, by the card's id; what a card says afterwards is what counts."""
    mic = USB[USB.index("Simple mixer control 'Mic'") : USB.index("Simple mixer control 'Auto")]
    then = mic.replace("Capture 4 [12%] [-8.00dB] [off]", "Capture 20 [57%] [8.00dB] [on]")
    script = f"if [ $3 = sset ]; then cat <<'E'\n{then}E\nelse cat <<'E'\n{USB}E\nfi"
    asked = amixer(tmp_path, monkeypatch, script)
    assert set_capture("Mic", 60) == CaptureControl("Mic", 0, 57, on=True)
    assert asked.read_text().splitlines() == ["-c Mic scontents", "-c Mic sset 'Mic',0 capture 60% cap"]


def test_one_that_cannot_be_set_stands_as_it_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is printed then, and amixer ends well; the card has a control all the same."""
    amixer(tmp_path, monkeypatch, f"[ $3 = sset ] || cat <<'E'\n{USB}E")
    assert set_capture("Mic", 60) == CaptureControl("Mic", 0, 12, on=False)


def test_a_card_without_one_and_one_that_refuses_are_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And opened all the same: no exception reaches the opening."""
    amixer(tmp_path, monkeypatch, "echo 'Invalid card number.' >&2; exit 1")
    volume = CaptureVolume(50)
    with capture_logs() as logs:
        for _ in range(3):
            volume.apply(ARRAY, ARRAY.name)
        (tmp_path / "bin" / "amixer").write_text("#!/bin/sh\n")
        for _ in range(3):
            volume.apply(ARRAY, ARRAY.name)
        for _ in range(3):
            volume.apply(None, "default")
    reasons = [line["reason"] for line in logs if line["action"] == "capture_volume_failed"]
    assert len(reasons) == 3
    assert "Invalid card number." in reasons[0]
    assert reasons[1] == "Six Microphones has no capture volume: audio.capture_volume_percent does nothing"
    assert "cannot be told which sound card default is" in reasons[2]


def test_nothing_is_touched_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 per cent leaves the mixer alone."""
    asked = amixer(tmp_path, monkeypatch, "exit 1")
    CaptureVolume(0).apply(ARRAY, ARRAY.name)
    assert not asked.exists()


def test_without_amixer_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MicrophoneError, match="apt-get install alsa-utils"):
        capture_control("0")


def test_a_long_complaint_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in a log record and in one sentence."""
    amixer(tmp_path, monkeypatch, "yes 'ALSA lib conf.c:1: syntax error' | head -c 100000 >&2; exit 1")
    with pytest.raises(MicrophoneError, match=r"ALSA lib conf\.c.*see `alsamixer") as caught:
        capture_control("0")
    assert len(str(caught.value)) < 500


def test_one_input_of_an_array(tmp_path: Path) -> None:
    """The card is opened with its own six channels, and the third is routed to the one that is recorded."""
    text = render(ARRAY, channels=1, channel=3, environment={})
    slave = 'slave { pcm { type hw card "Array" device 0 } channels 6 }'
    assert f"pcm.{PCM} {{ type asym capture.pcm {{ type plug {slave}" in text
    assert "ttable.0 { 2 1 }" in text
    four = ARRAY._replace(channel_counts=(2, 4, 8))
    assert "channels 4 }" in render(four, channels=1, channel=3, environment={})
    with pytest.raises(MicrophoneError, match=r"audio\.channel is 7, and Six Microphones has 6 inputs"):
        write_config(tmp_path, ARRAY, channels=1, channel=7, environment={})
