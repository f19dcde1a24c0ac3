"""``recorder-agent level``: how loud it is, live."""

import contextlib
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import click

from agent import log, text
from agent.audio.level import LevelMeter
from agent.audio.source import EndOfSource
from agent.capture.mixer import CaptureControl
from agent.capture.opened import opened
from agent.facade.context import Session
from agent.process.state_directory import Process
from agent.recorder.wiring import RecorderWiring
from agent.status.board import State
from agent.status.words import no_microphone
from agent.terminal.output import echo, meter, print_json

INTERVAL_SECONDS = 0.1
HOLD_SECONDS = 2.0
"""So long a peak stays in sight."""
PRINTED_SECONDS = 1.0
"""Where the output is no terminal, a line a second is enough."""
LEAVE_SECONDS = 3.0
"""So long before the recorder wants the microphone it is let go."""


class Level(NamedTuple):
    """How loud it is at a moment."""

    level_dbfs: float | None
    """None: nothing is heard."""
    peak_dbfs: float | None
    clipped_samples: int
    """Since the microphone was opened first."""
    capture: CaptureControl | None
    """None: it has none, or it cannot be told."""


Levels = Generator[Level, None, None]


class PeakHold:
    """The loudest peak, and whether something clipped, of the newest ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._peaks: deque[tuple[float, float]] = deque()
        self._clipped: deque[tuple[float, int]] = deque()
        self._total: int | None = None

    def take(self, now: float, level: Level) -> None:
        """Take what was heard at a moment, in seconds."""
        if level.peak_dbfs is not None:
            self._peaks.append((now, level.peak_dbfs))
        before, self._total = self._total, level.clipped_samples
        if before is not None and self._total != before:
            self._clipped.append((now, self._total - before if self._total > before else self._total))
        for held in (self._peaks, self._clipped):
            while held and held[0][0] <= now - self._seconds:
                held.popleft()

    @property
    def peak_dbfs(self) -> float | None:
        """The loudest; None: nothing was heard."""
        return max((peak for _, peak in self._peaks), default=None)

    @property
    def clipped_samples(self) -> int:
        """How many samples have clipped."""
        return sum(count for _, count in self._clipped)


@click.command()
@click.option("--seconds", type=click.FloatRange(min=0.1), help="How long; without it until Ctrl-C.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print {level_dbfs, peak_dbfs, clipped_samples, capture} a second as JSON lines.",
)
@click.pass_obj
def level(session: Session, seconds: float | None, as_json: bool) -> None:
    """Show how loud it is, live. Exit 69 without a microphone.

    The peak is held for two seconds; what clips and the card's capture control are shown with it. Beside a recorder
    that listens it is the level of what that hears, and nothing while it is muted. A recorder that has no microphone
    open, between two windows of its schedule, is stood in for until it opens it.
    """
    log.configure("error", session.loaded.config.log.format)
    terminal = sys.stdout.isatty() and not as_json
    began = shown = time.monotonic()
    hold = PeakHold(HOLD_SECONDS if terminal else PRINTED_SECONDS)
    levels = _of_recorder(session) if session.serves(Process.RECORDER) else _of_source(session)
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(levels):
        for heard in levels:
            now = time.monotonic()
            hold.take(now, heard)
            if terminal:
                width = shutil.get_terminal_size().columns - 1
                click.echo(f"\r\x1b[K{text.shown(_line(heard, hold))[:width]}", nl=False)
            elif now - shown >= min(PRINTED_SECONDS, seconds or PRINTED_SECONDS):
                shown = now
                if as_json:
                    print_json(_facts(heard, hold))
                else:
                    echo(_line(heard, hold))
            if seconds is not None and now - began >= seconds:
                break
    if terminal:
        echo()


def _line(heard: Level, hold: PeakHold) -> str:
    parts = [meter(heard.level_dbfs, hold.peak_dbfs)]
    if hold.peak_dbfs is not None and heard.level_dbfs is not None:
        parts.append(f"peak {hold.peak_dbfs:5.1f}")
    if hold.clipped_samples:
        parts.append("CLIPS")
    parts.append(heard.capture.words if heard.capture else "no capture volume")
    return "  ".join(parts)


def _facts(heard: Level, hold: PeakHold) -> dict[str, Any]:
    return {
        "level_dbfs": None if heard.level_dbfs is None else round(heard.level_dbfs, 1),
        "peak_dbfs": None if heard.level_dbfs is None or hold.peak_dbfs is None else round(hold.peak_dbfs, 1),
        "clipped_samples": hold.clipped_samples,
        "capture": heard.capture.facts if heard.capture else None,
    }


def _of_recorder(session: Session) -> Levels:
    while True:
        said = _said(session)
        if said.get("state") == State.NO_MICROPHONE:
            raise no_microphone(said.get("name"))
        if _leaves_the_microphone(said):
            yield from _of_source(session, lambda: _wants_it_soon(session))
        else:
            # An earlier version tells the level only.
            clipped = said.get("clipped_samples", 0)
            yield Level(
                said["level_dbfs"], said.get("peak_dbfs"), clipped, CaptureControl.of(said.get("capture"))
            )
            time.sleep(INTERVAL_SECONDS)


def _said(session: Session) -> dict[str, Any]:
    return dict(session.ask_soon(Process.RECORDER, {"command": "level"}))


def _leaves_the_microphone(said: dict[str, Any]) -> bool:
    """Whether the recorder is idle, and has no microphone open; a version that does not tell is taken to listen."""
    left = said.get("seconds_to_window")
    is_left = said.get("state") == State.IDLE and said.get("microphone") == "closed"
    return is_left and (left is None or left > LEAVE_SECONDS)


def _wants_it_soon(session: Session) -> bool:
    return not _leaves_the_microphone(_said(session))


def _of_source(session: Session, leave: Callable[[], bool] = lambda: False) -> Levels:
    """Yield what the microphone gives, opened here, until it is to be left; with files of its own in memory."""
    state = session.enter()
    with tempfile.TemporaryDirectory(prefix="recorder-agent-level-") as folder:
        wiring = RecorderWiring(session.loaded.config, replace(state, runtime=Path(folder)))
        with opened(wiring.source()) as source:
            meter_ = LevelMeter(source.sample_rate, source.channels)
            while not leave():
                try:
                    block = source.read(INTERVAL_SECONDS)
                except EndOfSource:
                    return
                if block is not None:
                    meter_.feed(block.samples)
                    control = wiring.capture_control(source.identity)
                    sound = meter_.now()
                    if sound is not None:
                        yield Level(sound.level_dbfs, sound.peak_dbfs, sound.clipped_samples, control)
