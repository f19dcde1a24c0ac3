"""``recorder-agent run``: the daemon."""

import click

from agent import log
from agent.context import Session


@click.command()
@click.pass_obj
def run(session: Session) -> int:
    """Record and deliver until stopped: what the service runs."""
    from agent.daemon import Daemon  # noqa: PLC0415 - the parts of the daemon are loaded by the daemon only

    settings = session.loaded.config.log
    log.configure(settings.level, settings.format, queued=True)
    log.report_strays()
    return Daemon(session.loaded, session.enter(), session.config_path).run()
