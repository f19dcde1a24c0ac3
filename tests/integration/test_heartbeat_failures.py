"""The sign of life in trouble: odd answers, no network, a refused token, pauses the API asks for."""

import threading

import pytest
from both_processes import as_remote
from heartbeat_bench import HOUR, TOKEN, Bench, bench, clock, moments

from agent.deliverer.threads import SyncThreads
from agent.outbox.entry import Status
from agent.sandbox.faults import Call, Fault
from agent.status.board import CredentialState

__all__ = ["bench", "clock"]

# answers


@pytest.mark.parametrize(
    "body",
    [
        None,
        "<html>ok</html>",
        [],
        {},
        {"commands": 7},
        {"commands": [None, {"id": 3}, [], {"id": "cmd_1", "type": {}}]},
        {"command": {"commands": {}}},
        {"firmware": [1, 2]},
    ],
    ids=str,
)
def test_no_answer_makes_it_fail(bench: Bench, body: object) -> None:
    """Whatever the body of a 2xx is, the next heartbeat comes when it is due."""
    bench.server.faults.add(Fault(Call.HEARTBEAT, status=200, body=body))
    bench.run(130)
    assert 1 <= len(bench.bodies) <= 3
    assert bench.online() is True
    assert bench.said("heartbeat_refused") == []


@pytest.mark.parametrize(("status", "slowest"), [(400, 480), (404, 480), (500, 480), (503, 480)])
def test_one_that_is_not_taken_comes_again_later_and_later(bench: Bench, status: int, slowest: float) -> None:
    """A WARNING, then DEBUG, each wait twice the one before; when one is taken again that is said."""
    bench.server.faults.add(Fault(Call.HEARTBEAT, times=4, status=status, body={"error": "no"}))
    bench.run(HOUR)
    assert bench.said("heartbeat_refused") == ["warning", "debug", "debug", "debug"]
    assert bench.said("heartbeat_taken") == ["info"]
    assert bench.bodies
    assert bench.online() is True
    refused = [line for line in bench.server.requests() if line["status"] == status]
    assert len(refused) == 4
    assert slowest < moments(bench)[0] - 1_767_225_600 < 3 * slowest


# offline


def offline_tries(bench: Bench) -> int:
    return len(bench.said("sync_offline"))


@pytest.mark.parametrize("with_recording", [False, True])
def test_an_hour_offline_has_few_tries(bench: Bench, with_recording: bool) -> None:
    """Heartbeats and delivery share one backoff: together at most 45, a WARNING, DEBUG, and the end at INFO."""
    if with_recording:
        bench.record()
        bench.clock.after(0.5, bench.deliver)
    bench.server.stop()
    bench.run(HOUR)
    assert 5 < offline_tries(bench) <= 45
    assert bench.said("sync_offline")[:2] == ["warning", "debug"]
    assert set(bench.said("sync_offline")[1:]) == {"debug"}
    assert bench.online() is False

    bench.server.start()
    bench.run(700)

    assert bench.said("sync_online") == ["info"]
    assert bench.bodies
    assert bench.online() is True
    waiting = [entry for entry in bench.parts.outbox.store.all() if entry.status is not Status.UPLOADED]
    assert waiting == []
    assert all(entry.attempts == 0 for entry in bench.parts.outbox.store.all())


@pytest.mark.parametrize("with_recording", [False, True])
def test_a_network_that_is_back_is_tried_at_once(bench: Bench, with_recording: bool) -> None:
    """In the depth of a backoff: with something to deliver delivery goes first, without it a heartbeat does."""
    bench.server.stop()
    bench.run(HOUR)
    if with_recording:
        bench.record()
    wait = bench.parts.connection.current_wait
    assert wait is not None
    bench.server.start()
    online = SyncThreads(bench.parts, as_remote(bench.recorder), threading.Event(), bench.stopping)
    online._heartbeat = bench.heartbeat

    online._try_at_once()

    before = bench.clock.wall()
    assert bench.parts.connection.current_wait is None
    assert bench.parts.outbox.arrived.is_set()
    if with_recording:
        bench.deliver()
        assert bench.parts.outbox.store.counts()["pending"] == 0
    bench.run(0.1)
    assert bench.online() is True
    if not with_recording:
        assert moments(bench)[0] - before < 1


# credential


def test_an_hour_of_401_has_few_tries(bench: Bench) -> None:
    """Delivery and heartbeats share the probes: at most five calls an hour, a loud word once, and what waits stays."""
    bench.record()
    bench.server.state.devices.revoke(TOKEN)
    bench.clock.after(0.5, bench.deliver)
    bench.run(HOUR)
    assert 1 <= len(bench.server.requests()) <= 5
    assert bench.said("credential_refused")[0] == "error"
    assert set(bench.said("credential_refused")[1:]) <= {"debug"}
    assert bench.parts.board.snapshot.credential is CredentialState.REFUSED
    assert bench.parts.outbox.store.counts()["pending"] == 1


def test_a_heartbeat_alone_probes_every_quarter_of_an_hour(bench: Bench) -> None:
    """With nothing to deliver it is the one that finds out, and a token that changes is tried within seconds."""
    bench.server.state.devices.revoke(TOKEN)
    bench.run(HOUR)
    assert 4 <= len(bench.server.requests()) <= 5
    bench.server.state.devices.bind("dtok_new")
    bench.give_token("dtok_new")
    bench.run(8)
    assert len(bench.bodies) == 1
    assert bench.parts.board.snapshot.credential is CredentialState.ACCEPTED
    bench.run(70)
    assert len(bench.bodies) >= 2


def test_without_a_token_nothing_is_sent(bench: Bench) -> None:
    """It is said once, and the first token that appears is used within seconds."""
    bench.token_file.unlink()
    bench.run(HOUR)
    assert bench.server.requests() == []
    assert bench.said("credential_missing")[0] == "error"
    assert "error" not in bench.said("credential_missing")[1:]
    bench.give_token(TOKEN)
    bench.run(8)
    assert len(bench.bodies) == 1


# limits


def test_a_pause_is_for_everybody(bench: Bench) -> None:
    """After a 429 to a heartbeat neither it nor delivery calls before the time it said."""
    bench.record()
    bench.server.faults.add(
        Fault(Call.HEARTBEAT, status=429, body={"error": "slow"}, headers={"Retry-After": "600"})
    )
    bench.heartbeat.beat()
    before = len(bench.server.requests())
    bench.clock.after(0.5, bench.deliver)
    bench.run(599)
    assert len(bench.server.requests()) == before == 1
    bench.run(300)
    assert bench.parts.outbox.store.counts()["pending"] == 0
    assert bench.bodies


def test_a_pause_that_delivery_met_holds_for_heartbeats(bench: Bench) -> None:
    """The first heartbeat comes after it."""
    bench.record()
    bench.server.faults.add(
        Fault(Call.CREATE, status=429, body={"error": "slow"}, headers={"Retry-After": "600"})
    )
    bench.parts.syncer.drain()
    began = bench.clock.wall()
    bench.run(900)
    times = moments(bench)
    assert times[0] - began >= 600
    assert len(bench.server.requests()) == 1 + len(times)
