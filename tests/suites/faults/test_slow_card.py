"""A card that takes nothing for a while: the sound waits in memory, at 48 kHz stereo, and not one sample is lost."""

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance import wait_for

from agent.capture import process, protocol
from agent.capture.microphone import Microphone
from agent.capture.process import CaptureSettings
from agent.clock import SystemClock
from agent.config.schema import AudioConfig, Config
from agent.disk import Disk
from agent.host.sound_cards import SoundCards
from agent.process.state_directory import StateDirectory
from agent.recorder.wiring import RecorderWiring
from agent.recording.triggers import trigger_for

RATE, CHANNELS, BLOCK_MS = 48_000, 2, 120
STALL_SECONDS = 14.0
"""More than the pipe and the least that is kept behind it hold: 11 s."""
CAPTURE = """
import os, sys, time
sys.path.insert(0, {root!r})
from agent.capture.child import pack, write
from agent.capture import protocol
write(1, pack(protocol.HELLO, b'{{"device": "fake"}}'))
block = bytes(range(256)) * ({size} // 256)
start, number = time.monotonic(), 0
while True:
    number += 1
    due = start + number * {seconds}
    time.sleep(max(0.0, due - time.monotonic()))
    before = time.monotonic()
    write(1, pack(protocol.FRAME, block, 0, number - 1))
    if time.monotonic() - before > 1.0:
        open({held!r}, "w").close()
"""


class SlowCard(Disk):
    """Takes nothing for ``STALL_SECONDS`` from the moment it is told."""

    def __init__(self) -> None:
        super().__init__(self._look)
        self.tired = threading.Event()
        self.rested = threading.Event()

    def _look(self, _step: str) -> None:
        if self.tired.is_set() and not self.rested.is_set():
            time.sleep(STALL_SECONDS)
            self.rested.set()


@pytest.fixture
def capture(tmp_path: Path) -> tuple[str, Path]:
    """Return the command of a capture process in real time, and the file it makes when held up for a second."""
    held = tmp_path / "held"
    script = tmp_path / "capture.py"
    size = RATE * BLOCK_MS // 1000 * CHANNELS * 2
    root = str(Path(protocol.__file__).parents[2])
    script.write_text(CAPTURE.format(root=root, size=size, seconds=BLOCK_MS / 1000, held=str(held)))
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} {script}\n")
    program.chmod(0o755)
    return str(program), held


def recorded(
    tmp_path: Path, python: str, is_over: Callable[[Microphone], bool]
) -> tuple[RecorderWiring, Microphone, int]:
    """Record through a card that stalls, until that is over and a while longer; with the blocks up to the stop."""
    config = Config(audio=AudioConfig(sample_rate=48_000, channels=2))
    state = StateDirectory(tmp_path / "state", tmp_path / "run")
    state.create()
    state.runtime.mkdir(mode=0o750)
    card = SlowCard()
    with state.lock():
        wiring = RecorderWiring(config, state, disk=card)
        capture = CaptureSettings(RATE, CHANNELS, "mix", tmp_path, python=python)
        microphone = Microphone("any", capture, SoundCards(tmp_path, tmp_path), SystemClock())
        trigger = trigger_for(config.recording, time.time)
        recorder = wiring.recorder(microphone, trigger, unattended=True)
        thread = threading.Thread(target=recorder.run)
        thread.start()
        try:
            wait_for(lambda: wiring.board.snapshot.recording is not None)
            card.tired.set()
            wait_for(card.rested.is_set, 3 * STALL_SECONDS)
            wait_for(lambda: is_over(microphone), 3 * STALL_SECONDS)
        finally:
            recorder.stop()
            thread.join()
    assert recorder._stopped_at is not None
    return wiring, microphone, microphone._next_sequence - (microphone._heard_at > recorder._stopped_at)


def test_not_one_sample_is_lost(tmp_path: Path, capture: tuple[str, Path]) -> None:
    """The capture process is never held up; what was heard is written in order, and the gap log has nothing."""
    python, held = capture
    enough = (STALL_SECONDS + 2) * 1000 / BLOCK_MS
    wiring, microphone, blocks = recorded(
        tmp_path, python, lambda microphone: microphone._next_sequence > enough
    )
    assert not held.exists()
    assert (microphone.blocks_lost, microphone.overflows) == (0, 0)
    durations = [entry.duration_ms for entry in wiring.sink.finished]
    assert sum(durations) == blocks * BLOCK_MS
    gaps = map(json.loads, (wiring.state.path / "gaps.jsonl").read_text().splitlines())
    assert {gap["cause"] for gap in gaps} <= {"not_running"}  # until its first sample


def test_the_pipe_alone_is_not_enough(
    tmp_path: Path, capture: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: without the memory behind the pipe the same card holds up the capture process."""
    monkeypatch.setattr(process, "BUFFER_SECONDS", 0.0)
    python, held = capture
    recorded(tmp_path, python, lambda _microphone: held.exists())
