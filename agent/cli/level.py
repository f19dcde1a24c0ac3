"""``recorder-agent level``: how loud it is, live."""

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from agent import log
from agent.audio.level import LevelMeter
from agent.audio.source import EndOfSource
from agent.capture.opened import opened
from agent.errors import MicrophoneError
from agent.facade.context import Session
from agent.process.state_directory import Process
from agent.recorder.wiring import RecorderWiring
from agent.status.board import State
from agent.status.words import no_microphone
from agent.terminal.output import echo, meter, print_json

INTERVAL_SECONDS = 0.1
PRINTED_SECONDS = 1.0
"""Where the output is no terminal, a line a second is enough."""
LEAVE_SECONDS = 3.0
"""So long before the recorder wants the microphone it is let go."""

Levels = Generator[float | None, None, None]


@click.command()
@click.option("--seconds", type=click.FloatRange(min=0.1), help="How long; without it until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print {level_dbfs} a second as JSON lines.")
@click.pass_obj
def level(session: Session, seconds: float | None, as_json: bool) -> None:
    """Show how loud it is, live. Exit 69 without a microphone.

    Beside a recorder that listens it is the level of what that hears, and nothing while it is muted. A recorder that
    has no microphone open, between two windows of its schedule, is stood in for until it opens it.
    """
    log.configure("error", session.loaded.config.log.format)
    terminal = sys.stdout.isatty() and not as_json
    began = shown = time.monotonic()
    levels = _of_recorder(session) if session.serves(Process.RECORDER) else _of_source(session)
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(levels):
        for now_dbfs in levels:
            now = time.monotonic()
            if terminal:
                click.echo(f"\r\x1b[K{meter(now_dbfs)}", nl=False)
            elif now - shown >= min(PRINTED_SECONDS, seconds or PRINTED_SECONDS):
                shown = now
                if as_json:
                    print_json({"level_dbfs": None if now_dbfs is None else round(now_dbfs, 1)})
                else:
                    echo(meter(now_dbfs))
            if seconds is not None and now - began >= seconds:
                break
    if terminal:
        echo()


def _of_recorder(session: Session) -> Levels:
    while True:
        said = _said(session)
        if said.get("state") == State.NO_MICROPHONE:
            raise MicrophoneError(no_microphone(said.get("name")))
        if _leaves_the_microphone(said):
            yield from _of_source(session, lambda: _wants_it_soon(session))
        else:
            yield said["level_dbfs"]
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
                    yield meter_.dbfs()
