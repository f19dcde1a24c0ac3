"""A long life with faults at random: is every second recorded or in the gap log, judged by the sound itself?

    python tests/suites/faults/soak.py [--minutes 30] [--seed N] [--loops N] [--lose-ledger]

In each minute the recorder, the deliverer and both are killed, among other faults. ``--loops`` lets so many endless
loops run beside it all. The microphone is hardware, which no program keeps waiting; recorder and deliverer have the
niceness of their units, and nothing more. ``--lose-ledger`` is the control: without what the gap log says the sum must
not come out.
"""

import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

import priority
from acceptance import Json, stored, wait_for
from code_microphone import CodeMicrophone
from rig import at_the_microphone, say
from timecode import code_time, decoded

from agent.control.server import NotRunning, ask
from agent.process.state_directory import Process, StateDirectory
from agent.process.state_lock import holder_of
from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.faults import Call, Fault
from agent.sandbox.server import SandboxServer

KILLS_PER_MINUTE = 2.5
"""At least: on a busy machine the faults of a minute take longer than one."""
MOST_LATE = 0.2
"""Seconds: a microphone that was later than that proves nothing of the recorder."""
UNITS = Path(__file__).parents[3] / "systemd"
MOST_MIB = 60.0
OFF_SECONDS = 0.5
OFF_PPM = 200
SEGMENT_SECONDS = 20
QUIET_SECONDS = 15
JUMP_SECONDS = 0.05
REPORT_SECONDS = 1.0
STOPS_WITHIN = 10.0
THERE_WITHIN = 60.0
NICE_SECONDS = 0.5
UNDATED_MS = 4000
"""What a file, or two, may hold without one whole time code."""


class Soak:
    """The daemon, its microphone and its server, and what happens to them."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.rng = rng
        self.microphone = CodeMicrophone(folder / "mic")
        self.server = SandboxServer(folder / "sandbox")
        self.folder = folder
        self.log = (folder / "daemon.log").open("a")
        self.kills = 0
        self.seconds = 0.0
        self.most_mib = 0.0
        """The most memory that a recorder was seen to take."""

    def run(self, minutes: float, busy: int, *, lose_ledger: bool) -> int:
        """Live for so long beside so many endless loops; return the exit code."""
        self.microphone.start()
        with self.server:
            self.machine = at_the_microphone(self.folder / "m", self.microphone)
            self.machine.give_token(DEFAULT_TOKEN)
            self.machine.configure(
                api={"base_url": self.server.base_url}, recording={"segment_seconds": SEGMENT_SECONDS}
            )
            threading.Thread(target=self._keep_niceness, daemon=True).start()
            with loops(busy):
                self.start_daemon()
                try:
                    self._live(time.monotonic(), minutes * 60)
                finally:
                    self.daemon.terminate()
                    code = self.daemon.wait(STOPS_WITHIN)
                    self.microphone.stop()
            self.machine.run("sync")
            return self._judge(code, minutes, lose_ledger=lose_ledger)

    def _keep_niceness(self) -> None:
        """Give each deliverer the niceness of its unit: its parent's is another one."""
        while True:
            pid = self.deliverer()
            if pid is not None:
                priority.nice(pid, niceness("recorder-agent-delivery.service"))
            time.sleep(NICE_SECONDS)

    def start_daemon(self) -> None:
        """Start it and wait until it records."""
        self.daemon = self.machine.popen("run", stderr=self.log)
        priority.nice(self.daemon.pid, niceness("recorder-agent.service"))
        wait_for(self.is_recording, THERE_WITHIN)

    def deliverer(self) -> int | None:
        """Return the process number of the deliverer that runs; None: there is none."""
        holder = holder_of(StateDirectory(self.machine.state, self.machine.state).lock_of(Process.DELIVERER))
        # The lock file may still name one that is dead, and its number may be another's by now.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if (
                holder is not None
                and str(self.machine.folder) in Path(f"/proc/{holder.pid}/cmdline").read_text()
            ):
                return holder.pid
        return None

    def is_recording(self) -> bool:
        """Whether samples are written."""
        try:
            now = dict(
                ask(StateDirectory(self.machine.state, self.machine.state).socket, {"command": "status"})
            )["recording"]
        except NotRunning:
            return False
        return now is not None and now["duration_ms"] > 0

    def _live(self, began: float, seconds: float) -> None:
        end = began + seconds
        others = [self._kill_microphone, self._freeze_microphone, self._busy_server, self._server_down]
        while (minute := time.monotonic()) < end - QUIET_SECONDS - 20:
            faults = [self._kill_recorder, self._kill_deliverer, self._kill_both, self.rng.choice(others)]
            self.rng.shuffle(faults)
            for number, fault in enumerate(faults):
                time.sleep(max(0.0, minute + number * 15 + self.rng.uniform(2, 7) - time.monotonic()))
                say(f"{time.monotonic() - began:7.1f} s  {fault.__name__.strip('_')}")
                fault()
                wait_for(self.is_recording, THERE_WITHIN)
                self._measure()
            time.sleep(max(0.0, minute + 60 - time.monotonic()))
        time.sleep(max(QUIET_SECONDS, end - time.monotonic()))
        self.seconds = time.monotonic() - began

    def _kill_microphone(self) -> None:
        self.microphone.kill()
        time.sleep(self.rng.uniform(0, 8))
        self.microphone.start()

    def _freeze_microphone(self) -> None:
        self.microphone.freeze()
        time.sleep(self.rng.uniform(2, 6))
        self.microphone.thaw()

    def _busy_server(self) -> None:
        self.server.faults.add(Fault(Call.ANY, times=self.rng.randint(1, 6), status=503))

    def _server_down(self) -> None:
        self.server.stop()
        threading.Timer(self.rng.uniform(1, 8), self.server.start).start()
        time.sleep(9)

    def _kill_recorder(self) -> None:
        self.daemon.kill()
        self.daemon.wait()
        self.kills += 1
        time.sleep(self.rng.choice([0.0, self.rng.uniform(0, 4)]))
        self.start_daemon()

    def _kill_deliverer(self) -> None:
        """It is started again by the recorder; recording goes on meanwhile."""
        wait_for(lambda: self.deliverer() is not None, THERE_WITHIN)
        pid = self.deliverer()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self.kills += 1

    def _kill_both(self) -> None:
        self._kill_deliverer()
        self._kill_recorder()

    def _measure(self) -> None:
        status = Path(f"/proc/{self.daemon.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        self.most_mib = max(self.most_mib, int(found[1]) / 1024 if found else 0.0)

    # the verdict

    def _judge(self, code: int, minutes: float, *, lose_ledger: bool) -> int:
        rows = self.machine.queue()
        gaps = [] if lose_ledger else self.machine.ok("gaps", "--json").json
        checks = [
            ("the daemon ended well", code == 0),
            ("no traceback", "Traceback" not in (self.folder / "daemon.log").read_text()),
            ("each recording is on the server once", all(self._is_once(row) for row in rows)),
            self._time_is_whole(rows, gaps),
            self._report_agrees(rows, gaps),
            (
                f"{self.kills} kills in {self.seconds:.0f} s",
                self.kills >= KILLS_PER_MINUTE * minutes,
            ),
            (
                f"the microphone itself was late by {self.microphone.most_late:.3f} s at most",
                self.microphone.most_late < MOST_LATE,
            ),
            (f"a recorder takes {self.most_mib:.1f} MiB at most", 0 < self.most_mib < MOST_MIB),
        ]
        for what, good in checks:
            say(("good  " if good else "BAD   ") + what)
        return 0 if all(good for _, good in checks) else 1

    def _is_once(self, row: Json) -> bool:
        return len(stored(self.server, row["id"])) == 1 or row["status"] != "uploaded"

    def _time_is_whole(self, rows: list[Json], gaps: list[Json]) -> tuple[str, bool]:
        # A file of less than a code's length at either end cannot be dated; the others can.
        begins = ((row["seq"], code_time(decoded(row["path"]))) for row in rows)
        ends = ((row["seq"], code_time(decoded(row["path"]), from_end=True)) for row in reversed(rows))
        from_seq, begin = next(((seq, at) for seq, at in begins if at is not None), (0, None))
        to_seq, end = next(((seq, at) for seq, at in ends if at is not None), (0, None))
        if begin is None or end is None:
            return f"no time code was found: begin {begin}, end {end}", False
        left_out = [row for row in rows if not from_seq <= row["seq"] <= to_seq]
        rows = [row for row in rows if row not in left_out]
        if sum(row["duration_ms"] for row in left_out) > UNDATED_MS:
            return f"files that are long enough have no time code: {left_out}", False
        recorded = sum(row["duration_ms"] for row in rows) / 1000
        first, last = _seconds(rows[0]["started_at"]), _seconds(rows[-1]["ended_at"])
        between = [gap for gap in gaps if first < _seconds(gap["from"]) < last and gap["cause"] != "overflow"]
        missing = sum(gap["seconds"] or 0.0 for gap in between)
        off = recorded + missing - (end - begin)
        bound = OFF_SECONDS + (end - begin) * OFF_PPM / 1e6
        causes = {cause: sum(g["cause"] == cause for g in between) for cause in {g["cause"] for g in between}}
        text = (
            f"recorded {recorded:.3f} s in {len(rows)} files + ledger {missing:.3f} s {causes} - "
            f"sound {end - begin:.3f} s = {off:+.3f} s, at most {bound:.3f}; less {last - first:.3f} s by its own "
            f"clocks = {recorded + missing - (last - first):+.3f} s"
        )
        is_whole = abs(off) <= bound
        if not is_whole:
            self._say_where(rows, first - begin)
        return text, is_whole

    def _report_agrees(self, rows: list[Json], gaps: list[Json]) -> tuple[str, bool]:
        """Compare the report with the files and the gap log that the sound has judged: in all, and by cause."""
        days = self.machine.ok("report", "--json").json
        recorded = sum(day["recorded_seconds"] for day in days)
        said: Counter[str] = Counter()
        for day in days:
            said.update(day["missing_seconds"])
        true: Counter[str] = Counter()
        for gap in gaps:
            true.update({gap["cause"]: gap["seconds"] or 0.0})
        inside = sum(gap["seconds"] for gap in gaps if gap["cause"] == "overflow")
        off = {"recorded": recorded + inside - sum(row["duration_ms"] for row in rows) / 1000}
        off |= {cause: said[cause] - true[cause] for cause in {*said, *true}}
        text = ", ".join(f"{what} {seconds:+.3f} s" for what, seconds in off.items())
        return f"the report agrees: {text}", all(abs(seconds) < REPORT_SECONDS for seconds in off.values())

    @staticmethod
    def _say_where(rows: list[Json], code_began: float) -> None:
        """Say where the code inside the sound goes apart from the time that the files claim."""
        apart = 0.0
        for row in rows:
            code = code_time(decoded(row["path"]))
            if code is not None:
                now = code + code_began - _seconds(row["started_at"])
                if abs(now - apart) > JUMP_SECONDS:
                    say(f"      the code is {now:+.3f} s off at {row['started_at']}, and was {apart:+.3f}")
                apart = now


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def niceness(unit: str) -> int:
    """Return what a shipped unit has for ``Nice=``."""
    found = re.search(r"^Nice=(-?\d+)$", (UNITS / unit).read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


@contextlib.contextmanager
def loops(count: int) -> Iterator[None]:
    """Let so many programs run that do nothing and never end."""
    programs = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def main() -> int:
    """Live, and judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--loops", type=int, default=0)
    parser.add_argument("--lose-ledger", action="store_true")
    options = parser.parse_args()
    say(
        f"seed {options.seed}, {options.minutes:g} minutes beside {options.loops} loops, load {os.getloadavg()}"
    )
    with tempfile.TemporaryDirectory(prefix="soak", ignore_cleanup_errors=True) as folder:
        soak = Soak(Path(folder), random.Random(options.seed))
        return soak.run(options.minutes, options.loops, lose_ledger=options.lose_ledger)


if __name__ == "__main__":
    sys.exit(main())
