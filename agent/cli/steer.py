"""``start``, ``stop``, ``mute``, ``unmute``, ``mark``, ``reload``: what a person tells the recorder that runs."""

import click

from agent import hints, log
from agent.control.server import NotRunning
from agent.disk import Disk
from agent.errors import AgentError
from agent.facade.context import Session
from agent.process.state_directory import Process
from agent.recording.asked.mute import Mute
from agent.recording.asked.requests import LONGEST_SECONDS
from agent.terminal.output import duration, echo, print_json
from agent.text import valid

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")


def _say(answer: object, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        echo(text)


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.001, max=LONGEST_SECONDS),
    help="Length; without it until `stop`.",
)
@click.option(
    "--name",
    type=valid,
    metavar="TEXT",
    help="Name of the recording, instead of the one from recording.name.",
)
@as_json_option
@click.pass_obj
def start(session: Session, seconds: float | None, name: str | None, as_json: bool) -> None:
    """Let the service start a recording, and do not wait for its end."""
    answer = session.ask(Process.RECORDER, {"command": "start", "seconds": seconds, "name": name})
    text = f"recording {answer['id']}" if answer["started"] else "waiting for the microphone"
    _say(answer, text, as_json=as_json)


@click.command()
@as_json_option
@click.pass_obj
def stop(session: Session, as_json: bool) -> None:
    """Let the service end the recording that was started by hand."""
    answer = session.ask(Process.RECORDER, {"command": "stop"})
    _say(answer, "stopped" if answer["stopped"] else "no recording by hand was running", as_json=as_json)


@click.command()
@as_json_option
@click.pass_obj
def mute(session: Session, as_json: bool) -> None:
    """Capture nothing until `unmute`, restarts included.

    What was recorded is kept and delivered.
    """
    _turn(session, on=True, as_json=as_json)


@click.command()
@as_json_option
@click.pass_obj
def unmute(session: Session, as_json: bool) -> None:
    """Take a mute back."""
    _turn(session, on=False, as_json=as_json)


def _turn(session: Session, *, on: bool, as_json: bool) -> None:
    log.configure("error", session.loaded.config.log.format)
    try:
        answer = session.ask(Process.RECORDER, {"command": "mute", "on": on})
    except NotRunning:
        state = session.enter()
        with session.lock(Process.RECORDER):
            switch = Mute(state.path, Disk())
            switch.turn(on=on)
        answer = {"muted": switch.is_on, "durable": switch.is_durable}
        if not switch.is_durable:
            raise AgentError(
                f"the disk of {state.path} refuses to keep that", "free some space or replace it"
            ) from None
    text = "muted" if answer["muted"] else "not muted"
    _say(answer, text if answer["durable"] else f"{text}, until the next restart only", as_json=as_json)


@click.command()
@click.argument("text", default="", type=valid)
@as_json_option
@click.pass_obj
def mark(session: Session, text: str, as_json: bool) -> None:
    """Mark this moment in the recording that runs.

    The mark is sent with the recording's metadata, with TEXT (80 characters) if given.
    """
    answer = session.ask(Process.RECORDER, {"command": "mark", "text": text})
    _say(answer, f"marked {answer['id']} at {duration(answer['offset_ms'])}", as_json=as_json)


@click.command()
@as_json_option
@click.pass_obj
def reload(session: Session, as_json: bool) -> None:
    """Read the settings anew, and say which changes need a restart.

    Both processes do, as with SIGHUP.
    """
    later: list[str] = []
    missing = [process for process in Process if not _reload(session, process, later)]
    if len(missing) == len(Process):
        raise NotRunning("recorder-agent is not running", f"start it with {hints.start()}")
    answer = {"needs_restart": later}
    for process in missing:
        echo(f"recorder-agent: no {process.value} is running", err=True)
    text = f"reloaded; these need a restart: {', '.join(later)}" if later else "reloaded"
    _say(answer, text, as_json=as_json)


def _reload(session: Session, process: Process, later: list[str]) -> bool:
    """Let one process read its settings, and note what needs a restart; False where it does not run."""
    try:
        answer = session.ask(process, {"command": "reload"})
    except NotRunning:
        return False
    later += [key for key in answer["needs_restart"] if key not in later]
    return True
