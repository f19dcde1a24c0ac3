"""The wall clock is wrong and jumps under the real daemon (libfaketime); the server's Date is the only right one."""

import importlib.util
import os
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from acceptance import Daemon, Machine, wait_for
from rig import sabotage, say
from speech import speech, write_wav

from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.server import SandboxServer

RATE = 16_000
SEGMENT_SECONDS = 3
YEARS = 5 * 365 * 86_400
WITHIN_SECONDS = 1.0
SAME = 0.01
"""Seconds between the end of a file and the start of the next that are none."""
SEEN_WITHIN = 0.3
"""Seconds; as exactly as the test itself sees, from outside, when a recording began."""
BURST_SECONDS = 2.0  # a loop over the missed time would use all four
"""CPU time that a jump may cost."""
NO_NTP = 'import agent.host.time_sync as c\nc.clock_state = lambda: "unsynchronized"\n'
UNCORRECTED = (
    NO_NTP + "from agent.timing.time_sync import TimeSync\n"
    "TimeSync.corrected = lambda self, instant: instant\n"
    "import agent.sync.clock_wait as g\ng.WAIT_SECONDS = 0.0\n"
)


def library() -> Path | None:
    """Return libfaketime of PyPI's package, None when it is not installed."""
    found = importlib.util.find_spec("libfaketime")
    if found is None or found.origin is None:
        return None
    return next(Path(found.origin).parent.rglob("libfaketime.so.1"), None)


pytestmark = pytest.mark.skipif(library() is None, reason="needs pip install libfaketime")


class Wrong:
    """A machine whose wall clock this test sets."""

    def __init__(self, folder: Path, server: SandboxServer, code: str = NO_NTP) -> None:
        self.machine = Machine(folder / "machine", server)
        self.machine.give_token(DEFAULT_TOKEN)
        wav = write_wav(folder / "loop.wav", RATE, 1, speech(RATE, 1, 10 * RATE))
        self.machine.configure(
            audio={"input": f"file:{wav}?loop"},
            recording={"mode": "continuous", "segment_seconds": SEGMENT_SECONDS},
        )
        sabotage(self.machine, code)
        self._file = folder / "faketime"
        self.right_machine_environment = dict(self.machine.environment)
        self.machine.environment |= {
            "LD_PRELOAD": str(library()),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
        }

    def set_wrong_by(self, seconds: float) -> None:
        """Let the clock jump."""
        temporary = self._file.with_suffix(".new")
        temporary.write_text(f"{seconds:+.0f}\n")
        temporary.rename(self._file)

    def rightly(self) -> None:
        """Let later commands have the right time."""
        self.machine.environment = self.right_machine_environment


def cpu_seconds(daemon: Daemon) -> float:
    """Return the CPU time the daemon has used."""
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_over(daemon: Daemon, seconds: float) -> float:
    """Return the CPU time that the daemon uses in so many seconds."""
    before = cpu_seconds(daemon)
    time.sleep(seconds)
    return cpu_seconds(daemon) - before


def begin_of(daemon: Daemon) -> float:
    """Return when the present recording truly began."""
    wait_for(lambda: (daemon.status()["recording"] or {"duration_ms": 0})["duration_ms"] > 0)
    return time.time() - float(daemon.status()["recording"]["duration_ms"]) / 1000


def live(wrong: Wrong, server: SandboxServer) -> tuple[float, list[float], list[dict[str, str]]]:
    """Boot in 1970 without a network, jump thrice, get a network; return true start, CPU, the server's."""
    server.stop()
    wrong.set_wrong_by(-time.time() + 1000)
    with wrong.machine.daemon() as daemon:
        began = begin_of(daemon)
        usual = cpu_over(daemon, 4)
        bursts = []
        for jump in (YEARS, -3600, -time.time() + 5000):
            wrong.set_wrong_by(jump)
            bursts.append(cpu_over(daemon, 4) - usual)
        server.start()
        wait_for(lambda: daemon.status()["last_delivery_at"] is not None, 150)
        wait_for(lambda: daemon.status()["pending"] <= 1, 150)
        assert daemon.stop() == 0
    wrong.rightly()
    wrong.machine.run("sync")
    rows = sorted(
        (
            {"started_at": r.started_at, "ended_at": r.ended_at, **r.metadata}
            for r in server.state.recordings.by_id.values()
        ),
        key=lambda row: int(row["recorder_segment"]),
    )
    return began, bursts, rows


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def test_a_clock_that_boots_in_1970_and_jumps(tmp_path: Path) -> None:
    """1970, +5 years in the middle of a segment, an hour back, 1970 again: lengths, order, starts are true."""
    with SandboxServer(tmp_path / "sandbox") as server:
        began, bursts, rows = live(Wrong(tmp_path, server), server)

    starts = [seconds(row["started_at"]) for row in rows]
    lengths = [seconds(row["ended_at"]) - seconds(row["started_at"]) for row in rows]
    apart = [later - earlier for earlier, later in pairwise(starts)]
    say(f"start off by {starts[0] - began:+.3f} s; {len(rows)} files")
    say(f"CPU over each jump: {[f'{burst:+.2f}' for burst in bursts]} s")
    assert len(rows) >= 5
    assert all(length == pytest.approx(SEGMENT_SECONDS, abs=0.0011) for length in lengths[:-1])
    shifts = [gap - SEGMENT_SECONDS for gap in apart if abs(gap - SEGMENT_SECONDS) > SAME]
    assert len(shifts) <= 1, shifts  # the first header told less than the later ones
    assert all(abs(shift) < WITHIN_SECONDS for shift in shifts)
    assert {row["recorder_clock"] for row in rows} == {"server"}
    assert abs(starts[0] - began) <= WITHIN_SECONDS + SEEN_WITHIN
    assert max(bursts) < BURST_SECONDS


def test_the_figures_fail_without_the_correction(tmp_path: Path) -> None:
    """A control: with the correction switched off the starts are years off."""
    with SandboxServer(tmp_path / "sandbox") as server:
        began, _, rows = live(Wrong(tmp_path, server, UNCORRECTED), server)

    assert max(abs(seconds(row["started_at"]) - began) for row in rows) > YEARS / 2
