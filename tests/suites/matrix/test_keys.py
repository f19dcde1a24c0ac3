"""Idempotency keys and owners where they meet: refusals that the server keeps, other tokens, lost answers, replays.

The sandbox keeps refusals for 24 hours, and its keys are the project's, not the device's (api.md sections 1 and 7).
"""

# ruff: noqa: F401, F811 - fixtures are imported by name

from typing import Any

import pytest
from acceptance import Machine, machine, server
from owners import ANNA, BERT, NEW, OLD, bind, owners, recorded, statuses

from agent.sandbox.faults import Call, Fault
from agent.sandbox.server import SandboxServer

REFUSAL = {"error": {"code": "invalid_request", "message": "not today"}}


def refuse(server: SandboxServer, times: int, status: int = 422) -> None:
    """Let the next creates be refused; the sandbox keeps each refusal for its key."""
    server.faults.add(Fault(Call.CREATE, times=times, status=status, body=REFUSAL))


def keys(server: SandboxServer) -> list[str]:
    """Return the keys that the sandbox has an answer for."""
    with server.state.book.reading() as kept:
        return list(kept.answers)


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
def test_a_stored_refusal_and_a_persons_retry(machine: Machine, server: SandboxServer, status: int) -> None:
    """After a repair on the server the retry meets a fresh key, not the refusal that is kept for the old one."""
    recording = recorded(machine)["id"]
    refuse(server, 1, status)
    machine.run("sync")
    assert statuses(machine)[recording] == "parked"
    machine.ok("queue", "retry", recording)
    assert machine.ok("sync", "--json").json["delivered"] == [recording]
    first, second = keys(server)
    assert (first[:-1], second[:-1], first[-1], second[-1]) == (first[:-1], first[:-1], "0", "1")


def test_a_probe_after_a_systemic_refusal(machine: Machine, server: SandboxServer) -> None:
    """Three alike: nothing is parked; the next try of the same recordings is no replay of their refusals."""
    ids = [recorded(machine)["id"] for _ in range(3)]
    refuse(server, 3)
    machine.run("sync")
    assert set(statuses(machine).values()) == {"ready"}
    assert sorted(machine.ok("sync", "--json").json["delivered"]) == sorted(ids)


@pytest.mark.parametrize("lost", [{"drop": "after"}, {"drop": "before"}, {"status": 503}, {"status": 408}])
def test_a_lost_answer_is_asked_for_under_the_same_key(
    machine: Machine, server: SandboxServer, lost: dict[str, Any]
) -> None:
    """The create may have been carried out: one key, and one recording on the server."""
    recording = recorded(machine)["id"]
    server.faults.add(Fault(Call.CREATE, **lost))
    machine.run("sync")
    machine.run("queue", "retry", recording)
    machine.ok("sync")
    assert owners(server).keys() == {recording}
    assert len(keys(server)) == 1


def test_another_token_between_two_tries(machine: Machine, server: SandboxServer) -> None:
    """Under another binding the create has a key of its own; the owner of the first never sees the second's answer."""
    bind(server, OLD, ANNA)
    recording = recorded(machine)["id"]
    server.faults.add(Fault(Call.CREATE, drop="after"))
    machine.run("sync")
    bind(server, NEW, BERT)
    machine.give_token(NEW)
    machine.ok("sync")
    machine.ok("queue", "release", recording)
    assert machine.ok("sync", "--json").json["delivered"] == [recording]
    uploaded = [each for each in server.state.recordings.by_id.values() if each.status == "uploaded"]
    assert [each.end_user_id for each in uploaded] == [BERT]
    assert len(keys(server)) == 2


def filed_under(server: SandboxServer, end_user_id: str) -> list[str]:
    """Return the local ids of what the server has for one person, with audio or without."""
    recordings = server.state.recordings.by_id.values()
    return [each.metadata["client_recording_id"] for each in recordings if each.end_user_id == end_user_id]


def lost_under_one_and_released_to_the_next(machine: Machine, server: SandboxServer) -> tuple[str, str]:
    """A create under A without its answer, then B's token and a person's release: the replay must teach nothing."""
    bind(server, OLD, ANNA)
    recorded(machine)
    machine.ok("sync")
    first = recorded(machine)["id"]
    second = recorded(machine)["id"]
    server.faults.add(Fault(Call.CREATE, drop="after"))
    machine.run("sync")
    bind(server, NEW, BERT)
    machine.give_token(NEW)
    machine.ok("sync")
    machine.ok("queue", "release", first)
    for _ in range(2):  # what the first one teaches, the second one acts upon
        machine.run("sync")
    return first, second


def test_a_replay_under_another_binding_teaches_no_owner(machine: Machine, server: SandboxServer) -> None:
    """Only what the person released goes to B; the rest of A's audio stays held."""
    first, second = lost_under_one_and_released_to_the_next(machine, server)
    assert statuses(machine)[first] == "uploaded"
    assert statuses(machine)[second] == "held"
    assert filed_under(server, BERT) == [first]
    uploaded = [each for each in server.state.recordings.by_id.values() if each.status == "uploaded"]
    assert [each.end_user_id for each in uploaded] == [ANNA, BERT]


SABOTAGE = """
import agent.sync.delivery as delivery
delivery.idempotency_key = lambda entry, binding: entry.id
"""


def test_a_key_without_the_binding_is_found(machine: Machine, server: SandboxServer) -> None:
    """The control: with the local id alone as the key, B is shown A's answer, and gets what is A's."""
    sabotage = machine.folder / "hidden" / "sitecustomize.py"
    sabotage.write_text(SABOTAGE)
    _first, second = lost_under_one_and_released_to_the_next(machine, server)
    assert second in filed_under(server, BERT)
