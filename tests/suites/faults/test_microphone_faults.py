"""The microphone is killed, frozen, absent and restarted under the real daemon, which is never restarted."""

import threading
import time
from pathlib import Path

import pytest
from acceptance import Daemon, Machine, wait_for
from rig import (
    BACK_WITHIN,
    NOTICED_WITHIN,
    at_the_microphone,
    fresh_seed,
    sabotage,
    say_figures,
    seconds_until,
)
from virtual_microphone import VirtualMicrophone, virtual_microphone

__all__ = ["virtual_microphone"]

RESTARTS = 10
FREEZES = 3
DEAF = """
from agent.capture.microphone import Microphone
from agent.capture.process import CaptureTimes
Microphone.__init__.__kwdefaults__["times"] = CaptureTimes(**{change})
"""


@pytest.fixture
def machine(tmp_path: Path, virtual_microphone: VirtualMicrophone) -> Machine:
    return at_the_microphone(tmp_path / "m", virtual_microphone)


@pytest.fixture(autouse=True)
def _whole(virtual_microphone: VirtualMicrophone) -> None:
    if not virtual_microphone.running:
        virtual_microphone.start()


def state(daemon: Daemon) -> str:
    return str(daemon.status()["state"])


def is_recording(daemon: Daemon) -> bool:
    now = daemon.status()["recording"]
    return now is not None and now["duration_ms"] > 0


def is_away(daemon: Daemon) -> bool:
    return daemon.status()["microphone"]["state"] in {"lost", "wedged", "waiting"}


def bring_back(microphone: VirtualMicrophone, daemon: Daemon) -> float:
    """Start the device; return the seconds from the moment on until it is recorded again."""
    thread = threading.Thread(target=microphone.start)
    thread.start()
    seconds = seconds_until(lambda: is_recording(daemon), 40)
    thread.join()
    return seconds


def test_a_microphone_that_comes_and_goes_ten_times(
    machine: Machine, virtual_microphone: VirtualMicrophone
) -> None:
    """Each loss is noticed in 2 s and its recording queued; each return is recorded within 10 s."""
    rng = fresh_seed()
    noticed, queued, back = [], [], []
    with machine.daemon() as daemon:
        wait_for(lambda: is_recording(daemon))
        for number in range(1, RESTARTS + 1):
            time.sleep(rng.uniform(0.3, 2))
            virtual_microphone.kill()
            noticed.append(seconds_until(lambda: is_away(daemon), 20))
            queued.append(seconds_until(lambda n=number: daemon.status()["pending"] == n, 20))  # type: ignore[misc]
            time.sleep(rng.choice([0, 0.5, 3, 7]))
            back.append(bring_back(virtual_microphone, daemon))
        assert daemon.stop() == 0
        rows = machine.queue()

    say_figures("lost noticed after", noticed)
    say_figures("then queued after", queued)
    say_figures("recorded again after the device's start began", back)
    assert len(rows) == RESTARTS + 1
    assert len({row["session_id"] for row in rows}) == 1
    assert max(noticed) < NOTICED_WITHIN
    assert max(back) < BACK_WITHIN
    gaps = machine.ok("gaps", "--json").json
    assert len([gap for gap in gaps if gap["cause"] == "no_microphone"]) == RESTARTS


def test_a_frozen_microphone(machine: Machine, virtual_microphone: VirtualMicrophone) -> None:
    """A device that gives nothing and says nothing is wedged in 2 s, recorded 10 s after its thaw."""
    noticed, back = [], []
    with machine.daemon() as daemon:
        wait_for(lambda: is_recording(daemon))
        for number in range(FREEZES):
            time.sleep(1)
            virtual_microphone.freeze()
            noticed.append(seconds_until(lambda: is_away(daemon), 20))
            assert daemon.status()["microphone"]["state"] == "wedged"
            wait_for(lambda n=number: daemon.status()["pending"] == n + 1)  # type: ignore[misc]
            time.sleep((1, 5, 9)[number % 3])
            virtual_microphone.thaw()
            back.append(seconds_until(lambda: is_recording(daemon), 40))
        assert daemon.stop() == 0

    say_figures("wedged noticed after", noticed)
    say_figures("recorded again after the thaw", back)
    assert max(noticed) < NOTICED_WITHIN
    assert max(back) < BACK_WITHIN


def test_a_microphone_absent_at_the_start(machine: Machine, virtual_microphone: VirtualMicrophone) -> None:
    """The daemon waits for it, says so, leaves no file, and records within 10 s of its start."""
    virtual_microphone.kill()
    with machine.daemon() as daemon:
        wait_for(lambda: is_away(daemon))
        time.sleep(6)
        assert state(daemon) == "no_microphone"
        assert not list((machine.state / "recording").iterdir())
        seconds = bring_back(virtual_microphone, daemon)
        assert daemon.stop() == 0

    say_figures("recorded after the device's start began", [seconds])
    assert seconds < BACK_WITHIN
    assert len(machine.queue()) == 1


def test_the_figures_fail_without_the_frame_timeout(
    machine: Machine, virtual_microphone: VirtualMicrophone
) -> None:
    """A control: with the watch over the frames switched off, the wedge is not noticed in time."""
    sabotage(machine, DEAF.format(change={"silence": 3600.0}))
    with machine.daemon() as daemon:
        wait_for(lambda: is_recording(daemon))
        virtual_microphone.freeze()
        try:
            assert seconds_until(lambda: is_away(daemon), 6) == float("inf")
        finally:
            virtual_microphone.thaw()


def test_the_figures_fail_without_another_try(
    machine: Machine, virtual_microphone: VirtualMicrophone
) -> None:
    """A control: with the next try an hour away, a device that is back is not recorded in time."""
    sabotage(machine, DEAF.format(change={"backoff": (3600.0,)}))
    with machine.daemon() as daemon:
        wait_for(lambda: is_recording(daemon))
        virtual_microphone.kill()
        wait_for(lambda: is_away(daemon))
        virtual_microphone.start()
        assert seconds_until(lambda: is_recording(daemon), BACK_WITHIN) == float("inf")


@pytest.mark.parametrize("wedged", [False, True])
def test_a_stop_ends_within_ten_seconds(
    machine: Machine, virtual_microphone: VirtualMicrophone, *, wedged: bool
) -> None:
    """SIGTERM, also with a device that has just begun to hang: exit 0 within 10 s, all is queued."""
    with machine.daemon() as daemon:
        wait_for(lambda: is_recording(daemon))
        time.sleep(1.5)
        if wedged:
            virtual_microphone.freeze()
            time.sleep(0.3)
        start = time.monotonic()
        try:
            assert daemon.stop() == 0
        finally:
            virtual_microphone.thaw()
        say_figures("stopped after", [time.monotonic() - start])
    rows = machine.queue()
    assert [row["recovered"] for row in rows] == [False]
    assert rows[0]["duration_ms"] > 1000
    assert not list((machine.state / "recording").iterdir())
