"""``token set`` and ``token status`` as a person meets them."""

import json
from pathlib import Path

import pytest
from acceptance import Machine, calls, machine, server, wait_for
from owners import ANNA, BERT, NEW, OLD, bind, owners, recorded, statuses

from agent.sandbox.faults import Call, Fault
from agent.sandbox.server import SandboxServer
from agent.token.store import Token

__all__ = ["machine", "server"]

WRONG = "dtok_nobody-has-this"


def heartbeats(server: SandboxServer) -> int:
    """Return how many heartbeats came in, refused ones too."""
    return sum(line["path"].endswith("/heartbeat") for line in server.requests())


@pytest.fixture
def bare(machine: Machine) -> Machine:
    """A machine without any token."""
    machine.token_file.unlink()
    machine.configure(api={"token_file": ""})
    return machine


def test_a_token_is_tried_at_once(bare: Machine, server: SandboxServer) -> None:
    """By one heartbeat that says nothing; the answer tells the fingerprint only."""
    run = bare.ok("token", "set", stdin=f"{OLD}\n")
    assert run.out == f"The device token {Token(OLD).fingerprint} is kept, and the API accepts it.\n"
    assert [beat.body for beat in server.state.devices.heartbeats] == [{}]
    assert (bare.state / "device-token").read_text() == f"{OLD}\n"


def test_a_refused_token_is_not_kept(bare: Machine) -> None:
    """Exit 77, and the one before stays: it may be shown nowhere else any more. It begins no binding either."""
    sentence = bare.run("token", "set", stdin=f"{WRONG}\n").sentence(77)
    assert "401" in sentence
    assert "there is none in use" in sentence
    bare.ok("token", "set", stdin=OLD)
    row = recorded(bare)
    sentence = bare.run("token", "set", stdin=WRONG).sentence(77)
    assert f"the one before ({Token(OLD).fingerprint}) stays in use" in sentence
    bare.ok("sync")
    assert statuses(bare) == {row["id"]: "uploaded"}
    assert Token(WRONG).fingerprint not in (bare.state / "lineages.json").read_text()


@pytest.mark.parametrize(
    "answer",
    [
        Fault(Call.HEARTBEAT, drop="before"),
        Fault(Call.HEARTBEAT, status=503),
        Fault(Call.HEARTBEAT, status=403, body="<html>sign in</html>"),
        Fault(Call.HEARTBEAT, status=429, headers={"Retry-After": "60"}),
    ],
)
def test_a_token_that_cannot_be_tried_is_kept(bare: Machine, server: SandboxServer, answer: Fault) -> None:
    """Offline, a portal, a busy server: exit 0, and it is said."""
    server.faults.add(answer)
    run = bare.ok("token", "set", stdin=OLD)
    assert run.out.startswith(f"The device token {Token(OLD).fingerprint} is kept; it was not tried yet: ")
    server.faults.clear()
    recorded(bare)
    bare.ok("sync")
    assert len(owners(server)) == 1


def test_a_new_token_says_what_it_holds(bare: Machine, server: SandboxServer) -> None:
    """And ``--same-owner``, then or later, sends it."""
    bind(server, OLD, ANNA)
    bare.ok("token", "set", stdin=OLD)
    row = recorded(bare)
    bind(server, NEW, BERT)
    run = bare.ok("token", "set", stdin=NEW)
    assert "held until the API shows the same owner" in run.out
    bare.ok("sync")
    assert statuses(bare) == {row["id"]: "held"}
    run = bare.ok("token", "set", "--same-owner", stdin=NEW)
    assert "held" not in run.out
    bare.ok("sync")
    assert owners(server) == {row["id"]: BERT}


def test_the_daemon_takes_up_a_token_without_a_restart(bare: Machine, server: SandboxServer) -> None:
    """Missing, then refused, then right: recording never stops, the state is told, and what waits goes by itself."""
    recorded(bare)
    wav = bare.folder / "half.wav"
    bare.configure(
        audio={"input": f"file:{wav}?loop"},
        recording={"segment_seconds": 10},
        api={"token_file": str(bare.token_file)},
        heartbeat={"enabled": False},
    )
    with bare.daemon() as daemon:
        wait_for(lambda: daemon.status()["credential"]["state"] == "missing")
        bare.give_token(OLD)
        wait_for(lambda: daemon.status()["credential"]["state"] == "accepted")
        wait_for(lambda: len(owners(server)) >= 1)
        server.state.devices.revoke(OLD)
        wait_for(lambda: daemon.status()["credential"]["state"] == "refused")
        shown = bare.run("token", "status", "--json")
        assert (shown.code, json.loads(shown.out)["state"]) == (77, "refused")
        assert daemon.status()["state"] == "recording"
        assert "device token refused" in (daemon.status()["waiting"] or {})["reason"]
        refused = [call for call in calls(server) if call[1] == 401]
        assert len(refused) == 1
        bind(server, NEW, None)
        bare.ok("token", "set", "--same-owner", stdin=NEW)
        wait_for(lambda: daemon.status()["credential"]["state"] == "accepted")
        wait_for(lambda: daemon.status()["held"] == 0)
        assert json.loads(bare.ok("token", "status", "--json").out) == {
            "state": "accepted",
            "fingerprint": Token(NEW).fingerprint,
            "source": "state",
        }
        assert [call for call in calls(server) if call[1] == 401] == refused
        assert daemon.stop() == 0


def test_a_token_is_never_on_a_command_line(bare: Machine) -> None:
    """There is no argument for it, and the wrong usage does not repeat it."""
    run = bare.run("token", "set", OLD)
    assert run.code == 2
    assert OLD not in run.out + run.err
    assert not Path(bare.state / "device-token").exists()


def test_the_owner_of_the_token_sets_it(bare: Machine, server: SandboxServer) -> None:
    """A running deliverer tries and keeps it itself: ``status`` knows the verdict at once, and no log has the token."""
    recorded(bare)
    bare.configure(heartbeat={"enabled": False}, recording={"mode": "manual"})
    with bare.daemon() as daemon:
        wait_for(lambda: daemon.status()["credential"]["state"] == "missing")
        run = bare.ok("token", "set", stdin=OLD)
        assert run.out == f"The device token {Token(OLD).fingerprint} is kept, and the API accepts it.\n"
        assert daemon.status()["credential"] == {"state": "accepted", "fingerprint": Token(OLD).fingerprint}
        wait_for(lambda: len(owners(server)) == 1)
        sentence = bare.run("token", "set", stdin=WRONG).sentence(77)
        assert f"the one before ({Token(OLD).fingerprint}) stays in use" in sentence
        assert daemon.status()["credential"] == {"state": "accepted", "fingerprint": Token(OLD).fingerprint}
        fresh = bare.ok("token", "refresh", "--json").json["fingerprint"]
        assert daemon.status()["credential"] == {"state": "accepted", "fingerprint": fresh}
        server.faults.add(Fault(Call.HEARTBEAT, status=503))
        bind(server, NEW, BERT)
        assert "it was not tried yet" in bare.ok("token", "set", stdin=NEW).out
        assert daemon.status()["credential"] == {"state": "unknown", "fingerprint": Token(NEW).fingerprint}
        assert daemon.stop() == 0
        assert "dtok_" not in daemon.log()
