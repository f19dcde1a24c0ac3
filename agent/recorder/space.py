"""Room on the card, by files alone: what gives way when there is too little, and what is said when nothing does.

RemoteCommand of giving way: delivered and confirmed by hash, delivered otherwise, each oldest first; then, only with
``when_full = "drop_oldest"``, what is not delivered, oldest first, held ones last, each with a line in the gap log.
What somebody else works on is passed over, and so is for a while, once it was tried, what the disk will not let go;
what is no regular file is never touched. The deliverer takes a vanished pair for pruned, or dropped.
"""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.config.schema import StorageConfig
from agent.disk import Disk
from agent.errors import AgentError
from agent.gaps.log import Cause
from agent.gaps.tracker import GapTracker
from agent.host.reserve_file import ReserveFile
from agent.host.storage import MEGABYTE, disk_usage
from agent.log import get_logger
from agent.outbox import sidecar
from agent.outbox.entry import Entry, Status
from agent.outbox.files import AUDIO, SIDECAR, Files
from agent.outbox.locks import claimed

log = get_logger(__name__)

SETTLED_NS = 1_000_000_000
AT_ONCE = 25
"""How many files at most are tried while the recorder waits; the rest comes with its next questions."""
AGAIN_SECONDS = 600.0
"""How long a file that could not be removed is passed over: a disk may be mended meanwhile."""


class RoomKeeper:
    """Answers whether there is room to record, after making what room may be made; thread-safe.

    Raises OSError when the disk cannot even be asked, or is read-only.
    """

    def __init__(
        self,
        files: Files,
        disk: Disk,
        settings: StorageConfig,
        reserve: ReserveFile,
        gap_tracker: GapTracker,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._disk = disk
        self._settings = settings
        self._reserve = reserve
        self._gap_tracker = gap_tracker
        self._folder = files.root
        self._usage = FolderUsage(files)
        self._unconfirmed: set[str] = set()
        self._monotonic = monotonic
        self._stuck: dict[Path, float] = {}
        """What could not be removed, and until when it is left alone."""
        self._lock = threading.Lock()

    @property
    def margin_mb(self) -> int:
        """What must be free beyond ``min_free_mb`` before a full card counts as free again."""
        return max(1, self._settings.min_free_mb // 20)

    def problem(self, was_full: bool) -> AgentError | None:
        """Return an error when there is no room to record; a card that was full until now is asked for a margin."""
        margin = self.margin_mb if was_full else 0
        with self._lock:
            if self._missing_bytes(margin) <= 0 or self._make_room(margin):
                return None
            return self._full()

    def care_for_reserve(self) -> None:
        """Free the reserve file when little more than it is left, whoever filled the card; else allocate it again."""
        with contextlib.suppress(OSError):
            free = disk_usage(self._folder).free
            if free < self._reserve.size:
                self._reserve.release_reserve()
            elif self._missing_bytes(self.margin_mb) <= 0 and free > 2 * self._reserve.size:
                self._reserve.allocate()

    def _full(self) -> AgentError:
        self._reserve.release_reserve()
        free = disk_usage(self._folder).free_mb
        limit = f"storage.min_free_mb asks for {self._settings.min_free_mb}"
        if self._settings.max_mb and self._usage.total() >= self._settings.max_mb * MEGABYTE:
            limit = f"storage.max_mb allows {self._settings.max_mb} for recordings"
        return AgentError(
            f"the disk of {self._folder} is full: {free} MB are free and {limit}",
            "deliver or delete recordings, or use a larger card",
        )

    def _missing_bytes(self, margin_mb: int) -> int:
        """Return how many bytes have to go; not more than 0 when there is room."""
        missing = (self._settings.min_free_mb + margin_mb) * MEGABYTE - disk_usage(self._folder).free
        if self._settings.max_mb:
            limit = (self._settings.max_mb - (margin_mb and 1)) * MEGABYTE
            missing = max(missing, self._usage.total() - limit)
        return missing

    def _make_room(self, margin_mb: int) -> bool:
        """Let recordings give way, a few at once; return whether there is room, or more of it can be made."""
        now = self._monotonic()
        self._stuck = {path: until for path, until in self._stuck.items() if until > now}
        tried = gone = 0
        for audio, entry, delivered in self._in_order_of_giving_way():
            if self._missing_bytes(margin_mb) <= 0:
                return True
            if tried >= AT_ONCE:
                return gone > 0
            if audio not in self._stuck:
                gone += self._give_way(audio, None if delivered else entry)
                tried += 1
        return self._missing_bytes(margin_mb) <= 0

    def _in_order_of_giving_way(self) -> Iterator[tuple[Path, Entry | None, bool]]:
        sent = self._usage.audio(self._files.sent)
        for name in sent:
            if name not in self._unconfirmed:
                entry = _sidecar_of(self._files.sent / name)
                if entry is not None and entry.verified:
                    yield self._files.sent / name, entry, True
                else:
                    self._unconfirmed.add(name)
        self._unconfirmed &= set(sent)
        for name in sorted(self._unconfirmed):
            yield self._files.sent / name, None, True
        if self._settings.when_full == "drop_oldest":
            held = []
            for name in self._usage.audio(self._files.outbox):
                audio = self._files.outbox / name
                entry = _sidecar_of(audio)
                if entry is not None and entry.status is Status.HELD:
                    held.append((audio, entry, False))
                elif entry is not None:
                    yield audio, entry, False
            yield from held

    def _give_way(self, audio: Path, undelivered: Entry | None) -> bool:
        """Prune what is delivered, drop what is not; False when somebody works on it, it has gone, or will not go.

        A deliverer that was killed leaves delivered ones in ``outbox/``: their sidecars say so, and they are no loss.

        Raises:
            OSError: the whole file system is read-only.
        """
        try:
            with claimed(audio) as mine:
                if not mine:
                    return False
                if undelivered is not None and (now := _sidecar_of(audio)) is not None:
                    undelivered = None if now.status is Status.UPLOADED else now
                self._remove(audio, undelivered)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.EROFS:  # no file is to blame
                raise
            (log.debug if self._stuck else log.warning)(
                "a recording cannot be removed to make room, and is passed over",
                action="prune_failed",
                path=str(audio),
                error=error,
            )
            self._stuck[audio] = self._monotonic() + AGAIN_SECONDS
            return False
        return True

    def _remove(self, audio: Path, undelivered: Entry | None) -> None:
        """Remove a pair; what was not delivered is in the gap log before, and no more when it would not go."""
        if undelivered is not None:
            self._note_dropped(undelivered, undelivered.duration_ms)
        try:
            self._disk.unlink(audio, "prune.unlink_audio")
        except OSError:
            if undelivered is not None:
                self._note_dropped(undelivered, 0)
            raise
        if undelivered is not None:
            log.error(
                "dropped undelivered: the card is full",
                action="recording_dropped",
                id=undelivered.id,
                seq=undelivered.seq,
            )
        with contextlib.suppress(
            OSError
        ):  # the sound is gone: a sidecar left behind is the deliverer's to remove
            self._disk.unlink(audio.with_suffix(SIDECAR), "prune.unlink_sidecar")
            self._disk.sync_folder(audio.parent, "prune.sync_folder")

    def _note_dropped(self, entry: Entry, milliseconds: int) -> None:
        """Note how much of a recording is dropped; 0 takes back what was noted."""
        self._gap_tracker.note(Cause.DROPPED, entry.started, milliseconds, entry.id)


def _sidecar_of(audio: Path) -> Entry | None:
    try:
        return sidecar.read(audio.with_suffix(SIDECAR))
    except OSError:
        return None


class FolderUsage:
    """What the recordings take, from a scan that is kept up to date: a folder that has not changed is not read again.

    Only regular files count. Finished files do not grow; the open one counts as it is.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known: dict[Path, tuple[int, dict[str, int]]] = {}

    def audio(self, folder: Path) -> list[str]:
        """Return the names of the audio files in a folder, oldest first."""
        return sorted(name for name in self._sizes(folder) if name.endswith(AUDIO))

    def total(self) -> int:
        """Return the bytes of all recordings."""
        finished = (self._files.outbox, self._files.sent, self._files.damaged)
        return sum(sum(self._sizes(folder).values()) for folder in finished) + sum(
            self._fresh(self._files.recording, {}).values()
        )

    def _sizes(self, folder: Path) -> dict[str, int]:
        try:
            changed = folder.stat().st_mtime_ns
        except OSError:
            return {}
        seen, sizes = self._known.get(folder, (0, {}))
        if seen != changed:
            sizes = self._fresh(folder, sizes)
            is_settled = time.time_ns() - changed > SETTLED_NS  # two changes may bear one time stamp
            self._known[folder] = (changed if is_settled else 0, sizes)
        return sizes

    @staticmethod
    def _fresh(folder: Path, known: dict[str, int]) -> dict[str, int]:
        """List a folder; what was known keeps its size."""
        sizes = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in known:
                    sizes[entry.name] = known[entry.name]
                else:
                    with contextlib.suppress(OSError):
                        if entry.is_file(follow_symlinks=False):
                            sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
        return sizes
