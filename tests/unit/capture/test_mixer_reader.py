"""Which card's mixer belongs to what is opened, and how often it is looked at."""

import os
import threading
from pathlib import Path

import pytest
from captured_sound import FakeCards
from test_mixer import USB, amixer

from agent.capture.mixer import CaptureControl
from agent.capture.mixer_reader import MOST_AGE_SECONDS, CaptureControlReader, mixer_card
from agent.host.sound_cards import Card

DESK = Card(1, "Device", "A Desk Microphone", ("usb-1:2-3", "usb-1:2-3-1-1"), "usb-1:2-3", 0, None, None)
HAT = Card(2, "Codec", "A HAT", ("Codec",), "Codec", 0, None, None)
SPEAKER = Card(0, "HDMI", "A Screen", ("HDMI",), "HDMI", None, None, None)
MIC = CaptureControl("Mic", 0, 12, on=False)


@pytest.mark.parametrize(
    ("identity", "cards", "expected"),
    [
        ("usb-1:2-3", [SPEAKER, DESK, HAT], DESK),
        ("usb-1:2-3-1-1", [SPEAKER, DESK, HAT], DESK),
        ("Codec", [SPEAKER, DESK, HAT], HAT),
        ("plughw:CARD=Device,DEV=0", [SPEAKER, DESK, HAT], DESK),
        ("hw:2", [SPEAKER, DESK, HAT], HAT),
        ("hw:2,0", [SPEAKER, DESK, HAT], HAT),
        ("default", [SPEAKER, HAT], HAT),
        ("default", [SPEAKER, DESK, HAT], None),
        ("default", [SPEAKER], None),
        ("HDMI", [SPEAKER, DESK, HAT], None),
        ("pulse", [SPEAKER, HAT], None),
        ("file:/a.wav", [SPEAKER, HAT], None),
    ],
)
def test_the_card_behind_what_is_opened(identity: str, cards: list[Card], expected: Card | None) -> None:
    """By its id, by the name of a PCM, or the only one behind the default; another's mixer is never taken for it."""
    assert mixer_card(identity, cards) == expected


def test_it_is_read_once_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks ten times a second is told what was read last, and another card's is not."""
    asked = amixer(tmp_path, monkeypatch, f"cat <<'END'\n{USB}END")
    now = [100.0]
    reader = CaptureControlReader(FakeCards(DESK, HAT), lambda: now[0])
    for _ in range(10):
        assert reader.read("usb-1:2-3") == MIC
        now[0] += 0.09
    assert asked.read_text().splitlines() == ["-c Device scontents"]
    now[0] += MOST_AGE_SECONDS
    assert reader.read("usb-1:2-3") == MIC
    assert reader.read("Codec") == MIC
    assert asked.read_text().splitlines() == ["-c Device scontents"] * 2 + ["-c Codec scontents"]
    assert reader.read("nothing") is None


def test_while_a_mixer_hangs_nobody_else_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are given what was read last."""
    amixer(tmp_path, monkeypatch, f"cat <<'END'\n{USB}END")
    now = [100.0]
    reader = CaptureControlReader(FakeCards(DESK), lambda: now[0])
    assert reader.read("usb-1:2-3") == MIC
    pipe = tmp_path / "go"
    (tmp_path / "bin" / "amixer").write_text(f"#!/bin/sh\nread _ <{pipe}\nexit 1\n")
    os.mkfifo(pipe)
    now[0] += MOST_AGE_SECONDS
    hanging = threading.Thread(target=reader.read, args=("usb-1:2-3",))
    hanging.start()
    while not reader._reading.locked():
        pass
    assert reader.read("usb-1:2-3") == MIC
    pipe.write_text("go\n")
    hanging.join()
    assert reader.read("usb-1:2-3") is None
