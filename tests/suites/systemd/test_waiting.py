"""Two minutes without a microphone, with a full card, and muted: it waits, says so, and is not restarted."""

import time

import pytest
from waiting import FILLER, Waiting

pytest_plugins = ["stage"]

WAIT_SECONDS = 120
WATCHDOG_SECONDS = 30
MOST_LINES = 40
SAID = {"no_microphone": "no microphone", "storage_full": "full", "muted": "muted"}


@pytest.mark.parametrize("name", ["no_microphone", "storage_full", "muted"])
def test_it_waits_two_minutes_without_a_restart(waiting: dict[str, Waiting], name: str) -> None:
    """The process is the same, the watchdog was fed all the time, and STATUS says what it waits for."""
    one = waiting[name]
    time.sleep(max(0, one.since + WAIT_SECONDS - time.monotonic()))
    recorder, unit = one.recorder, one.recorder.unit()
    fed = int(
        recorder.container.show("recorder-agent", "WatchdogTimestampMonotonic")["WatchdogTimestampMonotonic"]
    )
    ago = time.clock_gettime(time.CLOCK_MONOTONIC) - fed / 1e6
    lines = recorder.container.journal("recorder-agent*", "--boot").splitlines()
    print(
        f"\n{name}: STATUS {unit['StatusText']!r}, watchdog fed {ago:.1f} s ago, {len(lines)} lines in the journal"
    )
    print("\n".join(lines[-12:]))
    assert (unit["MainPID"], unit["NRestarts"], unit["ActiveState"]) == (one.process, "0", "active")
    assert 0 <= ago < WATCHDOG_SECONDS
    assert recorder.state() == name
    assert SAID[name] in unit["StatusText"]
    assert len(lines) < MOST_LINES


def test_a_card_with_room_again_is_recorded_on(waiting: dict[str, Waiting]) -> None:
    """Nobody has to do anything else than to make room."""
    recorder = waiting["storage_full"].recorder
    recorder.container.run("rm", FILLER)
    print(f"\nrecording again {recorder.wait_state('recording', 60):.1f} s after there was room")


def test_a_mute_outlives_a_restart_and_is_taken_back(waiting: dict[str, Waiting]) -> None:
    """Muted it stays, until a person says otherwise."""
    recorder = waiting["muted"].recorder
    recorder.systemctl("restart")
    recorder.wait_state("muted")
    recorder.agent("unmute")
    recorder.wait_sound(20)
    assert any(gap["cause"] == "muted" for gap in recorder.answer("gaps"))
