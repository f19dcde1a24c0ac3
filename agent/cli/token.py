"""``token set`` and ``token status``: the device token, which is never shown."""

import os
import sys

import click
import msgspec

from agent import statedir
from agent.cli.context import Session
from agent.errors import CredentialError
from agent.sync.credentials import CREDENTIAL, Credentials, Token

_LONGEST_LINE = 8192
_PLACES = {
    "state": "set with token set or token refresh",
    "token_file": "from api.token_file",
    "credential": "from systemd's LoadCredential",
}


@click.group("token")
def token() -> None:
    """Set the device token, and tell which one is in use."""


@token.command("set")
@click.option(
    "--same-owner", is_flag=True, help="The new token continues the old one: same device, same person."
)
@click.pass_obj
def set_token(session: Session, same_owner: bool) -> None:
    """Read the device token from standard input (hidden on a terminal) and keep it."""
    if sys.stdin.isatty():
        text = click.prompt("Device token", hide_input=True, err=True)
    else:
        text = sys.stdin.buffer.readline(_LONGEST_LINE).decode("ascii", "replace")
    new = Token(text.strip())
    statedir.become_owner(session.state, os.environ)
    session.state.create()
    _credentials(session).store(new, same_owner=same_owner)
    click.echo(f"The device token {new.fingerprint} is kept.")


@token.command()
@click.option("--json", "as_json", is_flag=True, help="Answer with {state, fingerprint, source}.")
@click.pass_obj
def status(session: Session, as_json: bool) -> None:
    """Tell which token is in use, by its fingerprint: exit 77 when there is none."""
    statedir.become_owner(session.state, os.environ)
    answer = _status(_credentials(session))
    if as_json:
        click.echo(msgspec.json.encode(answer).decode())
    elif answer["source"]:
        click.echo(f"The device token {answer['fingerprint']} is in use, {_PLACES[answer['source']]}.")
    else:
        click.echo('There is no device token: run "recorder-agent token set".')
    if answer["state"] == "missing":
        raise click.exceptions.Exit(CredentialError.exit_code)


def _status(credentials: Credentials) -> dict[str, str | None]:
    """Return the answer; whether the API accepts the token is known to the daemon only: ``unknown``."""
    if hidden := credentials.hidden():
        return {"state": "unknown", "fingerprint": hidden, "source": CREDENTIAL}
    if choice := credentials.find():
        return {"state": "unknown", "fingerprint": choice.token.fingerprint, "source": choice.source}
    return {"state": "missing", "fingerprint": None, "source": None}


def _credentials(session: Session) -> Credentials:
    return Credentials(session.state.path, session.loaded.config.api.token_file, os.environ)
