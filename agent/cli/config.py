"""``config check`` and ``config show``: what the settings say."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from agent.config import loader as settings
from agent.config.schema import SYSTEM_FILE
from agent.errors import ConfigError
from agent.facade.context import Session
from agent.recording.calendar.lines import stays
from agent.recording.calendar.schedule import next_windows, windows_shown
from agent.status.words import local_date
from agent.terminal.help import HelpGroup
from agent.terminal.output import echo, print_json


@click.group("config", cls=HelpGroup)
def config() -> None:
    """Check and show the settings."""


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Answer with {file, valid, errors}.")
@click.pass_obj
def check(session: Session, file: Path | None, as_json: bool) -> None:
    """Check FILE, or the file in use.

    Exit 0 when it is right, 78 when it is not.
    """
    used = file or settings.locate(session.config_path, os.environ, SYSTEM_FILE)
    errors = settings.check(used) if used else []
    if as_json:
        path = str(used.absolute()) if used else None
        echo(msgspec.json.encode({"file": path, "valid": not errors, "errors": errors}).decode())
        if errors:
            raise click.exceptions.Exit(ConfigError.exit_code)
        return
    if errors:
        raise ConfigError("\n".join(errors))
    echo(f"{used} is right." if used else "There is no configuration file; the defaults are in use.")


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object instead of TOML.")
@click.pass_obj
def show(session: Session, as_json: bool) -> None:
    """Show all settings in use, the defaults too."""
    loaded = session.loaded
    wanted, now = loaded.config, time.time()
    windows = windows_shown(next_windows(wanted.recording, wanted.location, now))
    if as_json:
        shown = msgspec.to_builtins(loaded.config)
        print_json(shown | ({"next_windows": windows} if windows else {}))
        return
    echo(f"# {loaded.file or 'no file: the defaults'}")
    for sentence in stays(wanted.recording.schedule, wanted.location, datetime.now(UTC)):
        echo(f"# {sentence}")
    for window in windows:
        echo(f"# next window: {local_date(window.begin)} to {local_date(window.until)}")
    echo(settings.render(loaded.config), nl=False)
