"""Drains a part of a backlog in a process of its own, and prints what that cost as JSON; see test_backlog."""

import json
import sys
import time
from pathlib import Path

from waiting_recordings import agent

from agent import log

STEPS = 100


def peak_kib() -> int:
    """Return the most memory this process ever had, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def main(folder: Path, base_url: str) -> None:
    """Drain until ``STEPS`` recordings are delivered."""
    log.silence()
    with agent(folder, base_url) as (parts, _clock):
        syncer, store = parts.syncer, parts.outbox.store
        times: list[float] = []

        def note(_recording: str, sent: int, total: int) -> None:
            if sent == total:
                times.append(time.process_time())
                if len(times) == STEPS:
                    syncer.stop()
                if len(times) == 10:
                    peaks.append(peak_kib())

        peaks: list[int] = []
        with syncer.listening(note):
            report = syncer.drain()
        least = 1.0  # of some batches: what else runs on the machine only makes one longer
        for _ in range(10):
            began = time.process_time()
            for _ in range(20):
                store.counts(), store.oldest_waiting(), store.total_bytes(), store.pending_bytes()
            least = min(least, (time.process_time() - began) / 20)
        sys.stdout.write(
            json.dumps(
                {
                    "delivered": len(report.delivered),
                    "grown_kib": peak_kib() - peaks[0],
                    "step_seconds": (times[-1] - times[9]) / (STEPS - 10),
                    "status_seconds": least,
                }
            )
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
