"""``token set``, ``token status`` and ``token refresh``: the device token, which is never shown."""

import contextlib
import os
import sys
from typing import Any

import click

from agent import log
from agent.control.server import ask
from agent.errors import CredentialError
from agent.facade.context import Hangs, Session
from agent.facade.credentials import credentials_of
from agent.facade.service import deliverer_here
from agent.hints import typed
from agent.process import state_directory
from agent.process.state_directory import Process
from agent.status.board import CredentialState
from agent.terminal.help import HelpGroup
from agent.terminal.output import echo, print_json
from agent.token.store import Credentials, Token, in_use

_LONGEST_LINE = 8192
_PLACES = {
    "state": "set with token set or token refresh",
    "token_file": "from api.token_file",
    "credential": "from systemd's LoadCredential",
}
_VERDICTS = {
    "accepted": "; the API accepts it",
    "refused": f"; the API refuses it: set a valid one with {typed('token set')}",
    "unknown": "",
}

_VERDICT = {
    "accepted": ", and the API accepts it",
    "unsaid": "; what answered in the API's place did not say whether it is valid",
    "untried": "; it was not tried yet: ",
}


@click.group("token", cls=HelpGroup)
def token() -> None:
    """Set the device token, refresh it, and tell which one is in use."""


@token.command("set")
@click.option(
    "--same-owner", is_flag=True, help="The new token continues the old one: same device, same person."
)
@click.pass_obj
def set_token(session: Session, same_owner: bool) -> None:
    """Read the device token, try it, and keep it.

    It is read from standard input, hidden on a terminal.

    One that the API refuses is not kept (exit 77): the one before stays in use. When the API cannot be reached it is
    kept, and tried as soon as there is a way. Recordings made under an earlier token are held until the API shows
    that the owner is the same, unless --same-owner says so.
    """
    log.configure("error", session.loaded.config.log.format)
    session.for_reading()
    on_terminal = sys.stdin.isatty()
    if on_terminal:
        text = click.prompt("Device token", hide_input=True, err=True)
    else:
        text = sys.stdin.buffer.readline(_LONGEST_LINE).decode("ascii", "replace")
    new = Token(text.strip())
    session.enter()
    if on_terminal and not same_owner and _is_another(credentials_of(session), new):
        same_owner = click.confirm(
            "Does it continue the old one: the same device, bound to the same person?",
            default=False,
            err=True,
        )
    answer = _set(session, new, same_owner=same_owner)
    echo(
        f"The device token {answer['fingerprint']} is kept{_VERDICT[answer['verdict']]}{answer['reason'] or ''}."
    )
    if answer["held"]:
        echo(
            "What was recorded under the earlier token is held until the API shows the same owner; "
            f"{typed('queue release --all')} sends it, and so does {typed('token set --same-owner')}."
        )


def _is_another(credentials: Credentials, new: Token) -> bool:
    """Whether there was a token before that is not known to be the same owner's."""
    bindings = credentials.bindings
    return bool(bindings.current or in_use(credentials)[0]) and not bindings.knows(new.fingerprint)


def _set(session: Session, new: Token, *, same_owner: bool) -> dict[str, Any]:
    """Let the deliverer set it; where none runs, do it in its place."""
    if session.serves(Process.DELIVERER):
        request = {"command": "token", "token": new.reveal(), "same_owner": same_owner}
        return dict(ask(session.state.delivery_socket, request))
    # httpx is needed here alone, and takes a while to import on a small machine.
    from agent.token.setting import set_token as set_here  # noqa: PLC0415

    with session.lock(Process.DELIVERER):
        return set_here(credentials_of(session), new, session.loaded.config.api, same_owner=same_owner)


@token.command()
@click.option("--json", "as_json", is_flag=True, help="Answer with {state, fingerprint, source}.")
@click.pass_obj
def status(session: Session, as_json: bool) -> None:
    """Tell which token is in use, by its fingerprint.

    Exit 77 when there is none, or the API refuses it.
    """
    log.configure("error", session.loaded.config.log.format)
    state_directory.become_owner(session.state, os.environ)
    answer = _status(session)
    if as_json:
        print_json(answer)
    elif answer["source"]:
        place, verdict = _PLACES[answer["source"]], _VERDICTS[answer["state"]]
        echo(f"The device token {answer['fingerprint']} is in use, {place}{verdict}.")
    else:
        echo(f"There is no device token: run {typed('token set')}.")
    if answer["state"] in {CredentialState.MISSING, CredentialState.REFUSED}:
        raise click.exceptions.Exit(CredentialError.exit_code)


def _status(session: Session) -> dict[str, Any]:
    """Return the answer; whether the API accepts the token is known to the deliverer only, else ``unknown``."""
    fingerprint, source = in_use(credentials_of(session))
    if fingerprint is None:
        return {"state": CredentialState.MISSING.value, "fingerprint": None, "source": None}
    state = CredentialState.UNKNOWN.value
    with contextlib.suppress(Hangs):
        now = session.ask_status(Process.DELIVERER)
        if now is not None and now.credential.fingerprint == fingerprint:
            state = now.credential.state.value
    return {"state": state, "fingerprint": fingerprint, "source": source}


@token.command()
@click.option("--json", "as_json", is_flag=True, help="Answer with {fingerprint, device_id}.")
@click.pass_obj
def refresh(session: Session, as_json: bool) -> None:
    """Exchange the token for a new one now.

    The old one is dead at once, and its recordings go on.
    """
    log.configure("error", session.loaded.config.log.format)
    state = session.enter()
    answer = (
        ask(state.delivery_socket, {"command": "refresh"})
        if session.serves(Process.DELIVERER)
        else _refresh_here(session)
    )
    if as_json:
        print_json(answer)
    else:
        echo(f"The device token is {answer['fingerprint']} now.")


def _refresh_here(session: Session) -> dict[str, Any]:
    from agent.token.refresh import refresh  # noqa: PLC0415 - as for ``token set``

    with session.lock(Process.DELIVERER), contextlib.closing(deliverer_here(session)) as wiring:
        return refresh(wiring.credentials, wiring.api, wiring.connection.pause_left())
