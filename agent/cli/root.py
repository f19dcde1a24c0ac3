"""The root of the command line: global options, commands loaded late, errors turned into sentences."""

import importlib
import io
import os
import select
import signal
import sys
from pathlib import Path
from typing import TextIO

import click

from agent import __version__, text
from agent.errors import AgentError
from agent.facade.context import Session
from agent.terminal.help import HelpGroup

COMMANDS = {
    "run": "agent.cli.run:run",
    "record": "agent.cli.record:record",
    "start": "agent.cli.steer:start",
    "stop": "agent.cli.steer:stop",
    "mark": "agent.cli.steer:mark",
    "mute": "agent.cli.steer:mute",
    "unmute": "agent.cli.steer:unmute",
    "reload": "agent.cli.steer:reload",
    "sync": "agent.cli.sync:sync",
    "status": "agent.cli.status:status",
    "queue": "agent.cli.queue:queue",
    "gaps": "agent.cli.gaps:gaps",
    "report": "agent.cli.report:report",
    "doctor": "agent.cli.doctor:doctor",
    "devices": "agent.cli.devices:devices",
    "level": "agent.cli.level:level",
    "config": "agent.cli.config:config",
    "token": "agent.cli.token:token",
    "led": "agent.cli.led:led",
    "repair": "agent.cli.repair:repair",
    "web": "agent.cli.web:web",
    "provision": "agent.cli.provision:provision",
    "demo": "agent.cli.demo:demo",
    "sandbox": "agent.cli.sandbox:command",
}
DEBUG = "RECORDER_AGENT_DEBUG"
"""Set to anything: unexpected errors show their traceback."""


class LateGroup(HelpGroup):
    """A group whose commands are imported when they are used: ``--help`` of one costs one."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names, in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name]} is no command")
        return command


@click.command(
    cls=LateGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Settings; else $RECORDER_AGENT_CONFIG, else /etc/recorder-agent/config.toml, else the defaults.",
)
@click.version_option(__version__, prog_name="recorder-agent")
@click.pass_context
def root(ctx: click.Context, config_path: Path | None) -> None:
    """Record a microphone unattended, and deliver the recordings."""
    ctx.obj = Session(config_path)


def main() -> None:
    """Run the command line; the process ends with its exit code."""
    for descriptor in range(3):  # where the caller closed one, a file of ours would take its place
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it was closed by the caller
            stream.reconfigure(errors="backslashreplace")  # no locale makes an answer fail
    sys.exit(outcome())


def outcome(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; errors are one sentence on standard error."""
    try:
        result = root.main(args=arguments, prog_name="recorder-agent", standalone_mode=False)
    except click.ClickException as error:
        from agent.log import redact  # noqa: PLC0415 - for an error only

        shown = io.StringIO()
        error.show(shown)
        # A token given as an argument is not repeated, nor what a terminal would obey.
        click.echo(text.shown(text.valid(redact(shown.getvalue())), keep="\n\t"), err=True, nl=False)
        return error.exit_code
    except click.exceptions.Abort:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our output has enough; the interpreter must not complain about that when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except AgentError as error:
        return _failed(str(error), error.exit_code)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return _failed(f"the system refused{where}: {error.strerror or error}; free or repair what it names")
    except Exception as error:
        if _is_of_sqlite(error):
            return _failed(f"the index of the outbox cannot be used: {error}; see the log of the service")
        if DEBUG in os.environ:
            raise
        return _failed(f"unexpected {type(error).__name__}: {error}; set {DEBUG}=1 for a traceback to report")
    return result if isinstance(result, int) else 0


def _is_of_sqlite(error: Exception) -> bool:
    """Whether SQLite has raised it; a command that does not know of SQLite does not load it for this question."""
    sqlite = sys.modules.get("sqlite3")
    return sqlite is not None and isinstance(error, sqlite.Error)


def _failed(sentence: str, code: int = 1) -> int:
    from agent import log  # noqa: PLC0415 - for an error only
    from agent.terminal.output import echo  # noqa: PLC0415 - likewise

    log.flush()
    if _is_read(sys.stderr):
        echo(f"recorder-agent: {sentence}", err=True)
    return code


def _is_read(stream: TextIO | None) -> bool:
    """Tell whether a stream takes text within a second: nobody need wait for a reader who has stopped."""
    try:
        return stream is not None and bool(select.select([], [stream], [], 1.0)[1])
    except (OSError, ValueError):  # no file at all, as in tests
        return True
