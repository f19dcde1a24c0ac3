"""A long life with faults at random: is every second recorded or in the ledger, judged by the sound itself?

    python tests/faults/soak.py [--minutes 30] [--seed N] [--lose-ledger]

The kills of the daemon come in the first third; memory and descriptors are watched over the rest. ``--lose-ledger``
is the control: without what the ledger says the sum must not come out.
"""

import argparse
import random
import re
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from acceptance import Json, stored, wait_for
from rig import at_the_microphone, say
from timecode import Player, code_time, decoded
from virtual_microphone import VirtualMicrophone

from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.faults import Call, Fault
from agent.sandbox.server import SandboxServer
from agent.statedir import StateDirectory
from agent.status.control import NoDaemon, ask

GROWTH_MIB = 2.0
SPARE = 2
"""Descriptors: the kept-alive connection and the ear's pipe may be there in one half and not in the other."""
OFF_SECONDS = 0.5
OFF_PPM = 200
SEGMENT_SECONDS = 20
QUIET_SECONDS = 15
UNDATED_MS = 4000
"""What a file, or two, may hold without one whole time code."""


class Soak:
    """The daemon, its microphone and its server, and what happens to them."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.rng = rng
        self.microphone = VirtualMicrophone(folder / "mic")
        self.server = SandboxServer(folder / "sandbox")
        self.folder = folder
        self.log = (folder / "daemon.log").open("a")
        self.memory: list[tuple[float, int, float]] = []
        """When, how many descriptors, how much memory (MiB), in quiet moments."""

    def run(self, seconds: float, *, lose_ledger: bool) -> int:
        """Live for so long; return the exit code."""
        self.microphone.start()
        self.player = Player(self.microphone.env)
        self.player.play()
        time.sleep(1)
        with self.server:
            self.machine = at_the_microphone(self.folder / "m", self.microphone)
            self.machine.give_token(DEFAULT_TOKEN)
            self.machine.configure(
                api={"base_url": self.server.base_url}, recording={"segment_seconds": SEGMENT_SECONDS}
            )
            self.start_daemon()
            try:
                self._live(time.monotonic(), seconds)
            finally:
                self.daemon.terminate()
                code = self.daemon.wait(10)
                self.player.stop()
                self.microphone.stop()
            self.machine.run("sync")
            return self._judge(code, lose_ledger=lose_ledger)

    def start_daemon(self) -> None:
        """Start it and wait until it records."""
        self.daemon = self.machine.popen("run", stderr=self.log)
        wait_for(self.is_recording, 60)

    def is_recording(self) -> bool:
        """Whether samples are written."""
        try:
            now = dict(
                ask(StateDirectory(self.machine.state, self.machine.state).socket, {"command": "status"})
            )["recording"]
        except NoDaemon:
            return False
        return now is not None and now["duration_ms"] > 0

    def _live(self, began: float, seconds: float) -> None:
        end = began + seconds
        while time.monotonic() < end - QUIET_SECONDS - 20:
            time.sleep(self.rng.uniform(4, 10))
            faults = [self._kill_microphone, self._freeze_microphone, self._busy_server, self._server_down]
            if time.monotonic() < began + seconds / 3:
                faults.append(self._kill_daemon)
            else:
                self._measure(began)
            fault = self.rng.choice(faults)
            say(f"{time.monotonic() - began:7.1f} s  {fault.__name__.strip('_')}")
            fault()
            wait_for(self.is_recording, 60)
        time.sleep(max(0.0, end - time.monotonic()))
        self._measure(began)

    def _kill_microphone(self) -> None:
        self.microphone.kill()
        self.player.stop()
        time.sleep(self.rng.uniform(0, 8))
        # Sound only counts once the code is in it: what is heard before it would be undated, not lost.
        self.microphone.start()
        self.player.play()

    def _freeze_microphone(self) -> None:
        self.microphone.freeze()
        time.sleep(self.rng.uniform(2, 6))
        self.player.stop()
        self.microphone.thaw()
        self.player.play()

    def _busy_server(self) -> None:
        self.server.faults.add(Fault(Call.ANY, times=self.rng.randint(1, 6), status=503))

    def _server_down(self) -> None:
        self.server.stop()
        threading.Timer(self.rng.uniform(1, 8), self.server.start).start()
        time.sleep(9)

    def _kill_daemon(self) -> None:
        self.daemon.kill()
        self.daemon.wait()
        time.sleep(self.rng.uniform(0, 3))
        self.start_daemon()

    def _measure(self, began: float) -> None:
        process = Path(f"/proc/{self.daemon.pid}")
        found = re.search(r"VmRSS:\s+(\d+)", (process / "status").read_text())
        descriptors = len(list((process / "fd").iterdir()))
        self.memory.append((time.monotonic() - began, descriptors, int(found[1]) / 1024 if found else 0.0))

    # the verdict

    def _judge(self, code: int, *, lose_ledger: bool) -> int:
        rows = self.machine.queue()
        gaps = [] if lose_ledger else self.machine.ok("gaps", "--json").json
        checks = [
            ("the daemon ended well", code == 0),
            ("no traceback", "Traceback" not in (self.folder / "daemon.log").read_text()),
            ("each recording is on the server once", all(self._is_once(row) for row in rows)),
            self._time_is_whole(rows, gaps),
            *self._stays_small(),
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
            f"sound {end - begin:.3f} s = {off:+.3f} s, at most {bound:.3f}"
        )
        return text, abs(off) <= bound

    def _stays_small(self) -> list[tuple[str, bool]]:
        half = len(self.memory) // 2
        first, second = self.memory[:half], self.memory[half:]
        if not first:
            return [("measured too seldom", False)]
        growth = min(m for _, _, m in second) - min(m for _, _, m in first)
        descriptors = [min(d for _, d, _ in part) for part in (first, second)]
        return [
            (f"memory {first[0][2]:.1f} MiB, grown by {growth:+.2f} MiB", growth <= GROWTH_MIB),
            (
                f"descriptors {descriptors[0]}, then {descriptors[1]}",
                descriptors[1] <= descriptors[0] + SPARE,
            ),
        ]


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def main() -> int:
    """Live, and judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--lose-ledger", action="store_true")
    options = parser.parse_args()
    say(f"seed {options.seed}, {options.minutes:g} minutes")
    with tempfile.TemporaryDirectory(prefix="soak", ignore_cleanup_errors=True) as folder:
        soak = Soak(Path(folder), random.Random(options.seed))
        return soak.run(options.minutes * 60, lose_ledger=options.lose_ledger)


if __name__ == "__main__":
    sys.exit(main())
