"""Recordings of an earlier binding of the device wait until their owner is known (api.md section 7)."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from acceptance import Machine, calls, machine, server, wait_for
from owners import ANNA, BERT, LATER, NEW, OLD, bind, bindings_file, owners, recorded, statuses

from agent.audio.ogg import read_summary
from agent.recording.segment import SegmentStart
from agent.sandbox.faults import Call, Fault
from agent.sandbox.server import SandboxServer
from agent.token.store import Token

__all__ = ["machine", "server"]

BINDING_COLUMN = "lineage"


def test_each_recording_remembers_its_binding(machine: Machine, server: SandboxServer) -> None:
    """In the file's own tags, in its sidecar and in the index, before anything was sent."""
    row = recorded(machine)
    binding = Token(OLD).fingerprint
    audio = Path(row["path"])
    start = SegmentStart.from_tags(read_summary(audio).tags)
    assert start is not None
    assert start.binding == binding
    assert json.loads(audio.with_suffix(".json").read_text())["lineage"] == binding
    machine.ok("repair")
    with closing(sqlite3.connect(machine.state / "outbox.db")) as index:
        assert index.execute(f"SELECT {BINDING_COLUMN} FROM recordings").fetchall() == [(binding,)]  # noqa: S608 - our column
    assert calls(server) == []


def test_what_was_recorded_for_one_person_is_not_sent_for_another(
    machine: Machine, server: SandboxServer
) -> None:
    """Held and said everywhere, in the index and in the sidecar, whatever is tried; the new person's own goes."""
    bind(server, OLD, ANNA)
    first = recorded(machine)["id"]
    machine.ok("sync")
    second = recorded(machine)["id"]
    bind(server, NEW, BERT)
    machine.give_token(NEW)
    third = recorded(machine)["id"]

    answer = machine.ok("sync", "--json").json

    assert answer["delivered"] == [third]
    assert answer["held"] == 1
    assert owners(server) == {first: ANNA, third: BERT}
    assert statuses(machine) == {first: "uploaded", second: "held", third: "uploaded"}
    now = machine.ok("status", "--json").json
    assert (now["held"], "another device token" in now["held_reason"]) == (1, True)
    assert "queue release" in machine.ok("status").out
    assert "held: recorded under another device token" in machine.ok("queue", "show", second).out
    sidecar = next((machine.state / "outbox").glob("*.json"))
    assert json.loads(sidecar.read_text())["held_ms"] is not None
    for command in (("queue", "retry", "--all"), ("sync",)):
        machine.ok(*command)
    assert owners(server) == {first: ANNA, third: BERT}


def test_the_same_owner_is_recognised_by_the_first_create(machine: Machine, server: SandboxServer) -> None:
    """A token issued anew for the same person: what was held goes by itself in the same ``sync``."""
    bind(server, OLD, ANNA)
    first = recorded(machine)["id"]
    machine.ok("sync")
    second = recorded(machine)["id"]
    bind(server, NEW, ANNA)
    machine.give_token(NEW)
    assert machine.ok("sync", "--json").json["delivered"] == []
    third = recorded(machine)["id"]

    assert machine.ok("sync", "--json").json["delivered"] == [third, second]

    assert owners(server) == {first: ANNA, second: ANNA, third: ANNA}


def test_null_is_nobody(machine: Machine, server: SandboxServer) -> None:
    """Two bindings without an end user are not the same person."""
    bind(server, OLD, None)
    recorded(machine)
    machine.ok("sync")
    kept = recorded(machine)["id"]
    bind(server, NEW, None)
    machine.give_token(NEW)
    recorded(machine)
    machine.ok("sync")
    assert statuses(machine)[kept] == "held"


def test_a_person_releases_and_that_stays_so(machine: Machine, server: SandboxServer) -> None:
    """To the present owner: through a lost index, and not to the one after."""
    bind(server, OLD, ANNA)
    kept, other = recorded(machine)["id"], recorded(machine)["id"]
    bind(server, NEW, BERT)
    machine.give_token(NEW)
    machine.ok("sync")
    assert machine.ok("queue", "release", kept).out == f"released {kept}\n"
    (machine.state / "outbox.db").unlink(missing_ok=True)
    machine.ok("repair")
    assert statuses(machine) == {kept: "ready", other: "held"}

    machine.give_token(LATER)
    assert "401" in machine.run("sync").sentence(77)
    assert statuses(machine) == {kept: "held", other: "held"}

    machine.give_token(NEW)
    machine.ok("sync")
    assert owners(server) == {kept: BERT}
    machine.ok("queue", "release", "--all")
    machine.ok("sync")
    assert owners(server) == {kept: BERT, other: BERT}


def test_an_earlier_token_sends_its_own(machine: Machine, server: SandboxServer) -> None:
    """A wrong token is refused and holds; the right one again, and all goes without a person."""
    bind(server, OLD, ANNA)
    before = recorded(machine)["id"]
    machine.give_token(LATER)
    between = recorded(machine)["id"]
    assert "401" in machine.run("sync").sentence(77)
    assert statuses(machine) == {before: "held", between: "ready"}
    machine.give_token(OLD)
    machine.ok("sync")
    assert owners(server) == {before: ANNA}
    assert statuses(machine)[between] == "held"


def test_what_was_recorded_before_any_token_goes_under_the_first(
    machine: Machine, server: SandboxServer
) -> None:
    """And without one nothing is held."""
    machine.token_file.unlink()
    row = recorded(machine)
    assert "token set" in machine.run("sync").sentence(77)
    assert statuses(machine) == {row["id"]: "ready"}
    machine.give_token(OLD)
    machine.ok("sync")
    assert list(owners(server)) == [row["id"]]


def test_a_half_sent_recording_of_another_owner_waits_too(machine: Machine, server: SandboxServer) -> None:
    """Stored under one token: no call is made for it under the other, and it is whole when the first is back."""
    bind(server, OLD, ANNA)
    row = recorded(machine)
    server.faults.add(Fault(Call.COMPLETE, times=None, status=503))
    machine.run("sync").sentence(75)
    server.faults.clear()
    bind(server, NEW, BERT)
    machine.give_token(NEW)
    done = len(calls(server))
    machine.ok("sync")
    assert statuses(machine) == {row["id"]: "held"}
    assert calls(server)[done:] == []
    bind(server, OLD, ANNA)
    machine.give_token(OLD)
    machine.ok("sync")
    assert calls(server)[done:] == [("complete", 200)]


def test_the_daemon_divides_a_recording_between_two_owners(machine: Machine, server: SandboxServer) -> None:
    """A token that changes while it records: the file is cut, the earlier part is held, the later one goes."""
    bind(server, OLD, ANNA)
    recorded(machine)
    machine.ok("sync")
    wav = machine.folder / "half.wav"
    machine.configure(
        audio={"input": f"file:{wav}?loop"},
        recording={"segment_seconds": 3600, "max_seconds": 3600},
        heartbeat={"enabled": False},
    )
    with machine.daemon() as daemon:
        wait_for(lambda: daemon.status()["state"] == "recording")
        bind(server, NEW, BERT)
        machine.give_token(NEW)
        wait_for(lambda: daemon.status()["held"] == 1)
        now = daemon.status()
        assert (now["state"], now["credential"]["fingerprint"]) == ("recording", Token(NEW).fingerprint)
        assert daemon.stop() == 0
    machine.ok("sync")
    rows = [row for row in machine.queue() if row["status"] != "uploaded" or row["segment"] > 1]
    assert [(row["segment"], row["status"]) for row in rows] == [(1, "held"), (2, "uploaded")]
    assert rows[0]["session_id"] == rows[1]["session_id"]
    assert owners(server)[rows[1]["id"]] == BERT
    assert rows[0]["id"] not in owners(server)


def test_a_file_found_alone_keeps_its_owner(machine: Machine, server: SandboxServer) -> None:
    """Index and sidecar are lost, the token is another: the tags say whose it is."""
    row = recorded(machine)
    (machine.state / "outbox.db").unlink(missing_ok=True)
    Path(row["path"]).with_suffix(".json").unlink()
    bind(server, NEW, BERT)
    machine.give_token(NEW)
    machine.ok("repair")
    assert statuses(machine) == {row["id"]: "held"}
    assert bindings_file(machine).exists()
    machine.ok("sync")
    assert owners(server) == {}
