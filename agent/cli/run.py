"""``recorder-agent run``: the two processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from agent import log
from agent.errors import ConfigError
from agent.process.starting import Starting
from agent.process.systemd import Notifier, is_service
from agent.recorder.last_good import last_good

if TYPE_CHECKING:
    from agent.config.loader import LoadedConfig
    from agent.facade.context import Session

PROCESSES = ("recorder", "deliverer")


@click.command()
@click.option(
    "--only", type=click.Choice(PROCESSES), help="Run one of the two processes, as the services do."
)
@click.option("--supervised", is_flag=True, hidden=True, help="A recorder started it, and may end it.")
@click.pass_obj
def run(session: Session, only: str | None, supervised: bool) -> int:
    """Record and deliver until stopped."""
    starting = Starting(Notifier())
    starting.begin()
    loaded, problem = _settings(session)
    log.configure(loaded.config.log.level, loaded.config.log.format, queued=True)
    log.report_strays()
    state = session.enter(create=False)
    if only == "deliverer":
        from agent.deliverer.process import DelivererProcess  # noqa: PLC0415 - the network, for this process alone

        deliverer = DelivererProcess(
            loaded, state, session.config_path, settings_problem=problem, supervised=supervised
        )
        deliverer.started_by(starting)
        return deliverer.run()
    from agent.recorder.process import RecorderProcess  # noqa: PLC0415 - sound, for this process alone

    recorder = RecorderProcess(
        loaded,
        state,
        session.config_path,
        settings_problem=problem,
        last_good=last_good(os.environ) if is_service() else None,
        with_deliverer=only is None,
    )
    recorder.started_by(starting)
    return recorder.run()


def _settings(session: Session) -> tuple[LoadedConfig, str | None]:
    """Return the settings, and what is wrong with those of the file while the last good ones are in use.

    Raises:
        ConfigError: they are wrong, and this is no service, or it has never started well.
    """
    from agent.config.loader import LoadedConfig, load  # noqa: PLC0415 - likewise

    try:
        return session.loaded, None
    except ConfigError as error:
        kept = last_good(os.environ) if is_service() else None
        if kept is None or not kept.exists():
            raise
        session.use(LoadedConfig(load(kept, os.environ).config, session.config_path))
        return session.loaded, " ".join(str(error).split("\n"))
