"""Which device token counts, who may read it, and that it never shows itself."""

import contextlib
import json
import os
import pickle
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.cli.token import token as token_commands
from agent.config.loader import LoadedConfig
from agent.config.schema import ApiConfig, Config
from agent.disk import Disk
from agent.errors import CredentialError
from agent.facade.context import Session
from agent.process.state_directory import StateDirectory
from agent.token.store import Credentials, Token

A, B, C = "dtok_alpha-secret", "dtok_beta-secret", "dtok_gamma-secret"


@dataclass
class Place:
    """A state directory, a token file and systemd's folder, with what the daemon and a shell see of them."""

    state: Path
    token_file: Path
    systemd: Path

    def daemon(self, token_file: str | None = None, *, credential: bool = True) -> Credentials:
        """What the service sees."""
        environ = {"NOTIFY_SOCKET": "/run/x"}
        if credential:
            environ["CREDENTIALS_DIRECTORY"] = str(self.systemd)
        return Credentials(self.state, str(self.token_file) if token_file is None else token_file, environ)

    def shell(self) -> Credentials:
        """What a person's command sees."""
        return Credentials(self.state, str(self.token_file), {})


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """All three places, empty."""
    made = Place(tmp_path / "state", tmp_path / "token", tmp_path / "creds" / "device-token")
    made.state.mkdir()
    made.systemd.parent.mkdir()
    return Place(made.state, made.token_file, made.systemd.parent)


def put(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def test_without_any_token_one_is_asked_for(place: Place) -> None:
    """Exit 77, and what to do; a configured file that is missing is named."""
    with pytest.raises(CredentialError) as caught:
        place.daemon("").token()
    assert str(caught.value) == "there is no device token yet; run `recorder-agent token set`"
    assert caught.value.exit_code == 77
    with pytest.raises(CredentialError, match=f"api.token_file {place.token_file} is not there"):
        place.daemon().token()


def test_the_line_that_stands_for_no_credential_is_none(place: Place) -> None:
    """The unit hands it over where systemd has none; in the configured file it is a mistake."""
    put(place.systemd / "device-token", "\n", 0o440)
    with pytest.raises(CredentialError, match="there is no device token yet"):
        place.daemon("").token()
    put(place.token_file, "\n")
    with pytest.raises(CredentialError, match="is empty"):
        place.daemon().token()


def test_each_source_serves_alone(place: Place) -> None:
    """The credential of systemd, then the configured file above it, then what was set."""
    put(place.systemd / "device-token", f"{A}\n", 0o440)
    assert place.daemon().token().reveal() == A
    put(place.token_file, f"  {B}\n")
    assert place.daemon().token().reveal() == B
    place.daemon().store(Token(C))
    assert place.daemon().token().reveal() == C
    assert [choice.source for choice in [place.daemon().find()] if choice] == ["state"]


def test_what_was_set_gives_way_to_a_later_change_beneath(place: Place) -> None:
    """The file was changed by a person since: that token counts, until another is set."""
    put(place.token_file, A)
    place.shell().store(Token(B))
    assert place.daemon().token().reveal() == B
    put(place.token_file, C)
    assert place.daemon().token().reveal() == C
    place.shell().store(Token(B))
    assert place.daemon().token().reveal() == B


def test_writing_the_same_token_again_is_no_change(place: Place) -> None:
    """A deployment that writes the dead token every night does not undo a refresh."""
    put(place.token_file, A)
    place.daemon().store(Token(B))
    place.token_file.unlink()
    assert place.daemon().token().reveal() == B
    put(place.token_file, f"{A}\n\n")
    os.utime(place.token_file, (2e9, 2e9))
    assert place.daemon().token().reveal() == B


def test_a_file_that_appears_later_is_a_change(place: Place) -> None:
    """First ``token set``, then a token file: the file was the last word."""
    place.shell().store(Token(A))
    assert place.shell().token().reveal() == A
    put(place.token_file, B)
    assert place.shell().token().reveal() == B


def test_a_credential_given_later_is_a_change(place: Place) -> None:
    """The service once ran without one, so its appearance is a person's doing."""
    place.shell().store(Token(A))
    assert place.daemon("", credential=False).token().reveal() == A
    put(place.systemd / "device-token", B)
    assert place.daemon("").token().reveal() == B


@pytest.mark.parametrize("started_before", [True, False])
def test_a_shell_overrides_a_credential_it_cannot_see(place: Place, started_before: bool) -> None:
    """``token set`` under a service with LoadCredential counts, and so does a newer credential."""
    put(place.systemd / "device-token", A)
    if started_before:
        assert place.daemon("").token().reveal() == A
    place.shell().store(Token(B))
    assert place.daemon("").token().reveal() == B
    put(place.systemd / "device-token", C)
    assert place.daemon("").token().reveal() == C
    place.shell().store(Token(A))
    assert place.daemon("").token().reveal() == A


def test_a_token_copied_by_hand_counts(place: Place) -> None:
    """A state folder restored from elsewhere has no record of what lay beneath."""
    put(place.token_file, A)
    put(place.state / "device-token", B)
    assert place.daemon().token().reveal() == B
    put(place.token_file, C)
    assert place.daemon().token().reveal() == C


def test_a_broken_record_costs_nothing(place: Place) -> None:
    """The token that was set counts."""
    put(place.token_file, A)
    place.daemon().store(Token(B))
    (place.state / "device-token.json").write_bytes(b"\xff{")
    assert place.daemon().token().reveal() == B


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
@pytest.mark.parametrize("which", ["state", "token_file"])
def test_a_file_that_others_can_reach_is_refused(place: Place, which: str, mode: int) -> None:
    """One sentence with the cure, and no word of the token."""
    path = place.token_file if which == "token_file" else place.state / "device-token"
    put(path, A, mode)
    with pytest.raises(CredentialError) as caught:
        place.shell().token()
    assert str(caught.value) == (
        f"others can read the device token in {path} (mode {mode:04o}); `chmod 600 {path}`, "
        "and ask for a new token if they should not have it"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty, and should hold the device token"),
        (b" \n", "is empty, and should hold the device token"),
        (b"sk_12345", "holds no device token"),
        (b"dtok_", "holds no device token"),
        (b"dtok_a b", "holds no device token"),
        (b"dtok_a\ndtok_b", "holds no device token"),
        (b"dtok_\xc3\xa9", "holds no device token"),
        (b"dtok_" + b"x" * 5000, "holds no device token"),
    ],
)
def test_what_is_no_token_is_refused(place: Place, content: bytes, reason: str) -> None:
    """Without telling what was found."""
    put(place.token_file, "")
    place.token_file.write_bytes(content)
    with pytest.raises(CredentialError, match=reason) as caught:
        place.shell().token()
    assert "12345" not in str(caught.value)
    assert "dtok_a" not in str(caught.value)


def test_a_folder_or_a_pipe_is_no_token(place: Place) -> None:
    """And a pipe that nobody writes to does not hang the daemon."""
    place.token_file.mkdir()
    with pytest.raises(CredentialError, match="is not a file"):
        place.shell().token()
    place.token_file.rmdir()
    os.mkfifo(place.token_file, 0o600)
    with pytest.raises(CredentialError, match="is not a file"):
        place.shell().token()


def test_a_change_is_noticed(place: Place) -> None:
    """New content, a new mode, a file's coming and going, each told once; the same token written again is none."""
    changed = place.shell().watch()
    assert changed()
    assert not changed()
    put(place.token_file, A, 0o644)
    assert changed()
    place.token_file.chmod(0o600)
    assert changed()
    assert not changed()
    place.token_file.write_text(f"{A}\n")
    assert not changed()
    place.shell().store(Token(B))
    assert changed()
    (place.state / "device-token").unlink()
    assert changed()
    place.token_file.unlink()
    assert changed()
    assert not changed()


STORED = 14
"""Steps until the rename of the token is done: five each for the binding and the record, four for the token."""


class StoppingDisk(Disk):
    """Stops before the n-th durable step."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        super().__init__(self._count)

    def _count(self, step: str) -> None:
        if self.left == 0:
            raise InterruptedError(step)
        self.left -= 1


@pytest.mark.parametrize("steps", range(20))
def test_a_crash_while_storing_leaves_the_old_token_or_the_new_one(place: Place, steps: int) -> None:
    """At every step: never none, never a torn one, and the order of sources stays what it was."""
    put(place.token_file, A)
    place.shell().store(Token(B))
    with contextlib.suppress(CredentialError):
        Credentials(place.state, str(place.token_file), {}, StoppingDisk(steps)).store(Token(C))
    assert place.shell().token().reveal() == (C if steps >= STORED else B)


def test_a_stored_token_is_for_the_owner_only(place: Place) -> None:
    """Mode 0600 whatever the umask, one line, and only fingerprints in the record."""
    umask = os.umask(0)
    try:
        place.shell().store(Token(A), same_owner=True)
    finally:
        os.umask(umask)
    assert (place.state / "device-token").read_text() == f"{A}\n"
    assert {stat.S_IMODE(file.stat().st_mode) for file in place.state.iterdir()} == {0o600}
    record = (place.state / "device-token.json").read_text()
    assert list(json.loads(record)["written"]) == [Token(A).fingerprint]
    for kept in place.state.iterdir():
        assert ("secret" in kept.read_text()) is (kept.name == "device-token")


def test_a_state_that_cannot_be_written_keeps_the_old_token(place: Place) -> None:
    """One sentence."""
    missing = Credentials(place.state / "none", "", {})
    with pytest.raises(CredentialError, match=r"cannot be kept in .* \(No such file or directory\); set it"):
        missing.store(Token(A))


def test_a_token_does_not_show_itself() -> None:
    """Not in repr, str or a format, not in an error, not in a pickle, not by its attributes."""
    token = Token(A)
    shown = "<Token f583ff0c>"
    assert [f"{token}", repr(token), str([token])] == [shown, shown, f"[{shown}]"]
    assert not hasattr(token, "__dict__")
    with pytest.raises(TypeError, match="not to be pickled"):
        pickle.dumps(token)
    with pytest.raises(CredentialError) as caught:
        Token(f"{A} {B}")
    assert "secret" not in str(caught.value)
    assert (token == Token(A), token == Token(B), token == A, len({token, Token(A)})) == (
        True,
        False,
        False,
        1,
    )


@pytest.fixture
def session(place: Place) -> Session:
    """A call of the command line on a state directory without a service."""
    config = Config(api=ApiConfig(base_url="http://127.0.0.1:1/v1", token_file=str(place.token_file)))
    made = Session(None)
    made.use(LoadedConfig(config, None))
    made.state = StateDirectory(place.state, place.state)
    return made


def run(session: Session, *arguments: str, given: str | bytes = "") -> Result:
    return CliRunner().invoke(token_commands, list(arguments), obj=session, input=given)


def test_token_set_reads_standard_input(session: Session, place: Place) -> None:
    """The first line; the answer shows the fingerprint only."""
    answer = run(session, "set", given=f"{A}\nmore\n")
    said = f"The device token {Token(A).fingerprint} is kept; it was not tried yet: "
    assert (answer.exit_code, answer.output.startswith(said)) == (0, True), answer.output
    assert place.shell().token().reveal() == A


@pytest.mark.parametrize("given", ["", "nonsense-secret\n", b"\xff\xfe\n"])
def test_token_set_refuses_what_is_no_token(session: Session, place: Place, given: str | bytes) -> None:
    """Exit 77 by its error, nothing written."""
    answer = run(session, "set", given=given)
    assert isinstance(answer.exception, CredentialError)
    assert "secret" not in str(answer.exception)
    assert list(place.state.iterdir()) == []


def test_token_status_tells_the_fingerprint(session: Session, place: Place) -> None:
    """{state, fingerprint, source}; missing is exit 77; what only the daemon sees is told from its record."""
    answer = run(session, "status", "--json")
    assert answer.exit_code == 77
    assert json.loads(answer.output) == {"state": "missing", "fingerprint": None, "source": None}
    put(place.systemd / "device-token", C)
    place.daemon().token()
    assert json.loads(run(session, "status", "--json").output) == {
        "state": "unknown",
        "fingerprint": Token(C).fingerprint,
        "source": "credential",
    }
    put(place.token_file, A)
    assert json.loads(run(session, "status", "--json").output) == {
        "state": "unknown",
        "fingerprint": Token(A).fingerprint,
        "source": "token_file",
    }
    run(session, "set", "--same-owner", given=B)
    answer = run(session, "status")
    assert answer.output == (
        f"The device token {Token(B).fingerprint} is in use, set with token set or token refresh.\n"
    )


def test_what_the_daemon_will_use_is_told_even_unseen(session: Session, place: Place) -> None:
    """A credential that was changed after ``token set`` counts, and ``token status`` in a shell says so."""
    put(place.systemd / "device-token", A)
    place.daemon().token()
    run(session, "set", given=B)
    assert json.loads(run(session, "status", "--json").output)["source"] == "state"
    put(place.systemd / "device-token", C)
    assert place.daemon().token().reveal() == C
    assert json.loads(run(session, "status", "--json").output) == {
        "state": "unknown",
        "fingerprint": Token(C).fingerprint,
        "source": "credential",
    }
