"""``recorder-agent level``: how loud it is, live."""

import contextlib
import sys
import time
from collections.abc import Generator

import click

from agent import log
from agent.audio.level import LevelMeter
from agent.audio.source import EndOfSource
from agent.capture.opened import opened
from agent.facade.context import Session
from agent.process.state_directory import Process
from agent.recorder.wiring import RecorderWiring
from agent.terminal.output import echo, meter, print_json

INTERVAL_SECONDS = 0.1
PRINTED_SECONDS = 1.0
"""Where the output is no terminal, a line a second is enough."""

Levels = Generator[float | None, None, None]


@click.command()
@click.option("--seconds", type=click.FloatRange(min=0.1), help="How long; without it until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print {level_dbfs} a second as JSON lines.")
@click.pass_obj
def level(session: Session, seconds: float | None, as_json: bool) -> None:
    """Show the microphone's level; beside a running daemon, the level of what it records."""
    log.configure("error", session.loaded.config.log.format)
    session.enter()
    terminal = sys.stdout.isatty() and not as_json
    began = shown = time.monotonic()
    levels = _of_daemon(session) if session.serves(Process.RECORDER) else _of_source(session)
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


def _of_daemon(session: Session) -> Levels:
    while True:
        yield session.ask_soon(Process.RECORDER, {"command": "level"})["level_dbfs"]
        time.sleep(INTERVAL_SECONDS)


def _of_source(session: Session) -> Levels:
    with opened(RecorderWiring(session.loaded.config, session.state).source()) as source:
        meter_ = LevelMeter(source.sample_rate, source.channels)
        while True:
            try:
                block = source.read(INTERVAL_SECONDS)
            except EndOfSource:
                return
            if block is not None:
                meter_.feed(block.samples)
                yield meter_.dbfs()
