"""One file being written, durably: recording procedures P1, P2 and P4."""

import contextlib
import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from agent import __version__
from agent.audio.loudness import Loudness, LoudnessMeter
from agent.audio.ogg import OggOpusWriter, OpusHead
from agent.audio.ogg_page import granule_of
from agent.audio.opus import OpusEncoder, libopus_version
from agent.bounds import Channels, LocalId, SampleRate, Sequence, Text, Word
from agent.clock import Instant, Interval, rfc3339
from agent.disk import Disk
from agent.recording.listening.ring import Prelude, pre_skip_of
from agent.sha256 import new_sha256
from agent.small_file import SHORT_OF_MEANS, UnusableFile, decode, open_file

START_TAG = "RECORDER_AGENT"
"""The OpusTags comment that holds the ``SegmentStart`` as JSON."""
PART = ".part"
"""What an unfinished file's name ends with."""
NEW = ".new"
"""What it ends with until it is locked and has its headers: nobody but the recorder looks at it."""


class SegmentStart(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that is known about a segment before its first sample is encoded."""

    id: LocalId
    seq: Sequence
    session_id: LocalId
    segment: Sequence
    mode: Word
    started: Instant
    sample_rate: SampleRate
    channels: Channels
    name: Text | None = None
    """A person's own name for the recording; None: rendered from ``recording.name`` when sent."""
    metadata: dict[str, Any] = {}
    binding: Word | None = msgspec.field(name="lineage", default=None)
    """Under which binding of the device the audio was captured (api.md section 7)."""

    @property
    def stem(self) -> str:
        """The file name without its ending: UTC time, sequence, local id."""
        moment = datetime.fromtimestamp(self.started.wall_ms // 1000, tz=UTC)
        return f"{moment:%Y%m%dT%H%M%SZ}-{self.seq:08d}-{self.id}"

    @staticmethod
    def from_tags(tags: dict[str, str]) -> "SegmentStart | None":
        """Read the start back from a file's OpusTags; None when they are not ours."""
        try:
            return decode(START, tags[START_TAG].encode())
        except (KeyError, UnusableFile):
            return None


START = msgspec.json.Decoder(SegmentStart)


def end_of(start: SegmentStart, samples: int) -> Instant:
    """Return the instant at which the last of a file's samples ends."""
    return start.started.later(samples * 1000 // start.sample_rate)


class FinishedSegment(msgspec.Struct, frozen=True):
    """A whole, durable file under its ``.part`` name, ready to be taken over by the outbox."""

    start: SegmentStart
    path: Path
    samples: int
    """Per channel."""
    size_bytes: int
    sha256: str
    recovered: bool = False
    gap_samples: int = 0
    """Silence written in the place of lost samples."""
    overflows: int = 0
    clipped: int = 0
    loudness: Loudness | None = None
    """None: of a file that was repaired it is not known."""


class OpenSegment:
    """The file that is being recorded into.

    Not thread-safe: one thread opens, feeds and finishes it. Raises OSError as the disk gives it.
    """

    def __init__(
        self,
        start: SegmentStart,
        folder: Path,
        *,
        encoder: OpusEncoder,
        disk: Disk,
        flush: Interval,
        prelude: Prelude | None = None,
    ) -> None:
        self.start = start
        self.path = folder / f"{start.stem}.opus{PART}"
        self.samples = 0
        self.gap_samples = 0
        self.overflows = 0
        self.clipped = 0
        self._loudness = LoudnessMeter(start.sample_rate, start.channels)
        self._encoder = encoder
        self._disk = disk
        self._flush = flush
        self._pending = bytearray()
        self._frame_48k = encoder.frame_samples * 48000 // start.sample_rate
        self._frames = 0
        self._hash = new_sha256()
        self.size_bytes = 0
        """What the file has grown to."""
        self._granule = 0
        self._pre_skip = pre_skip_of(encoder, prelude, start.sample_rate)
        if prelude is None:
            encoder.reset()
        opening = self.path.with_suffix(NEW)
        self._file = disk.create(opening, "open.create")
        try:
            lock_open_file(self._file)
            self._writer = self._begin(start)
            disk.sync(self._file, "open.sync")
            disk.rename(opening, self.path, "open.rename")
            disk.sync_folder(folder, "open.sync_folder")
            self._step = "write.page"
            if prelude is not None:
                self._begin_with(prelude)
        except OSError:
            with contextlib.suppress(OSError):
                disk.unlink(opening, "open.undo_new")
            self.abandon()
            raise
        except BaseException:
            self._file.close()
            raise
        self._flush.restart()

    def _begin(self, start: SegmentStart) -> OggOpusWriter:
        self._step = "open.headers"
        writer = OggOpusWriter(
            self._append,
            OpusHead(start.channels, self._pre_skip, start.sample_rate),
            serial=int.from_bytes(os.urandom(4)),
            vendor=libopus_version(),
            tags=[
                ("ENCODER", f"recorder-agent/{__version__}"),
                ("DATE", rfc3339(start.started.wall_ms)),
                (START_TAG, msgspec.json.encode(start).decode()),
            ],
        )
        writer.write_headers()
        return writer

    def _begin_with(self, prelude: Prelude) -> None:
        """Write what was encoded before; the encoder goes on from there."""
        values = prelude.frame_samples * self.start.channels
        for number, packet in enumerate(prelude.packets()):
            self._writer.packet(packet.data, self._frame_48k)
            if number >= prelude.lead:
                self._loudness.add_measured(values, packet.measured, packet.clipped)
                self.clipped += packet.clipped
        self._frames = prelude.frames
        self._pending += prelude.pending
        self._loudness.add(prelude.pending)
        self.samples = prelude.samples
        self.overflows = len(prelude.gaps)
        self.gap_samples = sum(count for _, count in prelude.gaps)

    def _append(self, page: bytes) -> None:
        self._disk.write(self._file, page, self._step)
        self._hash.update(page)
        self.size_bytes += len(page)
        self._granule = max(self._granule, granule_of(page))

    @property
    def duration_ms(self) -> int:
        """What was handed in so far."""
        return self.samples * 1000 // self.start.sample_rate

    @property
    def unwritten_samples(self) -> int:
        """How many of the samples handed in are in no page that the disk has taken, per channel."""
        written = max(0, self._granule - self._pre_skip) * self.start.sample_rate // 48000
        return max(0, self.samples - written)

    def write(self, samples: bytes | memoryview) -> None:
        """Take whole samples (s16le, channels interleaved) of any number."""
        self.samples += len(samples) // (2 * self.start.channels)
        self._loudness.add(samples)
        frame_bytes = self._encoder.frame_bytes
        if self._pending:
            missing = frame_bytes - len(self._pending)
            self._pending += samples[:missing]
            if len(self._pending) < frame_bytes:
                return
            self._encode(bytes(self._pending))
            self._pending.clear()
            samples = samples[missing:]
        whole = len(samples) - len(samples) % frame_bytes
        self._encode(samples[:whole])
        self._pending += samples[whole:]

    def _encode(self, frames: bytes | memoryview) -> None:
        for packet in self._encoder.encode_frames(frames):
            self._writer.packet(packet, self._frame_48k)
            self._frames += 1

    def flush_if_due(self) -> bool:
        """Make what was handed in durable, but for one frame, when the ``flush`` interval is over; say if it was."""
        if not self._flush.is_over:
            return False
        self._writer.flush()
        self._disk.sync_data(self._file, "write.sync")
        self._flush.restart()
        return True

    def finish(self) -> FinishedSegment:
        """End the stream and make it durable; ``release`` lets go of the file afterwards."""
        total_48k = self.samples * 48000 // self.start.sample_rate
        silence = bytes(self._encoder.frame_bytes)
        if self._pending:
            self._encode(bytes(self._pending).ljust(self._encoder.frame_bytes, b"\0"))
            self._pending.clear()
        while self._frames < self._encoder.frames_for(self.samples):
            self._encode(silence)
        self._step = "finish.last_page"
        self._writer.finish(total_48k)
        self._disk.sync_data(self._file, "finish.sync")
        return FinishedSegment(
            self.start,
            self.path,
            self.samples,
            self.size_bytes,
            self._hash.hexdigest(),
            gap_samples=self.gap_samples,
            overflows=self.overflows,
            clipped=self.clipped,
            loudness=self._loudness.loudness,
        )

    def discard(self) -> None:
        """Remove the file: the owner wants no recording as short as this."""
        self._disk.unlink(self.path, "drop.unlink")
        with contextlib.suppress(OSError):  # gone it is, and what is gone has to be noted
            self._disk.sync_folder(self.path.parent, "drop.sync_folder")

    def abandon(self) -> None:
        """Close the file as it is, for repair to take up; without a whole page of sound it goes, nothing is in it.

        What it has is made durable if the disk lets it: the gap that begins here counts on it.
        """
        if self._granule:
            with contextlib.suppress(OSError):  # it has failed before, and is let go of in any case
                self._disk.sync_data(self._file, "abandon.sync")
        else:
            with contextlib.suppress(
                OSError
            ):  # a disk that failed may refuse this too; repair finds the file
                self._disk.unlink(self.path, "open.undo")
        self.release()

    def release(self) -> None:
        """Close the file, and with it the lock that says somebody is writing."""
        self._file.close()


def lock_open_file(file: BinaryIO) -> bool:
    """Say that this process works on the file; False when another one does."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def discard_never_begun(folder: Path, disk: Disk) -> None:
    """Remove files whose opening was cut short, before they had a sample; at a start, or where no recorder runs."""
    for path in sorted(folder.glob(f"*{NEW}")):
        with contextlib.suppress(OSError):
            if not path.is_symlink() and path.is_file() and not is_being_written(path):
                disk.unlink(path, "open.unlink_leftover")


def is_being_written(path: Path) -> bool:
    """Whether a process has the file open for recording; of what cannot be opened, where that says nothing about it."""
    try:
        with open_file(path, os.O_RDWR) as file:
            return not lock_open_file(file)
    except OSError as error:
        return error.errno in SHORT_OF_MEANS
