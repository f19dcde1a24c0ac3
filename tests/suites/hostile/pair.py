"""The two real processes side by side, one pair for many cells, and what is watched of them from outside."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from acceptance import Machine, wait_for
from connecting import connected
from server import Hostile
from speech import speech, write_wav

from agent.process.state_directory import Process, StateDirectory

ENTRY = Path(__file__).with_name("entry.py")
RATE = 16_000
SEGMENT_SECONDS = 2
POLL_SECONDS = 0.05
BUSY_SECONDS = 120.0
"""What a start may take on a machine that is busy with something else."""
OFF_SECONDS = 2.5
"""What a start may be off: a server's Date has whole seconds, and the clock may be set between two recordings."""
LATEST_SECONDS = 20.0
"""By how much the file of a recording may be later than its first sample, on a machine that is very busy."""


class Pair:
    """A recorder that records speech without an end, and a deliverer; ``watching`` follows both from outside."""

    def __init__(self, folder: Path, hostile: Hostile, *options: str, is_ntp: bool = False) -> None:
        self.hostile = hostile
        self.machine = machine = Machine(folder)
        self._options = [*options, *(["--ntp"] if is_ntp else [])]
        machine.give_token("dtok_hostile")
        loop = write_wav(folder / "loop.wav", RATE, 1, speech(RATE, 1, 20 * RATE))
        machine.configure(
            api={"base_url": f"{hostile.url}/v1"},
            audio={"input": f"file:{loop}?loop"},
            recording={"segment_seconds": SEGMENT_SECONDS},
            log={"format": "json"},
        )
        self.state = StateDirectory(machine.state, machine.state)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.began: dict[str, float] = {}
        """When each recording's file was first seen, in unix seconds, by its local id."""
        self.finished: dict[str, float] = {}
        """When each recording's sidecar was first seen, on the monotonic clock, by its local id."""
        self.pauses: list[float] = []
        """How long nothing was written, each time it was longer than ever before since ``forget_pauses``."""
        self._sizes: dict[str, int] = {}
        self._grown = time.monotonic()
        self._ended = threading.Event()

    @contextlib.contextmanager
    def running(self) -> Iterator["Pair"]:
        """Keep both processes until the block ends."""
        with contextlib.ExitStack() as stack:
            for name in ("recorder", "deliverer"):
                log = stack.enter_context((self.machine.folder / f"{name}.log").open("wb"))
                arguments = ["--config", str(self.machine.config_file), "run", "--only", name]
                process = stack.enter_context(
                    subprocess.Popen(
                        [sys.executable, "-P", str(ENTRY), *self._options, "--", *arguments],
                        env=self.machine.environment,
                        cwd=self.machine.folder,
                        stderr=log,
                    )
                )
                stack.callback(process.kill)
                self.processes[name] = process
            wait_for(
                lambda: all(self.state.is_locked(each) for each in Process) or self.dead() != [], BUSY_SECONDS
            )
            watch = threading.Thread(target=self._watch, daemon=True)
            watch.start()
            try:
                wait_for(lambda: bool(self.hostile.delivered()) or self.dead() != [], BUSY_SECONDS)
                self.forget_pauses()
                yield self
            finally:
                self._ended.set()
                watch.join(5)

    def dead(self) -> list[str]:
        """Return which of the two have ended."""
        return [name for name, process in self.processes.items() if process.poll() is not None]

    def most_memory(self, name: str) -> int:
        """Return the largest resident memory that a process ever had, in KiB."""
        lines = Path(f"/proc/{self.processes[name].pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)

    def memory(self, name: str) -> int:
        """Return the resident memory of a process now, in KiB."""
        lines = Path(f"/proc/{self.processes[name].pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)

    def log_lines(self, name: str) -> list[dict[str, Any]]:
        """Return what a process has logged; a line that is no JSON is one with an ``action`` of its own."""
        found = []
        for line in (self.machine.folder / f"{name}.log").read_text(errors="replace").splitlines():
            try:
                found.append(dict(json.loads(line)) | {"length": len(line)})
            except ValueError:
                found.append({"action": "no JSON", "text": line, "level": "error", "length": len(line)})
        return found

    def forget_pauses(self) -> None:
        """Begin anew to look for the longest pause in what is written."""
        self.pauses = []
        self._grown = time.monotonic()

    def missing(self, before: float) -> set[str]:
        """Return what was finished before a moment and is not yet delivered, by local id."""
        done = self.hostile.delivered()
        return {local for local, at in list(self.finished.items()) if at <= before and local not in done}

    def times_off(self) -> dict[str, str]:
        """Return which starts that the API was told cannot be, by local id, and why.

        A file begins a little after its first sample, by as much as the machine is late; the next one of the same
        run begins where it ends.
        """
        off = {}
        ends: dict[tuple[str, int], float] = {}
        bodies = [body for body in list(self.hostile.bodies.values()) if _local(body) in self.began]
        for body in bodies:
            start, end = (
                datetime.fromisoformat(body[name]).timestamp() for name in ("started_at", "ended_at")
            )
            metadata = body["metadata"]
            session, segment = str(metadata["recorder_session_id"]), int(metadata["recorder_segment"])
            ends[session, segment] = end
            late = self.began[_local(body)] - start
            if not -OFF_SECONDS <= late <= LATEST_SECONDS:
                off[_local(body)] = f"said to begin {late:.1f} s before its file"
            before = ends.get((session, segment - 1))
            if before is not None and abs(start - before) > OFF_SECONDS:
                off[_local(body)] = f"said to begin {start - before:+.1f} s after the end of the one before"
        return off

    def ask_for_refresh(self) -> None:
        """Let the deliverer ask for a new token, whatever becomes of it."""
        with contextlib.suppress(OSError), connected(self.state.delivery_socket) as client:
            client.sendall(b'{"command": "refresh"}\n')
            client.settimeout(3)
            client.recv(4096)

    def _watch(self) -> None:
        folders = [self.machine.state / name for name in ("recording", "outbox", "sent")]
        while not self._ended.wait(POLL_SECONDS):
            grew = False
            for folder in folders:
                for path in folder.iterdir():
                    grew |= self._look_at(path)
            now = time.monotonic()
            if grew:
                self._grown = now
            elif now - self._grown > max(self.pauses, default=0.0):
                self.pauses.append(now - self._grown)

    def _look_at(self, path: Path) -> bool:
        """Take note of a file; return whether it grew."""
        stem, _, ending = path.name.partition(".")
        local = stem.split("-", 2)[-1]
        if ending == "json":
            self.finished.setdefault(local, time.monotonic())
            return False
        try:
            size = path.stat().st_size
        except OSError:
            return False
        if size == 0:
            return False
        self.began.setdefault(local, time.time())
        grew = size > self._sizes.get(stem, 0)
        self._sizes[stem] = max(size, self._sizes.get(stem, 0))
        return grew


def _local(body: dict[str, Any]) -> str:
    return str(body["metadata"]["client_recording_id"])
