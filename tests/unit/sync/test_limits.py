"""The gate of all calls: the budget of a minute, and the pauses that a 429 asks for."""

import threading

import pytest
from pauses_kept import Memory, limits
from simulated import SimulatedClock

from agent.api.errors import Aborted, RateLimited
from agent.sync.pacing.limits import UPLOAD_URL
from agent.sync.pacing.token_bucket import TokenBucket


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
