"""The pace that the server's answers ask for, and heartbeats that stretch where the limit is short."""

import random

import pytest
from pauses_kept import Memory, limits, said
from simulated import BEGINNING, SimulatedClock

from agent.api.errors import RateLimited
from agent.api.headers import RateLimit
from agent.bounds import PACING_SECONDS
from agent.status.board import Waiting
from agent.sync.pacing.heartbeat_interval import CROWDED_LONGEST, JITTER, LONGEST, HeartbeatInterval
from agent.sync.pacing.limits import PACED, POLL_SECONDS, UPLOAD_URL
from agent.sync.pacing.overload import FleetOverload
from agent.sync.pacing.share import Share


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
    overload = FleetOverload(clock.monotonic)
    told = []
    for waiting in (*(10,) * 62, 4):
        overload.observe(waiting, scarce=True)
        told.append(overload.too_small)
        clock.sleep(60)
    assert told == [False] * 60 + [True, True, False]


def test_a_backlog_that_shrinks_is_no_sign_of_a_small_limit() -> None:
    """However long it takes."""
    clock = SimulatedClock()
    overload = FleetOverload(clock.monotonic)
    for waiting in range(300, 0, -1):
        overload.observe(waiting, scarce=True)
        assert not overload.too_small
        clock.sleep(60)
