"""``recorder-agent web``: a page for a phone."""

import contextlib
import grp
import os
import sys
from pathlib import Path

import click

from agent import log, text
from agent.config.loader import LoadedConfig, locate
from agent.config.schema import SYSTEM_FILE, Config
from agent.disk import Disk
from agent.errors import AgentError, ConfigError
from agent.facade.context import Session
from agent.hints import extra, typed
from agent.host.boot import hostname
from agent.terminal.output import echo

LISTEN = "127.0.0.1:8088"
GROUP = "recorder-agent-web"
PASSWORD_NAME = "web-password"  # noqa: S105 - of a file
_LONGEST_LINE = 4096


@click.group(invoke_without_command=True)
@click.option(
    "--listen", metavar="HOST:PORT", default=LISTEN, show_default=True, help="Where it is to be found."
)
@click.option("--allow-control", is_flag=True, help="Start, stop, mark and mute with the password.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    hidden=True,
    help="Where the password is kept.",
)
@click.option("--idle-seconds", type=click.FloatRange(min=0.1), hidden=True, help="End when nobody asks.")
@click.pass_context
def web(
    context: click.Context,
    listen: str,
    allow_control: bool,
    password_file: Path | None,
    idle_seconds: float | None,
) -> None:
    """Show what the recorder does on a page for a phone.

    No audio leaves through it. Beyond this machine reading wants the password too (web password). Started by systemd
    it ends when nobody has looked for ten minutes.
    """
    session: Session = context.obj
    place = password_file or _settings_file(session).with_name(PASSWORD_NAME)
    context.obj = (session, place)
    if context.invoked_subcommand is not None:
        return
    log.configure("error", "text")
    try:
        from agent.web.app import Page, Rules  # noqa: PLC0415 - libraries that no other command needs
        from agent.web.password import Password  # noqa: PLC0415 - likewise
        from agent.web.server import IDLE_SECONDS, handed_over, is_open, opened, serve, shown_address  # noqa: PLC0415
        from agent.web.source import Source  # noqa: PLC0415 - likewise
    except ModuleNotFoundError as error:
        raise AgentError(
            f"the page needs {error.name}, which is missing", f"install it with {extra('web')}"
        ) from error
    given = handed_over()
    _find(session, is_service=bool(given))
    sockets = given or opened(listen)
    password = Password(place)
    rules = Rules(hostname(), is_open(sockets), allow_control)
    if not given:
        for each in sockets:
            echo(f"the page is at {shown_address(each)}", err=True)
        if (rules.is_open or allow_control) and not password.is_set:
            echo(f"it has no password yet: set one with {typed('web password')}", err=True)
        if rules.is_open:
            echo("it is plain http: whoever is on this network can read along", err=True)
    idle = idle_seconds or (IDLE_SECONDS if given else None)
    with contextlib.suppress(KeyboardInterrupt):
        serve(Page(Source(session), password, rules).app(), sockets, idle)


@web.command()
@click.pass_obj
def password(given: tuple[Session, Path]) -> None:
    """Set the password of the page.

    It is read from standard input, hidden on a terminal, and kept as a hash.
    """
    from agent.web.password import LONGEST, SHORTEST, kept  # noqa: PLC0415 - for this command only

    _, place = given
    if sys.stdin.isatty():
        typed_in = click.prompt("Password of the page", hide_input=True, confirmation_prompt=True, err=True)
    else:
        typed_in = sys.stdin.buffer.readline(_LONGEST_LINE).rstrip(b"\r\n").decode(errors="surrogateescape")
    if typed_in != text.valid(typed_in):
        raise AgentError("the password contains invalid UTF-8", "choose another one")
    if not SHORTEST <= len(typed_in) <= LONGEST:
        raise AgentError(f"a password has {SHORTEST} to {LONGEST} characters", "choose another one")
    _write(place, kept(typed_in))
    echo("the password is set; whoever was logged in types it anew")


def _write(place: Path, data: bytes) -> None:
    """Put the hash where the page's own user can read it, and nobody else."""

    def share(descriptor: int) -> None:
        with contextlib.suppress(KeyError, PermissionError):
            os.fchown(descriptor, -1, grp.getgrnam(GROUP).gr_gid)
            os.fchmod(descriptor, 0o640)

    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    Disk().replace(place, data, "web_password", share)


def _settings_file(session: Session) -> Path:
    """Return the settings in use; where there are none those of the service."""
    return locate(session.config_path, os.environ, SYSTEM_FILE) or SYSTEM_FILE


def _find(session: Session, *, is_service: bool) -> None:
    """Find the two processes, for as long as the page is there: settings that are spoilt later do not hide them.

    Those that are wrong already do not hide them from the service's page: the recorder runs on the last good ones.
    """
    try:
        session.loaded  # noqa: B018 - read here
    except ConfigError:
        if not is_service:
            raise
        session.use(LoadedConfig(Config(), _settings_file(session)))
    session.state  # noqa: B018 - likewise
