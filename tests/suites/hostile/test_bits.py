"""Every bit of every small file that the two processes keep, flipped, and read by what reads it in the product."""

import shutil
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from used_card import Device, place, template

from agent.audio.ogg import NotOggOpus, read_summary
from agent.audio.ogg_repair import Unrepairable, plan_repair
from agent.clock import SystemClock
from agent.config.loader import load
from agent.disk import Disk, share_with_nobody
from agent.errors import AgentError, ConfigError, CredentialError
from agent.host.boot import boot_id
from agent.outbox import sidecar
from agent.outbox.files import Files
from agent.process.state_directory import Process, StateDirectory
from agent.process.state_lock import holder_of, named
from agent.recorder.account.memory import Memory
from agent.recorder.binding import BindingFile
from agent.recording.asked.marks import Marks
from agent.recording.days.gapsfile import read_gaps
from agent.recording.segment import SegmentStart
from agent.status.other_process import deliverer_seen, delivery_state, recorder_seen
from agent.status.process_documents import delivery_fields, recorder_fields
from agent.sync.remote.processed_commands import ProcessedCommands
from agent.sync.rules.data_usage import DataUsage
from agent.timing.known_time import KnownTime
from agent.timing.time_sync import TimeSync
from agent.token.store import Credentials

__all__ = ["place", "template"]

HEADER_BYTES = 1500
"""Of a sound file: both headers, and the first page of sound."""
BOOT = boot_id()
NOBODY_KNOWS = dict.fromkeys(("HOME",), "/nonexistent")


class ReadingDisk(Disk):
    """A disk on which nothing is kept."""

    def replace(
        self,
        path: Path,
        data: bytes,
        step: str,
        share: Callable[[int], object] = share_with_nobody,
        *,
        name_synced: bool = True,
    ) -> None:
        """Take the bytes."""


def _time(folder: Path) -> None:
    known = KnownTime(SystemClock(), BOOT, lambda: "unsynchronized")
    known.read_clock(folder)
    known.instant(0.0)


def _boots(folder: Path) -> None:
    time = TimeSync(folder, ReadingDisk(), SystemClock(), BOOT, lambda: "unsynchronized")
    time.tell()
    time.learn_from_server(1_790_000_000.0, 0.0, 0.1)
    time.corrected(time.instant(0.0))


def _memory(folder: Path) -> None:
    memory = Memory(folder, ReadingDisk(), Files(folder, ReadingDisk()))
    time = KnownTime(SystemClock(), BOOT, lambda: None)
    if memory.until is not None:
        time.elapsed_ms(memory.until, time.instant(0.0))
    assert 0 < memory.next_number() <= 2**53 + 1
    msgspec.json.encode([memory.until, memory.absences, memory.recording, memory.mode])


def _binding(folder: Path) -> None:
    assert len(BindingFile(folder, None).current() or "") <= 8


def _commands(folder: Path) -> None:
    time = KnownTime(SystemClock(), BOOT, lambda: None)
    ProcessedCommands(folder, ReadingDisk(), lambda: time.instant(0.0)).add(["cmd_1"])


def _usage(folder: Path) -> None:
    usage = DataUsage(folder, ReadingDisk(), (1, 1), lambda: 1_790_000_000.0, ZoneInfo("UTC"))
    assert usage.used().total >= 0


def _marks(folder: Path) -> None:
    marks = Marks(folder, ReadingDisk())
    for recording in list(marks._kept):
        msgspec.json.encode(marks.of(recording))


def _gaps(folder: Path) -> None:
    msgspec.json.encode(read_gaps(folder))


def _lock(process: Process) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        state = StateDirectory(folder, folder)
        holder_of(state.lock_of(process))
        assert len(named(state.lock_of(process))) < 300
        assert state.runtime_of(process).is_absolute()

    return read


def _credentials(folder: Path) -> None:
    credentials = Credentials(folder / "token", str(folder / "other-token"), {}, ReadingDisk())
    try:
        credentials.token()
        credentials.watch()()
    except CredentialError as error:
        assert str(error).isprintable()  # noqa: PT017 - which of the two it is depends on the bit
    credentials.bindings.allows("0" * 8, None, "1" * 8)


def _delivery(folder: Path) -> None:
    state = StateDirectory(folder, folder)
    with state.lock(Process.DELIVERER):
        seen = deliverer_seen(state, boot_id=BOOT, monotonic=lambda: 1.0).poll()
    if seen.document is not None:
        delivery_fields(seen.document)
    delivery_state(seen)


def _recorder(folder: Path) -> None:
    state = StateDirectory(folder, folder)
    with state.lock(Process.RECORDER):
        seen = recorder_seen(state, boot_id=BOOT, monotonic=lambda: 1.0).poll()
    if seen.document is not None:
        recorder_fields(seen.document)
        assert not seen.is_hung


def _sidecar(folder: Path) -> None:
    for path in folder.glob("*.json"):
        if (entry := sidecar.read(path)) is not None:
            msgspec.json.encode(entry)
            _ = entry.duration_ms, entry.status


def _sound(folder: Path) -> None:
    for path in folder.glob("*.part"):
        try:
            SegmentStart.from_tags(read_summary(path).tags)
            plan_repair(path)
        except (NotOggOpus, Unrepairable):
            continue


def _settings(folder: Path) -> None:
    try:
        load(folder / "config.last-good.toml", {})
    except ConfigError as error:
        assert len(str(error)) < 100_000  # noqa: PT017 - which of the two it is depends on the bit


READERS: dict[str, Callable[[Path], None]] = {
    "clock.json": _time,
    "boots.json": _boots,
    "recorder.json": _memory,
    "binding": _binding,
    "commands.json": _commands,
    "data-usage.json": _usage,
    "marks.json": _marks,
    "gaps.jsonl": _gaps,
    "daemon.lock": _lock(Process.RECORDER),
    "delivery.lock": _lock(Process.DELIVERER),
    "token/lineages.json": _credentials,
    "token/device-token.json": _credentials,
    "token/device-token": _credentials,
    "delivery.json": _delivery,
    "recorder-status.json": _recorder,
    "a sidecar": _sidecar,
    "an open file": _sound,
    "config.last-good.toml": _settings,
}


@pytest.fixture(scope="module")
def kept(template: Device, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a device that has been in use, in one folder, with a token of its own."""
    folder = tmp_path_factory.mktemp("bits")
    state, runtime = template.machine.state, template.state.runtime_of(Process.RECORDER)
    for source in (*state.iterdir(), runtime / "delivery.json", runtime / "recorder-status.json"):
        if source.is_file() and not source.is_symlink():
            shutil.copy(source, folder)
    shutil.copytree(state / "token", folder / "token")
    (folder / "token" / "device-token").write_text("dtok_own\n")
    (folder / "token" / "device-token").chmod(0o600)
    (folder / "other-token").write_text("dtok_other\n")
    (folder / "other-token").chmod(0o600)
    (folder / "a sidecar").write_bytes(next((state / "outbox").glob("*.json")).read_bytes())
    part = next((state / "recording").glob("*.part"))
    (folder / "an open file").write_bytes(part.read_bytes()[:HEADER_BYTES])
    return folder


@pytest.mark.parametrize("name", READERS)
def test_every_bit_of_a_small_file(kept: Path, template: Device, tmp_path: Path, name: str) -> None:
    """Whatever one bit says, its reader goes on: a value of the type, or none, or its own one kind of failure."""
    data = (kept / name).read_bytes()
    assert data, "it is not there"
    folder = tmp_path / "state"
    shutil.copytree(kept, folder)
    target = folder / name
    if name == "a sidecar":
        folder = tmp_path / "sidecars"
        folder.mkdir()
        target = folder / next((template.machine.state / "outbox").glob("*.json")).name
    if name == "an open file":
        folder = tmp_path / "open"
        folder.mkdir()
        target = folder / next((template.machine.state / "recording").glob("*.part")).name
    wrong = []
    for bit in range(len(data.rstrip(b" ")) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        target.write_bytes(flipped)
        try:
            READERS[name](folder)
        except Exception as error:  # noqa: BLE001 - any is what is looked for
            wrong.append(
                f"bit {bit}: {error!r}, {'of ours' if isinstance(error, AgentError) else 'of nobody'}"
            )
    assert wrong == []
    print(f"{name}: {len(data) * 8} bits")


def test_a_reader_that_passes_no_door_is_noticed(kept: Path, tmp_path: Path) -> None:
    """A control: reading a file without the door raises for one bit or another."""
    target = tmp_path / "recorder.json"
    data = (kept / "recorder.json").read_bytes()
    failed = 0
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        target.write_bytes(flipped)
        try:
            msgspec.json.decode(target.read_bytes(), type=dict[str, object])
        except Exception:  # noqa: BLE001 - any counts
            failed += 1
    assert failed > 0
