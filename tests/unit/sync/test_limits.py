"""The gate that every API call passes: pauses, the budget, the pace; on a simulated clock."""

import random
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from simulated import BEGINNING, SimulatedClock

from agent.api.errors import Aborted, RateLimited
from agent.api.headers import RateLimit
from agent.bounds import PACING_SECONDS
from agent.clock import Instant
from agent.config.schema import Config, SyncConfig
from agent.environment import Environment
from agent.status.board import Waiting
from agent.sync.pacing.heartbeat_interval import CROWDED_LONGEST, JITTER, LONGEST, HeartbeatInterval
from agent.sync.pacing.limits import PACED, POLL_SECONDS, UPLOAD_URL, Limits
from agent.sync.pacing.overload import FleetOverload
from agent.sync.pacing.share import Share
from agent.sync.pacing.token_bucket import TokenBucket


class Memory:
    """Pauses that outlive a process; ``broken`` refuses to keep them."""

    def __init__(self, *, broken: bool = False) -> None:
        self.kept: dict[str, Instant | None] = {}
        self._broken = broken

    def pause(self, name: str) -> Instant | None:
        """Return what was kept."""
        if self._broken:
            raise sqlite3.ProgrammingError("Cannot operate on a closed database.")
        return self.kept.get(name)

    def set_pause(self, name: str, until: Instant | None) -> None:
        """Keep it."""
        if self._broken:
            raise sqlite3.OperationalError("disk I/O error")
        self.kept[name] = until


def limits(clock: SimulatedClock, memory: Any, per_minute: int = 20, boot: str = "boot") -> Limits:
    """Return the gate of one process."""
    config = Config(sync=SyncConfig(calls_per_minute=per_minute))
    return Limits(Environment(config, Path(), clock=clock, rng=random.Random(1), boot_id=boot), memory, 600)


def said(clock: SimulatedClock, remaining: int, reset_in: float, limit: int = 100) -> RateLimit:
    """Return what an answer of this moment says."""
    return RateLimit(limit, remaining, reset_in, clock.monotonic())


# the budget


def test_the_budget_allows_a_burst_of_its_size_and_then_its_rate() -> None:
    """20 a minute: twenty at once, then one each three seconds."""
    clock = SimulatedClock()
    budget = TokenBucket(20, clock.monotonic)
    for _ in range(20):
        assert budget.wait() == 0
        budget.take()
    for _ in range(5):
        assert budget.wait() == pytest.approx(3)
        clock.sleep(budget.wait())
        assert budget.wait() == 0
        budget.take()
    clock.sleep(3600)
    for _ in range(20):
        budget.take()
    assert budget.wait() == pytest.approx(3)


def test_an_urgent_heartbeat_does_not_wait_for_the_budget() -> None:
    """After a command a heartbeat goes at once, and is counted all the same."""
    clock = SimulatedClock()
    gate = limits(clock, Memory(), per_minute=1)
    assert gate.admit("create") == 0
    assert gate.admit("heartbeat") > 59
    assert gate.admit("heartbeat", urgent=True) == 0
    assert gate.admit("create") > 119


def test_upload_urls_have_a_budget_of_their_own() -> None:
    """30 a minute for the project, however much this device allows itself."""
    gate = limits(SimulatedClock(), Memory(), per_minute=1000)
    for _ in range(30):
        assert gate.admit(UPLOAD_URL) == 0
    assert gate.admit(UPLOAD_URL) == pytest.approx(2)
    assert gate.admit("create") == 0


# pauses


@pytest.mark.parametrize("call", ["create", UPLOAD_URL, "complete", "heartbeat", "token refresh"])
def test_a_429_of_any_call_stops_every_call(call: str) -> None:
    """Until the time the server asked for, urgent or not; afterwards calls go on."""
    clock = SimulatedClock()
    gate = limits(clock, Memory())
    gate.answered(call, 429, None, 30)
    began = clock.monotonic()
    for urgent in (False, True):
        with pytest.raises(RateLimited) as error:
            gate.admit("heartbeat", urgent=urgent)
        assert (error.value.retry_after or 0) >= 30
    clock.sleep(gate.pause_left())
    assert gate.admit("create") == 0
    assert 30 <= clock.monotonic() - began <= 30 + 8


def test_a_pause_outlives_a_restart_and_a_reboot() -> None:
    """A new process, and one after a reboot, keep to it; a clock that runs a day ahead does not make it eternal."""
    clock, memory = SimulatedClock(), Memory()
    limits(clock, memory).answered("create", 429, None, 600)
    for boot in ("boot", "another boot"):
        with pytest.raises(RateLimited):
            limits(clock, memory, boot=boot).admit("create")
    clock.step(-3 * 86_400)
    assert limits(clock, memory, boot="another boot").admit("create") == 0


def test_a_pause_that_cannot_be_kept_holds_all_the_same() -> None:
    """A full card does not make the agent call too early; one whose index fails stops no heartbeat."""
    gate = limits(SimulatedClock(), Memory(broken=True))
    assert gate.admit("heartbeat") == 0
    gate.answered("create", 429, None, 600)
    with pytest.raises(RateLimited):
        gate.admit("create")


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    """Of two answers the later time holds."""
    gate = limits(SimulatedClock(), Memory())
    gate.answered("create", 429, None, 600)
    gate.answered("heartbeat", 429, None, 1)
    assert gate.pause_left() >= 600


def test_without_a_time_the_backoff_says_it() -> None:
    """429s without a Retry-After pause for longer each time, up to five minutes, and begin anew after a success."""
    clock = SimulatedClock()
    gate = limits(clock, Memory())
    pauses = []
    for _ in range(30):
        gate.answered("create", 429, None, None)
        pauses.append(gate.pause_left())
        clock.sleep(pauses[-1])
    assert max(pauses[:2]) <= 16
    assert 100 < max(pauses) <= 300
    gate.answered("create", 201, None, None)
    gate.answered("create", 429, None, None)
    assert gate.pause_left() <= 8


def test_a_wait_ends_with_the_agent() -> None:
    """A stop ends every wait of the gate at once, with Aborted."""
    gate = limits(SimulatedClock(), Memory())
    gate.stop()
    with pytest.raises(Aborted):
        gate.wait(3600)


def test_threads_share_the_budget() -> None:
    """However many threads ask, no more calls are admitted than the budget has."""
    gate = limits(SimulatedClock(), Memory())
    admitted: list[float] = []

    def ask() -> None:
        admitted.extend(wait for wait in (gate.admit("create") for _ in range(50)) if wait == 0)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 20


# the pace


def test_a_window_that_is_used_up_is_not_asked_again() -> None:
    """An answer that leaves nothing makes the next call wait for the reset, and for a moment of its own."""
    clock = SimulatedClock()
    gate = limits(clock, Memory())
    gate.answered("create", 201, said(clock, 0, 30), None)
    assert 30 <= gate.admit("heartbeat") <= 45
    clock.sleep(30)
    assert gate.admit("heartbeat") == 0


def test_no_answer_holds_calls_back_for_more_than_a_quarter_of_an_hour() -> None:
    """A window may be an hour long; the wait for its end is not, and it has a name."""
    clock = SimulatedClock()
    gate = limits(clock, Memory())
    gate.answered("create", 201, said(clock, 0, 3600), None)
    gate.recording_begins()
    assert gate.admit("create") == gate.admit("heartbeat") == PACING_SECONDS
    assert 0 < gate.recording_wait() <= PACING_SECONDS
    clock.sleep(PACING_SECONDS)
    assert gate.admit("create") == gate.recording_wait() == 0


def test_a_person_ends_pacing_and_no_pause() -> None:
    """What an answer said of the window is forgotten; what a 429 asked for is not."""
    clock = SimulatedClock()
    gate = limits(clock, Memory())
    gate.answered("create", 201, said(clock, 0, 3000), None)
    gate.end_pacing()
    assert gate.admit("create") == 0
    gate.answered("create", 429, None, 60.0)
    gate.end_pacing()
    with pytest.raises(RateLimited):
        gate.admit("create")


def test_a_pause_is_an_hour_at_most() -> None:
    """Whatever a 429 asks for."""
    gate = limits(SimulatedClock(), Memory())
    gate.answered("create", 429, None, 86_400.0)
    assert 3500 < gate.pause_left() <= 3600


def test_a_window_that_seemed_long_shrinks_again() -> None:
    """One answer with an hour does not make every later window an hour."""
    clock = SimulatedClock()
    misled, other = (Share(3, random.Random(1), clock.monotonic) for _ in range(2))
    misled.learn(said(clock, 90, 3600))
    for left in (80, 60, 40, 20):
        clock.sleep(10)
        for share in (misled, other):
            share.learn(said(clock, left, 60.0 - clock.monotonic() % 60))
    assert misled.seconds_each == pytest.approx(other.seconds_each, rel=0.2)


def test_a_wait_for_pacing_is_announced_and_ends_when_a_person_says_so() -> None:
    """Its name and its end are told; who waits asks again every few seconds."""
    clock, told = SimulatedClock(), list[Waiting | None]()
    gate = limits(clock, Memory())
    clock.after(1, lambda: told.append(gate._board.snapshot.waiting))
    gate.wait(600)
    assert clock.monotonic() == 1000.0 + POLL_SECONDS
    (first,) = told
    assert first is not None
    assert gate._board.snapshot.waiting is None
    assert first.reason == PACED
    assert first.until_ms == round((BEGINNING + 600) * 1000)


def test_urgent_calls_leave_no_debt_of_hours() -> None:
    """However many commands were told of at once, the next call waits for two minutes at most."""
    clock = SimulatedClock()
    gate = limits(clock, Memory(), per_minute=1)
    for _ in range(100):
        gate.admit("heartbeat", urgent=True)
    assert gate.admit("create") <= 120


def test_recordings_leave_the_last_calls_to_heartbeats() -> None:
    """With less than a twentieth left recordings wait, heartbeats do not."""
    clock = SimulatedClock()
    gate = limits(clock, Memory())
    gate.answered("create", 201, said(clock, 5, 30), None)
    assert gate.admit("create") >= 30
    assert gate.admit("heartbeat") == 0


def test_the_tighter_limit_of_upload_urls_does_not_slow_heartbeats() -> None:
    """What an upload URL's answer says about its own limit concerns upload URLs alone."""
    clock = SimulatedClock()
    gate = limits(clock, Memory())
    gate.answered("create", 201, said(clock, 90, 30), None)
    gate.answered(UPLOAD_URL, 200, said(clock, 0, 30, limit=30), None)
    assert gate.admit(UPLOAD_URL) >= 30
    assert gate.admit("heartbeat") == gate.admit("create") == 0


@pytest.mark.parametrize(
    "headers",
    [
        RateLimit(None, None, None, 0),
        RateLimit(100, None, 30, 0),
        RateLimit(None, 0, 30, 0),
        RateLimit(100, 0, None, 0),
        RateLimit(0, 0, 30, 0),
    ],
)
def test_headers_that_say_too_little_hold_nobody_back(headers: RateLimit) -> None:
    """Limit, remaining and reset are all needed; without them budget and pauses do."""
    gate = limits(SimulatedClock(), Memory())
    gate.answered("create", 201, headers, None)
    gate.recording_begins()
    assert gate.admit("create") == 0
    assert gate.recording_wait() == 0


def test_a_share_follows_the_window() -> None:
    """Others who use up the window slow a device down; once they are gone it is free again within minutes."""
    clock = SimulatedClock()
    share = Share(3, random.Random(1), clock.monotonic)
    share.learn(said(clock, 95, 55))
    share.begun()
    assert share.wait() == 0
    share.learn(said(clock, 20, 50))  # eighty used in ten seconds, two of them ours
    assert share.seconds_each > 60
    share.begun()
    assert share.wait() > 30
    for _ in range(60):
        clock.sleep(10)
        share.learn(said(clock, 90, 60 - clock.monotonic() % 60))
    assert not share.crowded
    assert share.wait() == 0


def test_a_wait_goes_past_a_reset() -> None:
    """What is left of a wait at the reset goes on at the full window's pace: nobody begins at the reset itself."""
    clock = SimulatedClock()
    share = Share(3, random.Random(1), clock.monotonic)
    share.learn(said(clock, 0, 10))
    share.begun()
    wait = share.wait()
    assert wait > 11
    clock.sleep(wait / 2)
    assert share.wait() == pytest.approx(wait / 2)
    clock.sleep(wait / 2)
    assert share.wait() == pytest.approx(0, abs=1e-6)


# heartbeats, and a limit that is too small


def test_heartbeats_stretch_and_come_back() -> None:
    """Up to four minutes while the limit is short, to 14 with jitter while it is scarce, and back by themselves."""
    state = {"crowded": True, "scarce": False}
    stretch = HeartbeatInterval(
        60, random.Random(1), crowded=lambda: state["crowded"], scarce=lambda: state["scarce"]
    )
    assert max(stretch.after_success() for _ in range(100)) <= CROWDED_LONGEST
    state["scarce"] = True
    waits = [stretch.after_success() for _ in range(100)]
    assert LONGEST * 0.99 < max(waits) <= LONGEST
    state.update(crowded=False, scarce=False)
    waits = [stretch.after_success() for _ in range(100)]
    assert all(60 * (1 - JITTER) <= wait <= 60 for wait in waits[20:])
    assert len(set(waits[20:])) > 50


def test_an_interval_longer_than_ours_is_the_owners() -> None:
    """A configured hour stays an hour."""
    stretch = HeartbeatInterval(3600, random.Random(1), crowded=lambda: True, scarce=lambda: True)
    assert all(3600 * (1 - JITTER) <= stretch.after_success() <= 3600 for _ in range(20))


def test_a_limit_that_is_too_small_is_noticed_and_forgotten() -> None:
    """A backlog that has not shrunk for an hour in which the limit was scarce tells; one that is halved ends it."""
    clock = SimulatedClock()
    crowding = FleetOverload(clock.monotonic)
    told = []
    for waiting in (*(10,) * 62, 4):
        crowding.observe(waiting, scarce=True)
        told.append(crowding.too_small)
        clock.sleep(60)
    assert told == [False] * 60 + [True, True, False]


def test_a_backlog_that_shrinks_is_no_sign_of_a_small_limit() -> None:
    """However long it takes."""
    clock = SimulatedClock()
    crowding = FleetOverload(clock.monotonic)
    for waiting in range(300, 0, -1):
        crowding.observe(waiting, scarce=True)
        assert not crowding.too_small
        clock.sleep(60)
