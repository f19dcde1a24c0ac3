"""``token refresh``: the order of api.md section 7, through every way in which it can be cut short."""

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from acceptance import Machine, machine, server, wait_for
from owners import ANNA, NEW, OLD, bind, owners, recorded, statuses

from agent.disk import Disk
from agent.sandbox.devices import DEFAULT_DEVICE
from agent.sandbox.faults import Call, Fault
from agent.sandbox.server import SandboxServer
from agent.token.store import Credentials, Token

__all__ = ["machine", "server"]

ONCE = Path(__file__).parents[1] / "support" / "refresh_once.py"
DURABLE = 2
"""Steps until the refreshed token can be found by another process: create, write."""
REFRESH_STEPS = 23
"""Five each for the refreshed token, the binding, the record and the token, three for the end."""
SET_DURABLE = 14
SET_STEPS = 20
"""Five each for the binding, the record, the token, and the binding that is in force then."""
FRESH = "dtok_fresh-secret"


@pytest.fixture
def known(machine: Machine, server: SandboxServer) -> Machine:
    """A machine whose device id is known from a delivery."""
    bind(server, OLD, ANNA)
    recorded(machine)
    machine.ok("sync")
    return machine


def in_use(machine: Machine) -> Credentials:
    """Return the token's keeper as a new process would build it."""
    return Credentials(machine.state, str(machine.token_file), {})


def refreshes(server: SandboxServer) -> int:
    """Return how often a refresh was asked for."""
    return sum(line["path"].endswith("/token/refresh") for line in server.requests())


def test_a_refresh_replaces_the_token_and_holds_nothing(known: Machine, server: SandboxServer) -> None:
    """The new one is on disk, 0600; the old one is dead; what was recorded before and after goes under it."""
    before = recorded(known)["id"]
    answer = known.ok("token", "refresh", "--json").json
    token = in_use(known).token()
    assert answer == {"fingerprint": token.fingerprint, "device_id": "dev_sandbox"}
    assert token != Token(OLD)
    assert not server.state.devices.accepts(OLD)
    assert server.state.devices.accepts(token.reveal())
    file = known.state / "device-token"
    assert (stat.S_IMODE(file.stat().st_mode), file.read_text()) == (0o600, f"{token.reveal()}\n")
    assert not (known.state / "device-token.refreshed").exists()
    after = recorded(known)["id"]
    known.ok("sync")
    assert statuses(known)[before] == statuses(known)[after] == "uploaded"
    known.ok("token", "refresh")
    assert refreshes(server) == 2


def test_an_unknown_device_id_is_one_sentence(machine: Machine, server: SandboxServer) -> None:
    """Nothing is asked of the API; a token of the same owner has to show its own."""
    assert "device id" in machine.run("token", "refresh").sentence(1)
    recorded(machine)
    machine.ok("sync")
    bind(server, NEW, ANNA, "dev_other")
    machine.ok("token", "set", "--same-owner", stdin=NEW)
    assert "device id" in machine.run("token", "refresh").sentence(1)
    assert refreshes(server) == 0


@pytest.mark.parametrize(
    ("fault", "code", "says", "still_works"),
    [
        (Fault(Call.REFRESH, drop="before"), 1, "still accepted", True),
        (Fault(Call.REFRESH, drop="after"), 77, "refused now", False),
        (Fault(Call.REFRESH, status=504, work=True), 77, "refused now", False),
        (Fault(Call.REFRESH, status=500, body={"error": "x"}), 1, "still accepted", True),
        (Fault(Call.REFRESH, status=200, body="<html>portal</html>"), 1, "still accepted", True),
        (Fault(Call.REFRESH, status=200, body={"device_token": "nonsense"}), 77, "no device token", True),
        (Fault(Call.REFRESH, status=404, body={"error": "gone"}), 1, "404", True),
        (Fault(Call.REFRESH, status=429, headers={"Retry-After": "1"}), 75, "429", True),
    ],
)
def test_what_becomes_of_a_refresh_is_said_plainly(
    known: Machine, server: SandboxServer, fault: Fault, code: int, says: str, still_works: bool
) -> None:
    """Whether the old token lives on is asked at once; where it does it stays in use, and nothing is asked twice."""
    server.faults.add(fault)
    sentence = known.run("token", "refresh").sentence(code)
    assert says in sentence
    assert "dtok_" not in sentence
    assert in_use(known).token() == Token(OLD)
    assert server.state.devices.accepts(OLD) is still_works
    assert refreshes(server) == 1


def test_a_lost_answer_that_cannot_be_looked_into(known: Machine, server: SandboxServer) -> None:
    """The API is away right after: nobody knows, and that is what is said; a re-issued token heals it."""
    server.faults.add(Fault(Call.REFRESH, drop="after"), Fault(Call.HEARTBEAT, drop="before"))
    kept = recorded(known)["id"]
    assert "nobody knows" in known.run("token", "refresh").sentence(77)
    bind(server, NEW, ANNA)
    known.ok("token", "set", "--same-owner", stdin=NEW)
    known.ok("sync")
    assert owners(server)[kept] == ANNA


def test_the_daemon_refreshes_while_it_delivers(known: Machine, server: SandboxServer) -> None:
    """Through the socket, in the middle of its work: nothing is refused, nothing is held, nothing is lost."""
    known.configure(
        audio={"input": f"file:{known.folder / 'half.wav'}?loop"}, recording={"segment_seconds": 10}
    )
    waiting = [recorded(known)["id"] for _ in range(5)]
    server.faults.add(Fault(Call.PUT, times=5, delay_seconds=0.4))
    with known.daemon() as daemon:
        wait_for(lambda: len(owners(server)) >= 2)
        known.ok("token", "refresh")
        known.ok("token", "refresh")
        wait_for(lambda: set(waiting) <= set(owners(server)))
        wait_for(lambda: daemon.status()["transfer"] is None and daemon.status()["pending"] == 0)
        wait_for(lambda: daemon.status()["credential"]["state"] == "accepted")
        assert "credential_refused" not in daemon.log()
        assert daemon.stop() == 0
    assert {statuses(known)[each] for each in waiting} == {"uploaded"}
    assert refreshes(server) == 2


def test_a_token_set_meanwhile_wins(tmp_path: Path) -> None:
    """By a person, into the file or by command, between the question and the answer: the refreshed one is dropped."""
    file = tmp_path / "token"
    for number, change in enumerate(("file", "command")):
        state = tmp_path / str(number)
        state.mkdir()
        file.touch(0o600)
        file.write_text(OLD)
        kept = Credentials(state, str(file), {})
        old = kept.token()
        beneath = kept.beneath()
        if change == "file":
            file.write_text(NEW)
        else:
            Credentials(state, str(file), {}).store(Token(NEW))
        assert not kept.succeed(old, Token(FRESH), beneath)
        assert kept.token() == Token(NEW)
        assert {path.name for path in state.iterdir()}.isdisjoint({"device-token.refreshed"})


@pytest.fixture
def delivered(tmp_path: Path, server: SandboxServer) -> Credentials:
    """What a machine knows that has delivered under the old token, which is in the token file."""
    bind(server, OLD, ANNA)
    state, file = tmp_path / "state", tmp_path / "token"
    state.mkdir()
    file.touch(0o600)
    file.write_text(OLD)
    kept = Credentials(state, str(file), {})
    kept.token()
    kept.learn(ANNA, DEFAULT_DEVICE)
    return kept


def killed(tmp_path: Path, what: str, step: int, given: str = "") -> bool:
    """Run ``refresh_once`` in a process of its own; return whether it was killed."""
    command: list[str | Path] = [
        sys.executable,
        ONCE,
        what,
        tmp_path / "state",
        tmp_path / "token",
        str(step),
    ]
    done = subprocess.run(command, input=given, text=True, capture_output=True, check=False)
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode != 0


@pytest.mark.parametrize("step", range(REFRESH_STEPS + 1))
def test_a_kill_while_refreshing(
    tmp_path: Path, delivered: Credentials, server: SandboxServer, step: int
) -> None:
    """Before each durable step: once the new token is written it is found, and keeps its binding and its device id."""
    assert killed(tmp_path, server.base_url, step) is (step < REFRESH_STEPS)
    assert not server.state.devices.accepts(OLD)
    token = Credentials(tmp_path / "state", str(tmp_path / "token"), {}).token()
    assert delivered.token() == token
    assert delivered.current() == Token(OLD).fingerprint
    assert server.state.devices.accepts(token.reveal()) is (step >= DURABLE)
    assert delivered.bindings.device_of(token.fingerprint) == DEFAULT_DEVICE
    assert not (tmp_path / "state" / "device-token.refreshed").exists()
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


@pytest.mark.parametrize("step", range(SET_STEPS + 1))
def test_a_kill_while_setting(tmp_path: Path, delivered: Credentials, step: int) -> None:
    """Before each durable step: the old token or the new one, whole, and neither is used for what is the other's."""
    assert killed(tmp_path, "set", step, NEW) is (step < SET_STEPS)
    token = delivered.token()
    assert token == Token(NEW if step >= SET_DURABLE else OLD)
    assert delivered.current() == token.fingerprint
    assert delivered.bindings.allows(Token(OLD).fingerprint, None, delivered.current()) is (
        token == Token(OLD)
    )


@pytest.mark.parametrize("step", range(SET_STEPS - 5))
def test_a_kill_while_setting_for_the_same_owner(tmp_path: Path, delivered: Credentials, step: int) -> None:
    """As above, and whichever token is left may send everything."""
    kept = Credentials(tmp_path / "state", str(tmp_path / "token"), {}, CutDisk(step))
    with pytest.raises(Cut):
        kept.store(Token(NEW), same_owner=True)
    delivered.token()
    assert delivered.current() == Token(OLD).fingerprint


class Cut(BaseException):
    """The power is gone."""


class CutDisk(Disk):
    """Does nothing any more from the n-th durable step on."""

    def __init__(self, step: int) -> None:
        self.left = step
        super().__init__(self._count)

    def _count(self, _step: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise Cut
