"""The deliverer's housekeeping: long work tells that it goes on, what is over is forgotten, odd places stop nothing."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting_recordings import agent, fill

from agent.clock import Instant
from agent.deliverer.housekeeping import SWEEP_SECONDS, Housekeeping
from agent.index.table.schema import PAUSE_OF_RECORDING
from agent.index.table.store import Store
from agent.outbox.arrivals import SOCKET, ArrivalsSocket, announce

COUNT = 60
LATER = Instant(1_900_000_000_000, "boot", 5000, "ntp")


def test_long_work_tells_that_it_goes_on(tmp_path: Path) -> None:
    """Adopting and pruning report progress with each recording: the watchdog takes a large outbox for no standstill."""
    with agent(tmp_path, "http://127.0.0.1:1") as (parts, clock):
        fill(parts, COUNT)
        (parts.state.path / "outbox.db").unlink()
        parts.outbox.store.check_in_place()
        told: list[float] = []
        house = Housekeeping(parts, progress=lambda: told.append(time.monotonic()))
        stopping = threading.Event()

        house.turn(stopping)
        assert len(list(parts.outbox.store.all())) == COUNT
        assert len(told) >= COUNT

        for entry in list(parts.outbox.store.all()):
            parts.outbox.complete(entry, verified=True)
        clock.sleep(SWEEP_SECONDS + parts.config.storage.keep_sent_hours * 3600 + 1)
        told.clear()
        house.turn(stopping)
        assert not list(parts.outbox.store.all())
        assert len(told) >= COUNT


def test_long_work_ends_when_the_process_shall(tmp_path: Path) -> None:
    """Told to stop in the middle of a page of recordings, what was looked at is adopted and the rest left for later."""
    with agent(tmp_path, "http://127.0.0.1:1") as (parts, _clock):
        fill(parts, COUNT)
        (parts.state.path / "outbox.db").unlink()
        parts.outbox.store.check_in_place()
        stopping = threading.Event()
        told: list[float] = []

        def progress() -> None:
            told.append(0)
            if len(told) == COUNT + COUNT // 2:  # each is looked at for a move cut short, then for its row
                stopping.set()

        house = Housekeeping(parts, progress=progress)
        house.turn(stopping)
        assert 0 < len(list(parts.outbox.store.all())) < COUNT
        assert not house.reconciled.is_set()

        parts.outbox.store.needs_reconcile.set()  # as each start does
        Housekeeping(parts).turn(threading.Event())
        assert len(list(parts.outbox.store.all())) == COUNT


def names(store: Store) -> set[str]:
    """Return whose pauses are kept."""
    return {name for name in ("api", *(f"{PAUSE_OF_RECORDING}{x}" for x in IDS)) if store.pause(name)}


IDS = [f"00000000-0000-0000-0000-{number:012x}" for number in range(1, 6)]


def test_the_pause_of_a_recording_goes_with_it(tmp_path: Path) -> None:
    """Parked, delivered, deleted, dropped by the recorder: nothing is left of what the server asked for it."""
    with agent(tmp_path, "http://127.0.0.1:1") as (parts, clock):
        fill(parts, 5)
        store = parts.outbox.store
        house = Housekeeping(parts)
        house.turn(threading.Event())
        for name in ("api", *(f"{PAUSE_OF_RECORDING}{each}" for each in IDS)):
            store.set_pause(name, LATER)
        parked, delivered, deleted, dropped, waiting = [entry for each in IDS if (entry := store.get(each))]
        parts.outbox.park(parked, "refused")
        parts.outbox.complete(delivered, verified=True)
        parts.outbox.delete(deleted)
        parts.outbox.files.remove(dropped)

        clock.sleep(SWEEP_SECONDS + 1)
        house.turn(threading.Event())

        assert names(store) == {"api", f"{PAUSE_OF_RECORDING}{waiting.id}"}


ODD: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "full folder": lambda path: (path / "inside").mkdir(parents=True),
    "fifo": os.mkfifo,
    "file": Path.touch,
    "link": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_stands_at_the_name_of_the_socket_makes_room(tmp_path: Path, kind: str) -> None:
    """The deliverer starts, and hears of a file at once."""
    ODD[kind](tmp_path / SOCKET)
    arrivals = ArrivalsSocket(tmp_path)
    announce(tmp_path)
    began = time.monotonic()
    arrivals.wait(30)
    assert time.monotonic() - began < 10
    arrivals.close()


def test_without_a_socket_it_looks_by_itself(tmp_path: Path) -> None:
    """Where there is no folder for it, a wait takes its time, ends when it is told to, and nothing is raised."""
    arrivals = ArrivalsSocket(tmp_path / "missing")
    arrivals.wait(0.01)
    began = time.monotonic()
    threading.Timer(0.05, arrivals._woken.set).start()
    arrivals.wait(30)
    assert time.monotonic() - began < 10
    arrivals.wake()
    arrivals.close()
