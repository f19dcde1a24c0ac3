"""The one answer to: may recordings be sent now; if not, why, and until when. No call is made here."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from waiting_recordings import LoopClock, agent, fill

from agent.api.errors import Busy, Offline, OfflineKind, RateLimited, Unauthorized
from agent.config.schema import SyncConfig
from agent.deliverer.wiring import DelivererWiring
from agent.errors import AgentError, CredentialError
from agent.host.battery import Battery
from agent.host.net.uplink import Uplink
from agent.status.board import CredentialState
from agent.sync.connection import (
    PROBE_SECONDS,
    ROAMING_SECONDS,
    UPLOADING_SECONDS,
    Connection,
    DeliveryWaits,
    Reason,
)
from agent.sync.rules.networks import NetworkForbidden, NetworkRules
from agent.sync.rules.owner_rules import LOW_BATTERY, Rules
from agent.sync.rules.waits_by_rule import WaitsByRule

OFFLINE = Offline("no route", kind=OfflineKind.CONNECT)
REFUSED = Unauthorized("401", status=401)
NO_TOKEN = CredentialError("there is no device token")


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[tuple[DelivererWiring, LoopClock]]:
    """Give the parts of a deliverer whose API is never called, with one recording waiting."""
    with agent(tmp_path, "http://127.0.0.1:1") as (made, clock):
        fill(made, 1)
        yield made, clock


def reason(connection: Connection, parts: DelivererWiring) -> str | None:
    """Return what status says."""
    connection.show()
    waiting = parts.board.snapshot.waiting
    return None if waiting is None else waiting.reason


def is_offline(parts: DelivererWiring) -> bool:
    """Tell what status says of the connection."""
    return parts.board.snapshot.online is False


def test_nothing_stands_in_the_way(parts: tuple[DelivererWiring, LoopClock]) -> None:
    """Delivery may begin, a recording may go, a heartbeat too; status gives no reason."""
    made, _clock = parts
    connection = made.connection
    assert connection.obstacle() is None
    assert connection.obstacle_to_next() is None
    assert connection.no_call_for() == 0
    assert reason(connection, made) is None


@pytest.mark.parametrize(
    ("error", "state", "said", "longest"),
    [
        (OFFLINE, CredentialState.UNKNOWN, "offline: no route", 1.0),
        (REFUSED, CredentialState.REFUSED, "device token refused", PROBE_SECONDS),
        (NO_TOKEN, CredentialState.MISSING, "device token missing", PROBE_SECONDS),
    ],
)
def test_a_failure_that_concerns_every_call_lets_delivery_wait(
    parts: tuple[DelivererWiring, LoopClock],
    error: AgentError,
    state: CredentialState,
    said: str,
    longest: float,
) -> None:
    """It waits until a backoff or a probe; status says why and until when; then it may be tried again."""
    made, clock = parts
    connection = made.connection
    assert connection.failed(error)
    assert isinstance(connection.obstacle(), DeliveryWaits)
    assert reason(connection, made) == said
    assert made.board.snapshot.credential is state
    left = connection.seconds_to_next()
    assert left is not None
    assert 0 < left <= longest
    clock.sleep(left + 0.01)
    assert connection.obstacle() is None


def test_a_failure_of_one_recording_is_none_of_its_business(parts: tuple[DelivererWiring, LoopClock]) -> None:
    """A busy server is an answer: nothing waits."""
    made, _clock = parts
    assert not made.connection.failed(Busy("503", status=503))
    assert made.connection.obstacle() is None


@pytest.mark.parametrize("cause", list(Reason))
def test_what_ends_a_wait(parts: tuple[DelivererWiring, LoopClock], cause: Reason) -> None:
    """A network that is back ends being offline alone; the first call that gets through ends what none got through."""
    made, _clock = parts
    connection = made.connection
    connection.begin_wait(cause)
    connection.network_is_back()
    assert (connection.current_wait is None) is (cause is Reason.OFFLINE)

    connection.begin_wait(cause)
    made.outbox.arrived.clear()
    connection.heartbeat_answered()
    is_over = cause in {Reason.OFFLINE, Reason.NO_TOKEN}
    assert (connection.current_wait is None) is is_over
    assert made.outbox.arrived.is_set() is is_over

    connection.begin_wait(cause)
    connection.delivery_answered(accepted=True)
    assert connection.current_wait is None


@pytest.mark.parametrize("kept", [True, False])
def test_a_pause_of_the_api_is_the_strongest_reason(
    parts: tuple[DelivererWiring, LoopClock], monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """Not even a heartbeat goes; status names it, whatever else is true, the index's failure too; it ends in time."""
    made, clock = parts
    connection = made.connection
    connection.failed(OFFLINE)
    if not kept:
        monkeypatch.setattr(
            made.outbox.store, "set_pause", Mock(side_effect=sqlite3.OperationalError("full"))
        )
    made.limits.answered("create", 429, None, 60)
    assert isinstance(connection.obstacle(), RateLimited)
    assert connection.no_call_for() >= 60
    assert reason(connection, made) == "the API asked for a pause"
    clock.sleep(connection.pause_left() + 0.01)
    assert connection.obstacle() is None


def test_the_owners_networks(parts: tuple[DelivererWiring, LoopClock]) -> None:
    """A connection not wanted stops delivery; a modem that roams stops heartbeats too, for a while each time."""
    made, _clock = parts
    link = [Uplink("wifi", metered=False)]
    settings = SyncConfig(enabled_connections=("ethernet",))
    made.networks = NetworkRules(settings, lambda: link[0])
    connection = made.connection
    assert isinstance(connection.obstacle(), NetworkForbidden)
    assert connection.no_call_for() == 0
    link[0] = Uplink("ethernet", metered=False)
    assert connection.obstacle() is None
    link[0] = Uplink("cellular", metered=True, roaming=True)
    assert connection.no_call_for() == ROAMING_SECONDS


def test_what_sync_ignores_is_asked_before_each_recording(parts: tuple[DelivererWiring, LoopClock]) -> None:
    """A low battery holds back the next recording and not the drain; what was held back is shown until the next."""
    made, _clock = parts
    made.rules = Rules(SyncConfig(), lambda: 0.0, lambda: Battery(5, charging=False))
    connection = made.connection
    assert connection.obstacle() is None
    obstacle = connection.obstacle_to_next()
    assert isinstance(obstacle, WaitsByRule)
    connection.note_waiting(obstacle.waiting)
    assert reason(connection, made) == LOW_BATTERY
    connection.begin_drain()
    assert reason(connection, made) is None


def test_a_late_heartbeat_beside_an_upload_that_moves_is_no_outage(
    parts: tuple[DelivererWiring, LoopClock],
) -> None:
    """Only a time-out, and only while bytes are taken: everything else means what it says."""
    made, clock = parts
    connection, late = made.connection, Offline("no answer", kind=OfflineKind.TIMEOUT)
    connection.upload_moves()
    connection.heartbeat_failed(late)
    assert connection.current_wait is None
    assert not is_offline(made)
    clock.sleep(UPLOADING_SECONDS + 1)
    connection.heartbeat_failed(late)
    assert is_offline(made)
    for ended, error in ((True, late), (False, OFFLINE)):
        connection.delivery_answered(accepted=True)
        connection.upload_moves()
        if ended:
            connection.upload_ended()
        connection.heartbeat_failed(error)
        assert is_offline(made)
