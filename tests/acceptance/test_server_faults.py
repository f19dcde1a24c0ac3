"""What servers answer, and what ``sync`` makes of it: exit code, rows, and what the server is asked for."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from acceptance import Json, Machine, calls, machine, server, stored
from speech import speech, write_wav

from agent.sandbox.faults import Call, Fault
from agent.sandbox.server import SandboxServer

RATE = 16_000
NO: Json = {"error": {"code": "invalid_request", "message": "No such field."}}
DELIVERED = [("create", 201), ("url", 200), ("put", 200), ("complete", 200)]


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """A second of speech."""
    return write_wav(tmp_path / "a.wav", RATE, 1, speech(RATE, 1, RATE))


def only(machine: Machine) -> Json:
    """Return the one row there is."""
    (row,) = machine.queue()
    return row


def several(machine: Machine, wav: Path, count: int) -> None:
    """Record so many seconds, a row each."""
    machine.configure(recording={"max_seconds": 1})
    long = write_wav(wav.with_name("long.wav"), RATE, 1, speech(RATE, 1, count * RATE))
    assert len(machine.record(long)) == count


def test_a_busy_server(machine: Machine, server: SandboxServer, wav: Path) -> None:
    """503 once: exit 75, and when the next try is due outlives the process; the next ``sync`` delivers."""
    machine.record(wav)
    server.faults.add(Fault(Call.CREATE, status=503))

    assert "503" in machine.run("sync").sentence(75)
    row = only(machine)
    assert (row["status"], row["attempts"]) == ("ready", 1)
    assert "503" in row["last_error"]
    due = datetime.fromisoformat(row["next_attempt_at"])
    assert abs((due - datetime.now(UTC)).total_seconds()) < 60

    machine.ok("sync")
    assert calls(server) == [("create", 503), *DELIVERED]
    assert only(machine)["next_attempt_at"] is None


def test_a_recording_that_is_refused(machine: Machine, server: SandboxServer, wav: Path) -> None:
    """422 on create: exit 1, parked with the server's words and left alone, until a person says ``queue retry``."""
    machine.record(wav)
    server.faults.add(Fault(Call.CREATE, status=422, body=NO))

    assert "No such field" in machine.run("sync").sentence(1)
    row = only(machine)
    assert row["status"] == "parked"
    assert "422" in row["last_error"]
    assert Path(row["path"]).is_file()
    assert machine.ok("sync", "--json").json["parked_in_all"] == 1
    assert calls(server) == [("create", 422)]

    machine.ok("queue", "retry", row["id"])
    machine.ok("sync")
    assert only(machine)["status"] == "uploaded"


def test_a_server_that_refuses_every_recording(machine: Machine, server: SandboxServer, wav: Path) -> None:
    """Three creates refused alike are not the recordings' fault: nothing is parked, no fourth is tried, exit 75."""
    several(machine, wav, 4)
    server.faults.add(Fault(Call.CREATE, times=None, status=422, body=NO))

    assert "422" in machine.run("sync").sentence(75)
    assert calls(server) == [("create", 422)] * 3
    assert {row["status"] for row in machine.queue()} == {"ready"}

    server.faults.clear()
    machine.ok("sync")
    assert {row["status"] for row in machine.queue()} == {"uploaded"}


def test_other_bytes_on_the_server(machine: Machine, server: SandboxServer, wav: Path) -> None:
    """409 on complete: a fresh URL, PUT and complete again, at most three times, then parked, exit 1."""
    machine.record(wav)
    server.faults.add(Fault(Call.COMPLETE, times=None, status=409, body=NO))

    assert "409" in machine.run("sync").sentence(1)
    assert calls(server) == [("create", 201), *[("url", 200), ("put", 200), ("complete", 409)] * 4]
    assert only(machine)["status"] == "parked"

    server.faults.clear()
    machine.ok("queue", "retry", "--all")
    machine.ok("sync")
    assert only(machine)["verified"] is True


def test_a_server_that_still_verifies(machine: Machine, server: SandboxServer, wav: Path) -> None:
    """425 twice: one ``sync`` asks again after 2 and 4 s, sends nothing anew, and uses up no attempt."""
    server.state.set_switches({"early_completes": 2})
    machine.record(wav)
    began = time.monotonic()

    machine.ok("sync")

    assert time.monotonic() - began > 6
    assert calls(server) == [*DELIVERED[:3], ("complete", 425), ("complete", 425), ("complete", 200)]
    assert only(machine)["attempts"] == 0


def test_the_older_contract(machine: Machine, server: SandboxServer, wav: Path) -> None:
    """``uploaded`` without a hash counts as delivered but not as verified; a lost answer is made good by the 400."""
    server.state.set_switches({"contract": "older", "upload_answer": "content_type", "media_id": False})
    machine.record(wav)
    server.faults.add(Fault(Call.COMPLETE, drop="after"))

    machine.run("sync").sentence(75)
    machine.ok("sync")

    assert calls(server) == [*DELIVERED[:3], ("complete", None), ("complete", 400)]
    row = only(machine)
    assert (row["status"], row["verified"]) == ("uploaded", False)
    assert len(stored(server, row["id"])) == 1


def test_an_upload_url_that_has_expired(machine: Machine, server: SandboxServer, wav: Path) -> None:
    """403 of the storage costs a fresh URL, never the token's credit; three in a row back this recording off."""
    machine.record(wav)
    server.faults.add(Fault(Call.PUT, status=403, body="<Error><Code>AccessDenied</Code></Error>"))
    machine.ok("sync")
    assert calls(server) == [*DELIVERED[:2], ("put", 403), *DELIVERED[1:]]

    machine.record(wav)
    server.state.set_switches({"url_seconds": 0})
    machine.run("sync").sentence(75)
    assert calls(server)[6:] == [("create", 201), *[("url", 200), ("put", 403)] * 3]
    (_, row) = machine.queue()
    assert (row["status"], row["attempts"]) == ("created", 1)


def test_a_pause_the_api_asks_for(machine: Machine, server: SandboxServer, wav: Path) -> None:
    """After a 429 no process calls before Retry-After has passed, not even by hand; then all are delivered."""
    several(machine, wav, 2)
    server.faults.add(Fault(Call.CREATE, status=429, headers={"Retry-After": "5"}))
    machine.run("sync").sentence(75)
    asked = time.monotonic()
    assert calls(server) == [("create", 429)]
    requests = server.requests()

    left = re.search(r"another (\d+) s", machine.run("sync").sentence(75))
    assert left
    assert server.requests() == requests
    assert {row["attempts"] for row in machine.queue()} == {0}

    time.sleep(int(left[1]) + 1)  # rounded
    assert time.monotonic() - asked > 4
    machine.ok("sync")
    assert calls(server) == [("create", 429), *DELIVERED * 2]


def test_lost_answers(machine: Machine, server: SandboxServer, wav: Path) -> None:
    """Each answer lost once, with and without idempotency: offline, no attempt used, one copy of the audio."""
    lost = {True: (Call.CREATE, Call.UPLOAD_URL, Call.PUT, Call.COMPLETE), False: (Call.CREATE,)}
    for honoured, steps in lost.items():
        server.state.set_switches({"honour_idempotency": honoured})
        (recorded,) = machine.record(wav)
        for call in steps:
            server.faults.add(Fault(call, drop="after"))
            machine.run("sync").sentence(75)
        row = machine.queue()[-1]
        assert (row["id"], row["attempts"]) == (recorded["id"], 0)
        machine.ok("sync")
        assert len(stored(server, recorded["id"])) == 1
    assert len(server.state.recordings.by_id) == 3  # where it is not honoured one stays empty


def test_something_else_answers(machine: Machine, server: SandboxServer, wav: Path) -> None:
    """A captive portal's page, whatever its status, is no answer of the API: offline, and nothing is believed."""
    machine.record(wav)
    page = "<html><body>Welcome to our hotel</body></html>"
    for status in (200, 302, 403, 511):
        headers = {"Location": "http://192.0.2.1/"}
        server.faults.add(Fault(Call.CREATE, status=status, body=page, headers=headers))
        assert "portal" in machine.run("sync").sentence(75)
    assert (only(machine)["status"], only(machine)["attempts"]) == ("ready", 0)
    machine.ok("sync")
