"""What the microphone makes of a card that is busy, and of a machine that is slow; the capture process is a script."""

import struct
import sys
import time
from pathlib import Path

import pytest

from agent.audio.source import SourceLost, SourceState
from agent.capture import protocol
from agent.capture.microphone import LONGEST_OPENING, LONGEST_SILENCE, Microphone
from agent.capture.process import CaptureSettings, CaptureTimes
from agent.clock import SystemClock
from agent.host.sound_cards import SoundCards

SLOW = """\
#!{python}
import json, os, struct, sys, time
HEADER = struct.Struct("<2sBBIQQ")
def send(kind, payload, sequence=0):
    os.write(1, HEADER.pack(b"EA", kind, 0, len(payload), sequence, time.monotonic_ns()) + payload)
{body}
"""


def cards(tmp_path: Path, *, busy: bool = False) -> SoundCards:
    """Return the lister of a machine with one card, which somebody may have opened."""
    folder = tmp_path / "sys/devices/sound/card1"
    (folder / "pcmC1D0c").mkdir(parents=True)
    (folder / "id").write_text("Mic")
    (folder / "device").symlink_to(folder.parent)
    (tmp_path / "sys/class/sound").mkdir(parents=True)
    (tmp_path / "sys/class/sound/card1").symlink_to(folder)
    status = tmp_path / "proc/asound/card1/pcm0c/sub0/status"
    status.parent.mkdir(parents=True)
    status.write_text("state: RUNNING\nowner_pid   : 42\n" if busy else "closed\n")
    (tmp_path / "proc/42").mkdir()
    (tmp_path / "proc/42/comm").write_text("arecord\n")
    return SoundCards(tmp_path / "sys", tmp_path / "proc")


def microphone(tmp_path: Path, body: str, *, busy: bool = False, opening: float = 5.0) -> Microphone:
    """Return a microphone whose capture process does what a script says."""
    program = tmp_path / "program"
    program.write_text(SLOW.format(python=sys.executable, body=body))
    program.chmod(0o755)
    capture = CaptureSettings(16000, 1, "mix", tmp_path, python=str(program))
    times = CaptureTimes(opening, backoff=(0.01,))
    return Microphone("Mic", capture, cards(tmp_path, busy=busy), SystemClock(), times=times)


def reason(source: Microphone) -> str:
    """Read until it is lost; return why."""
    with pytest.raises(SourceLost) as lost:
        source.read(30)
    source.close()
    return str(lost.value)


@pytest.mark.parametrize("kind", [protocol.NO_DEVICE, protocol.OPEN_FAILED])
def test_a_busy_card_is_called_busy(tmp_path: Path, kind: str) -> None:
    """However PortAudio puts it, the program that holds the card is named; without one, the sentence is the old one."""
    body = f"send({protocol.ERROR}, json.dumps({{'kind': '{kind}', 'message': 'x'}}).encode())"
    said = reason(microphone(tmp_path, body, busy=True))
    assert "is busy, arecord (process 42) has it; end that program" in said

    (tmp_path / "free").mkdir()
    assert "busy" not in reason(microphone(tmp_path / "free", body))


def test_a_machine_that_is_slower_than_the_deadline_hears_at_last(tmp_path: Path) -> None:
    """Opening takes four times the time-out: each try is given twice the time of the one before, so one succeeds."""
    body = f"time.sleep(4.0)\nsend({protocol.FRAME}, bytes(3840))\ntime.sleep(60)"
    source = microphone(tmp_path, body, opening=1.0)
    began, tries = time.monotonic(), 0
    while source.state is not SourceState.LISTENING and time.monotonic() - began < 60:
        try:
            source.read(0.2)
        except SourceLost:
            tries += 1
    assert source.state is SourceState.LISTENING
    assert tries == 1
    source.close()


def test_being_open_is_progress(tmp_path: Path) -> None:
    """The deadline begins anew when the device is open: what takes long before and after it is no hanging."""
    hello = f"send({protocol.HELLO}, json.dumps({{'device': 'x'}}).encode())"
    body = f"time.sleep(1.4)\n{hello}\ntime.sleep(1.4)\nsend({protocol.FRAME}, bytes(3840))\ntime.sleep(60)"
    source = microphone(tmp_path, body, opening=2.0)
    source.require(20)
    source.close()


def test_no_deadline_grows_beyond_its_limit(tmp_path: Path) -> None:
    """After a hundred attempts that hang, an opening has a minute, and silence six seconds; a recovery ends that."""
    source = microphone(tmp_path, "time.sleep(60)")
    for _ in range(100):
        source._hanging()
    assert source._limit() == LONGEST_OPENING
    source._first_heard_at = 1.0
    assert source._limit() == LONGEST_SILENCE
    source.close()
    assert source._limit() < LONGEST_SILENCE


def test_a_device_that_has_given_sound_is_noticed_at_once_when_it_freezes(tmp_path: Path) -> None:
    """However long openings took before it: half a second of sound, and silence has the plain deadline again."""
    body = (
        f"for number in range(8):\n    send({protocol.FRAME}, bytes(3840), number)\n    time.sleep(0.1)\n"
        "time.sleep(60)"
    )
    source = microphone(tmp_path, body)
    source._hanging()
    source._failures = 1
    while source.state is not SourceState.LISTENING:
        source.read(5)
    heard = time.monotonic()
    with pytest.raises(SourceLost):
        all(source.read(5) for _ in range(100))
    assert time.monotonic() - heard < 0.8 + 2.0
    source.close()


assert struct.calcsize("<2sBBIQQ") == protocol.HEADER.size
