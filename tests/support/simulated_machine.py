"""A simulated machine: three clocks, a card that forgets what was not synced, a microphone, and what befalls them.

Nothing here sleeps. True time is what the judge knows; the recorder sees only the clocks of its boot.
"""

import errno
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from agent.audio.source import Block, SourceLost, SourceState
from agent.disk import Disk

RATE = 8000
BEGINNING_MS = 1_790_000_000_000
"""True unix time at the start of a life, in whole milliseconds."""


NEED_ROOM = {
    "open.create",
    "open.headers",
    "write.page",
    "finish.last_page",
    "finish.sidecar.create",
    "finish.sidecar.write",
}
"""Steps that a full card refuses; for small files the reserve file makes room."""


class Died(BaseException):
    """The process was killed, or its machine lost its power."""


class World:
    """True time, in seconds since the life began, and what is planned for it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._alarms: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0
        self._acts = False
        """What was planned is happening: what takes time meanwhile is interrupted by nothing."""

    def after(self, seconds: float, act: Callable[[], object]) -> None:
        """Plan something."""
        self._count += 1
        self._alarms.append((self.now + seconds, self._count, act))
        self._alarms.sort(key=lambda alarm: alarm[:2])

    def forget_plans(self) -> None:
        """Nothing that was planned happens."""
        self._alarms.clear()

    def next_alarm(self, end: float) -> float:
        """Return when something is planned next, ``end`` at the latest."""
        return min([end, *(max(self.now, at) for at, _, _ in self._alarms[:1])])

    def pass_until(self, end: float) -> None:
        """Let time pass, and do on the way what was planned."""
        while self._alarms and self._alarms[0][0] <= end and not self._acts:
            at, _, act = self._alarms.pop(0)
            self.now = max(self.now, at)
            self._acts = True
            try:
                act()
            finally:
                self._acts = False
        self.now = max(self.now, end)


class BootClock:
    """The clocks of one boot; the wall clock is ``wrong_by`` seconds off until NTP sets it."""

    def __init__(self, world: World, boot_id: str, wrong_by: float, right_after: float) -> None:
        self._world = world
        self.boot_id = boot_id
        self.booted_ms = BEGINNING_MS + round(world.now * 1000)
        """True time at which the boot clock stood at zero."""
        self._zero = (self.booted_ms - BEGINNING_MS) / 1000
        self._asleep = 0.0
        self.wrong_by = wrong_by
        self._right_at = world.now + right_after
        self.is_right_always = right_after == 0

    def boottime(self) -> float:
        """Seconds since the boot."""
        return self._world.now - self._zero

    def monotonic(self) -> float:
        """Seconds since the boot without what was slept."""
        return self.boottime() - self._asleep

    def wall(self) -> float:
        """Unix time, right or wrong."""
        return BEGINNING_MS / 1000 + self._world.now + (self.wrong_by if self.machine() is None else 0.0)

    def machine(self) -> str | None:
        """Whether NTP has set the clock."""
        return "ntp" if self._world.now >= self._right_at else None

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Let time pass unless the event is set."""
        assert seconds is not None
        end = self.monotonic() + seconds
        while not event.is_set() and self.monotonic() < end - 1e-9:
            self._world.pass_until(self._world.next_alarm(self._world.now + end - self.monotonic()))
        return event.is_set()

    def sleep(self, seconds: float) -> None:
        """Let time pass; what is slept through does not count."""
        end = self.monotonic() + seconds
        while self.monotonic() < end - 1e-9:
            asleep = self._asleep
            self._world.pass_until(self._world.now + end - self.monotonic())
            if self._asleep == asleep:
                return

    def suspend(self, seconds: float) -> None:
        """Stand still for so long."""
        self._asleep += seconds
        self._world.now += seconds


class Card(Disk):
    """A file layer whose syncs cost nothing, and that knows what a power cut would leave.

    As ext4 does: names become durable in their order, with the sync of a folder; bytes with the sync of their file.
    """

    def __init__(self, rng: random.Random, clock: BootClock) -> None:
        super().__init__(self._before)
        self._rng = rng
        self._clock = clock
        self.is_dead = False
        self.is_full = False
        self.fails_once = False
        self.steps_left: int | None = None
        """Dies at the step after so many."""
        self.slow = rng.choice([0.0, 0.0, 0.03])
        self._synced: dict[int, int] = {}
        self._files: dict[int, Path] = {}
        self._pending: list[Callable[[], None]] = []

    def _before(self, step: str) -> None:
        if self.steps_left is not None:
            self.steps_left -= 1
            self.is_dead = self.is_dead or self.steps_left < 0
        if self.slow and not self.is_dead and self._rng.random() < 0.2:
            self._clock.sleep(self._rng.uniform(0, self.slow))
        if self.is_dead:
            raise Died
        if self.fails_once and not step.startswith("open.undo"):
            self.fails_once = False
            raise OSError(errno.EIO, "injected")
        if self.is_full and step in NEED_ROOM:
            raise OSError(errno.ENOSPC, "injected")

    def create(self, path: Path, step: str) -> BinaryIO:
        """Create a file whose name and bytes a power cut takes."""
        file = super().create(path, step)
        inode = os.fstat(file.fileno()).st_ino
        self._synced[inode], self._files[inode] = 0, path
        self._pending.append(lambda: path.unlink(missing_ok=True))
        return file

    def write(self, file: BinaryIO, data: bytes, step: str) -> None:
        """Write what a power cut takes."""
        status = os.fstat(file.fileno())
        self._synced.setdefault(status.st_ino, status.st_size)
        if status.st_ino not in self._files:
            self._files[status.st_ino] = Path(f"/proc/self/fd/{file.fileno()}").readlink()
        super().write(file, data, step)

    def sync_data(self, file: BinaryIO, step: str) -> None:
        """Keep the bytes."""
        self._before(step)
        self._synced[os.fstat(file.fileno()).st_ino] = os.fstat(file.fileno()).st_size

    def sync(self, file: BinaryIO, step: str) -> None:
        """Keep the bytes."""
        self.sync_data(file, step)

    def sync_folder(self, folder: Path, step: str) -> None:
        """Keep all names that were given or taken until now."""
        del folder
        self._before(step)
        self._pending.clear()

    def rename(self, source: Path, target: Path, step: str) -> None:
        """Rename until a power cut."""
        replaced = target.read_bytes() if target.exists() else None
        super().rename(source, target, step)
        self._files[target.stat().st_ino] = target

        def undo() -> None:
            if target.exists():
                target.replace(source)
                self._files[source.stat().st_ino] = source
            if replaced is not None:
                target.write_bytes(replaced)

        self._pending.append(undo)

    def unlink(self, path: Path, step: str) -> None:
        """Remove until a power cut."""
        held = path.read_bytes() if path.exists() else None
        super().unlink(path, step)
        if held is not None:
            content = held
            self._pending.append(lambda: None if path.exists() else void(path.write_bytes(content)))

    def cut_power(self) -> None:
        """Leave what a power cut leaves."""
        for inode, size in self._synced.items():
            path = self._files.get(inode)
            if path is None or not path.exists() or path.stat().st_ino != inode:
                continue
            grown = path.stat().st_size
            if grown > size:
                keep = self._rng.choice([size, self._rng.randint(size, grown), grown])
                os.truncate(path, keep)
                if self._rng.random() < 0.3:
                    os.truncate(path, grown)
        for undo in reversed(self._pending[self._rng.randint(0, len(self._pending)) :]):
            undo()
        self._pending.clear()


def void(_: object) -> None:
    """Drop a value."""


class Microphone:
    """A ``Source`` that may be absent, hang, lose blocks, and whose blocks arrive late."""

    sample_rate = RATE
    channels = 1
    identity = "usb-0000:0000-simulated"
    name = "Simulated"

    has_more = False
    """Nothing lies ready: what is captured is taken at once."""

    def __init__(self, clock: BootClock, rng: random.Random) -> None:
        self.state = SourceState.CLOSED
        self.last_error = ""
        self.is_absent = False
        self.hangs = False
        self.skips_seconds = 0.0
        self._clock, self._rng = clock, rng
        self._late = rng.choice([0.0, 0.05, 0.12])
        self._block = rng.choice([2000, 4000, 8000])
        self._opens_at: float | None = None
        self._next = 0.0
        self._sequence = 0
        self._said = False
        self.speaks = False
        """Whether somebody speaks; it changes now and then."""
        self.heard: list[tuple[float, float, bool, float]] = []
        """From when to when it gave sound, in seconds of the boot clock, if it was a voice, and what it lost before."""

    def read(self, timeout: float) -> Block | None:
        """Return the block that is due, or None."""
        clock = self._clock
        end = clock.monotonic() + timeout
        if self.is_absent or self.hangs:
            return self._fail(end)
        if self.state is not SourceState.LISTENING:
            if self._opens_at is None:
                self.state, self._opens_at = (
                    SourceState.OPENING,
                    clock.monotonic() + self._rng.uniform(0.05, 0.6),
                )
            if self._opens_at > end:
                clock.sleep(end - clock.monotonic())
                return None
            clock.sleep(max(0.0, self._opens_at - clock.monotonic()))
            self._next = clock.monotonic() + self._block / RATE
            self._sequence, self.state, self._said = 0, SourceState.LISTENING, False
        return self._listen(end)

    def _listen(self, end: float) -> Block | None:
        clock = self._clock
        if self._next > end:
            clock.sleep(end - clock.monotonic())
            return None
        clock.sleep(max(0.0, self._next - clock.monotonic()))
        if self.is_absent or self.hangs:
            return self._fail(end)
        skipped, self.skips_seconds = self.skips_seconds, 0.0
        clock.sleep(skipped)
        self._next += skipped
        captured_at = self._next + self._rng.uniform(0, self._late)
        ended = clock.boottime() - (clock.monotonic() - self._next)
        self._next += self._block / RATE
        self._sequence += 1
        if self._rng.random() < CHANGES * self._block / RATE:
            self.speaks = not self.speaks
        sound = VOICE if self.speaks else SOUND
        self.heard.append((ended - self._block / RATE, ended, self.speaks, skipped))
        return Block(self._sequence - 1, captured_at, skipped > 0, sound[: 2 * self._block])

    def _fail(self, end: float) -> Block | None:
        if self.hangs and self.state is SourceState.LISTENING:
            self._clock.sleep(1.5)
        self._opens_at = None
        self.state = SourceState.WEDGED if self.hangs else SourceState.LOST
        if not self._said:
            self._said = True
            raise SourceLost("The microphone went away.")
        self._clock.sleep(max(0.0, end - self._clock.monotonic()))
        return None

    def close(self) -> None:
        """Let go of the device."""
        self.state, self._opens_at, self._said = SourceState.CLOSED, None, False


SOUND, VOICE = b"\1\0" * 8000, b"\1\50" * 8000
CHANGES = 0.1
"""How often a second somebody begins to speak, or stops."""


class Loud:
    """Hears a voice where it is loud."""

    frame_samples = 512
    needed, window = 4, 6

    def judge(self, frame: bytes) -> bool:
        """Tell by the peak."""
        return max(memoryview(frame).cast("h")) > 1000

    def reset(self) -> None:
        """Nothing is remembered."""


class SilentEncoder:
    """Makes packets of the right number and no sound: encoding is not what is tested here."""

    pre_skip = 312
    frame_samples = RATE * 60 // 1000
    frame_bytes = 2 * frame_samples

    def __init__(self, *_: object) -> None:
        pass

    def encode_frames(self, pcm: bytes | memoryview) -> list[bytes]:
        """Return a packet for each frame."""
        return [b"\x18\1\2"] * (len(pcm) // self.frame_bytes)

    def frames_for(self, samples: int) -> int:
        """Return how many frames give back so many samples behind the pre-skip."""
        return -(-(self.pre_skip * RATE // 48000 + samples) // self.frame_samples)

    def reset(self) -> None:
        """Nothing is kept."""
