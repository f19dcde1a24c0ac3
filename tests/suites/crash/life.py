"""One life of the agent in one thread and simulated time: start, record, deliver meanwhile and after, prune.

The parts are the product's own, wired by its own ``Parts``; only clock, file layer and source are ours. What a
daemon does in three threads happens here one behind the other, so that each step has its number.
"""

import io
import os
import shutil
import sqlite3
import sys
import threading
import wave
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from both_processes import join
from clocks import SimulatedClock
from daemonlife import leave_alone
from event_log import Diary
from faults import Fault, Observer

from agent import log
from agent.api.client import RecordingsApi
from agent.audio.source import Block, EndOfSource, SourceState
from agent.config.loader import load
from agent.deliverer.housekeeping import Housekeeping
from agent.deliverer.wiring import DelivererWiring
from agent.disk import Disk
from agent.index.outbox import Outbox
from agent.index.repair import Repair
from agent.outbox.entry import Entry
from agent.process.state_directory import Process, resolve
from agent.recorder.wiring import RecorderWiring
from agent.recording.segment import FinishedSegment, discard_never_begun
from agent.recording.triggers import trigger_for
from agent.sync.syncer import Syncer

RATE = 16000
BLOCK = RATE // 4
DAY = 86_400.0
CALLS = ("create", "upload_url", "put", "complete")


class RemoteCommand:
    """What a life is asked to do; comes as JSON."""

    def __init__(
        self,
        *,
        folder: str,
        diary: str,
        wav: str = "",
        seconds: float = 0.0,
        elapsed: float = 0.0,
        background: float = 1.0,
        settle: bool = True,
        prune: bool = False,
        fault: tuple[str, int] = ("none", -1),
        marks: bool = False,
        broken: str = "",
        snapshots: str = "",
        loud: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.diary = Path(diary)
        self.wav = wav
        self.seconds = seconds
        self.elapsed = elapsed
        self.background = background
        self.settle = settle
        self.prune = prune
        self.fault = Fault(*fault)
        self.marks = marks
        self.broken = broken
        self.snapshots = Path(snapshots) if snapshots else None
        self.loud = loud


class Sound:
    """A source that hands samples out as fast as they are taken, and lets the clock follow them."""

    sample_rate = RATE
    channels = 1
    identity = "file:sound"
    name = "sound"

    has_more = False
    """Nothing lies ready: what is captured is taken at once."""

    def __init__(self, pcm: bytes, clock: SimulatedClock, diary: Diary, between: Callable[[], None]) -> None:
        self._pcm = memoryview(pcm)
        self._clock = clock
        self._diary = diary
        self._between = between
        self._sequence = 0
        self.state = SourceState.CLOSED
        self.last_error = ""

    def read(self, timeout: float) -> Block | None:  # noqa: ARG002 - sound is there at once
        """Hand out a quarter of a second."""
        self._between()
        if not self._pcm:
            self.state = SourceState.ENDED
            raise EndOfSource
        self.state = SourceState.LISTENING
        samples, self._pcm = bytes(self._pcm[: 2 * BLOCK]), self._pcm[2 * BLOCK :]
        self._clock.elapsed += len(samples) / 2 / RATE
        self._diary.note("handed", str(len(samples) // 2), samples=len(samples) // 2)
        block = Block(self._sequence, self._clock.monotonic(), overflow=False, samples=samples)
        self._sequence += 1
        return block

    def close(self) -> None:
        """Stay where it is, where a file would begin anew; blocks count from 0 again."""
        self._sequence = 0
        self.state = SourceState.CLOSED


class LifeParts(DelivererWiring):
    """The agent's parts, with calls and finished files noted in the diary."""

    diary: Diary
    observer: Observer
    snapshots: Path | None = None
    """Where the server's directory is copied to after each call; it lies beside it as ``server``."""

    def snapshot(self) -> None:
        """Keep what the server holds now."""
        if self.snapshots is not None:
            number = len(list(self.snapshots.iterdir()))
            shutil.copytree(self.snapshots.with_name("server"), self.snapshots / str(number), symlinks=True)
            self.diary.note("server", str(number))

    @cached_property
    def outbox(self) -> Outbox:
        """The product's outbox; a finished file is noted before it is taken over."""
        outbox = super().outbox
        complete, prune = outbox.complete, outbox.prune

        def completed(entry: Entry, **facts: Any) -> Entry:
            entry = complete(entry, **facts)
            self.diary.note("delivered", entry.id)
            return entry

        def pruned(entry: Entry) -> None:
            self.diary.note("pruned", entry.id)
            prune(entry)

        setattr(outbox, "complete", completed)  # noqa: B010 - likewise
        setattr(outbox, "prune", pruned)  # noqa: B010 - likewise
        self.note_finished(outbox)
        return outbox

    def note_finished(self, taker: Any) -> None:
        """Let the diary look over the shoulder of whoever takes finished files over."""
        accept = taker.accept

        def noted(segment: FinishedSegment) -> Any:
            self.diary.note("finished", segment.start.id, sha256=segment.sha256, samples=segment.samples)
            entry = accept(segment)
            self.diary.note("accepted", segment.start.id, sha256=segment.sha256, samples=segment.samples)
            return entry

        taker.accept = noted

    @cached_property
    def api(self) -> RecordingsApi:
        """The product's client; each call is a step before it and behind it."""
        api = super().api
        for name in CALLS:
            setattr(api, name, self._noted(name, getattr(api, name)))
        return api

    @cached_property
    def syncer(self) -> Syncer:
        """The product's; how far an upload is, is a step too."""
        syncer = super().syncer
        syncer._listeners.append(
            lambda _id, sent, total: self.observer.pass_by(f"progress.{sent * 100 // total}")
        )
        return syncer

    def _noted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **named: Any) -> Any:
            self.observer.pass_by(f"call.{name}")
            answer = call(*arguments, **named)
            self.observer.pass_by(f"answer.{name}")
            self.snapshot()
            return answer

        return noted


class Life:
    """Lives an order through."""

    def __init__(self, order: RemoteCommand) -> None:
        log.configure("error", "text", sys.stderr if order.loud else io.StringIO())
        self._order = order
        self._clock = SimulatedClock(order.elapsed)
        self._diary = Diary(order.diary, marks=order.marks)
        loaded = load(order.folder / "config.toml", {})
        state = resolve(loaded, {})
        self._observer = Observer(order.fault, self._diary, self._clock, state.path)
        disk = Disk(self._observer)
        state.create(disk)
        self._locks = (state.lock(Process.RECORDER), state.lock(Process.DELIVERER))
        self._parts = LifeParts(loaded.config, state, {}, clock=self._clock, disk=disk, machine=lambda: "ntp")
        self._parts.diary, self._parts.observer = self._diary, self._observer
        self._parts.snapshots = order.snapshots
        self._next_background = 0.0

    def run(self) -> None:
        """Start, record, deliver, prune; errors end it as they would end the daemon."""
        if self._order.broken == "nameless":
            _go_past_the_file_layer(self._parts.state.path)
        if self._order.broken == "repair":
            setattr(Repair, "open_file", leave_alone)  # noqa: B010 - the control puts it out of order
        with self._locks[0], self._locks[1]:
            self._house = Housekeeping(self._parts)
            self._hears = RecorderWiring(
                self._parts.config,
                self._parts.state,
                clock=self._clock,
                disk=self._parts.disk,
                machine=lambda: "ntp",
            )
            join(self._hears, self._parts)
            self._parts.note_finished(self._hears.sink)
            self._downtime = self._hears.downtime()
            discard_never_begun(self._hears.files.recording, self._parts.disk)
            self._downtime.poll()
            self._parts.outbox.store.needs_reconcile.set()
            self._background()
            if self._order.wav:
                self._record()
            if self._order.settle:
                self._settle()
            if self._order.prune:
                self._clock.elapsed += DAY + 120
                self._background()
            self._parts.close()
        self._diary.note("ended", "life", elapsed=self._clock.elapsed)

    def _record(self) -> None:
        with wave.open(self._order.wav, "rb") as file:
            pcm = file.readframes(round(self._order.seconds * RATE))
        parts = self._parts

        def between() -> None:
            if not source._pcm:
                recorder.stop()
            if self._clock.elapsed >= self._next_background:
                self._next_background = self._clock.elapsed + self._order.background
                self._background()

        source = Sound(pcm, self._clock, self._diary, between)
        trigger = trigger_for(parts.config.recording, self._clock.wall)
        recorder = self._hears.recorder(source, trigger, unattended=True, before=self._downtime.note)
        recorder.run()

    def _background(self) -> None:
        """What the daemon's other threads do, with their ways of taking an error."""
        try:
            self._house.turn(threading.Event())
            if self._house.reconciled.is_set():
                self._parts.syncer.drain()
        except (OSError, sqlite3.Error) as error:
            self._diary.note("error", f"{type(error).__name__}: {error}")
            self._parts.outbox.store.needs_reconcile.set()

    def _settle(self) -> None:
        """Go on until nothing waits any more, for 24 hours at most."""
        end = self._clock.elapsed + DAY
        step = 5.0
        while self._clock.elapsed < end:
            self._background()
            if self._at_rest():
                return
            self._clock.elapsed += step
            step = min(step * 1.2, 600.0)

    def _at_rest(self) -> bool:
        store = self._parts.outbox.store
        try:
            return not store.needs_reconcile.is_set() and store.counts()["pending"] == 0
        except (OSError, sqlite3.Error):
            return False


def _go_past_the_file_layer(folder: Path) -> None:
    """Make something durable without a name: the control."""
    with (folder / "nameless").open("w") as file:
        os.fsync(file.fileno())
    (folder / "nameless").rename(folder / "nameless-too")
