"""What stands in the way at a name of ours: set aside or left alone, named, and never followed or waited for."""

import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance import Machine, machine, server
from logcapture import capture_logs
from owners import recorded

from agent.audio.ogg import read_summary
from agent.audio.ogg_page import build_page
from agent.audio.ogg_repair import holds_sound, plan_repair
from agent.clock import Instant
from agent.config.loader import LoadedConfig
from agent.config.schema import Config
from agent.deliverer.daybook import DELIVERY_DAY
from agent.deliverer.takeover import take_over
from agent.disk import Disk
from agent.gaps.log import FILE, Cause, Gap, GapLog
from agent.index.findings import Findings
from agent.outbox.files import digest
from agent.process.state_directory import StateDirectory, bind, resolve
from agent.process.state_lock import StateLock, holder_of, is_held
from agent.recorder.last_good import keep
from agent.recording.days.dayfile import DayFile, read_days
from agent.recording.days.days import DELIVERY_FILE as DELIVERY_DAYS
from agent.recording.days.days import DeliveryDay
from agent.recording.segment import is_being_written
from agent.small_file import open_file
from agent.status.published_file import replace
from agent.token.bindings import TokenLock

__all__ = ["machine", "server"]


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        bind(listener, path)


IN_THE_WAY: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
    "socket": a_socket,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path.name),
}
ways = pytest.mark.parametrize("kind", IN_THE_WAY)


@ways
def test_nothing_is_read_that_is_no_file(tmp_path: Path, kind: str) -> None:
    """Whoever reads sound, hashes or asks for a lock gets an OSError at once; nobody reads a device for ever."""
    path = tmp_path / "a.opus"
    IN_THE_WAY[kind](path)
    for reader in (read_summary, plan_repair, holds_sound, digest, open_file):
        with pytest.raises(OSError, match=str(path)):
            reader(path)
    assert not is_being_written(path)


@ways
def test_a_small_file_takes_its_place(tmp_path: Path, kind: str) -> None:
    """At its own name and at its temporary one: the new contents are there, and a folder's are kept."""
    writers: list[Callable[[Path], object]] = [
        lambda path: Disk().replace(path, b"new", "test"),
        lambda path: replace(path, b"new", 0o600),
    ]
    for write in writers:
        for name, temporary in (("one", "one"), ("two", "two.tmp"), ("three", ".three.new")):
            IN_THE_WAY[kind](tmp_path / temporary)
            write(tmp_path / name)
            assert (tmp_path / name).read_bytes() == b"new"
            assert stat.S_ISREG((tmp_path / name).lstat().st_mode)
        for path in tmp_path.iterdir():
            path.rmdir() if path.is_dir() else path.unlink()


@ways
def test_a_lock_is_taken_and_nothing_planted_is_used(tmp_path: Path, kind: str) -> None:
    """The state's and the token's: what stands there is set aside; the lock is a file of its own."""
    IN_THE_WAY[kind](tmp_path / "daemon.lock")
    assert not is_held(tmp_path / "daemon.lock")
    lock = StateLock(tmp_path / "daemon.lock")
    with lock:
        assert stat.S_ISREG((tmp_path / "daemon.lock").lstat().st_mode)
        assert (holder_of(tmp_path / "daemon.lock") or 0) != 0
        assert is_held(tmp_path / "daemon.lock")
    IN_THE_WAY[kind](tmp_path / "token.lock")
    with TokenLock(tmp_path / "token.lock"):
        assert stat.S_ISREG((tmp_path / "token.lock").lstat().st_mode)
    assert len(list(tmp_path.glob("*.foreign"))) == 2


@ways
def test_the_line_of_a_day_is_written(tmp_path: Path, kind: str) -> None:
    """Whatever stands at its name, the file begins anew."""
    IN_THE_WAY[kind](tmp_path / DELIVERY_DAYS)
    file = DayFile(tmp_path / DELIVERY_DAYS, Disk(), DELIVERY_DAY)
    file.write([DeliveryDay("2026-11-27", 1, 1, 1, 1)])
    assert list(read_days(tmp_path / DELIVERY_DAYS, DELIVERY_DAY)) == ["2026-11-27"]


@ways
def test_a_gap_is_noted(tmp_path: Path, kind: str) -> None:
    """What stands at the log's name is set aside, and a new one begins."""
    IN_THE_WAY[kind](tmp_path / FILE)
    assert GapLog(tmp_path, Disk()).add(Gap(Cause.MUTED, Instant(1, "b", 1, "ntp"), None, 5))
    assert (tmp_path / FILE).read_bytes().count(b"\n") == 1


@ways
def test_settings_are_kept_in_the_place_of_what_stands_there(tmp_path: Path, kind: str) -> None:
    """Nobody waits for a FIFO at a start."""
    good, copy = tmp_path / "config.toml", tmp_path / "config.last-good.toml"
    good.write_text('[log]\nlevel = "info"\n')
    IN_THE_WAY[kind](copy)
    keep(good, copy, Disk())
    assert copy.read_bytes() == good.read_bytes()


@pytest.mark.parametrize("kind", [kind for kind in IN_THE_WAY if kind != "folder"])
def test_the_four_folders_are_made(tmp_path: Path, kind: str) -> None:
    """What stands at the name of one is set aside, and said; a mode that shuts out its owner is mended."""
    state = StateDirectory(tmp_path / "state", tmp_path)
    state.path.mkdir(mode=0o700)
    IN_THE_WAY[kind](state.recording)
    state.outbox.mkdir(mode=0)
    with capture_logs() as logs:
        state.create()
    assert [line["action"] for line in logs] == ["state_foreign"]
    modes = {
        stat.S_IMODE(each.lstat().st_mode)
        for each in (state.recording, state.outbox, state.sent, state.damaged)
    }
    assert modes == {0o700}
    state.create()


def test_a_file_at_the_runtime_folder_s_name_is_left_alone(tmp_path: Path) -> None:
    """Another folder is used, for the owner alone."""
    loaded = LoadedConfig(Config(), None)
    environ = {"STATE_DIRECTORY": str(tmp_path / "state"), "XDG_RUNTIME_DIR": str(tmp_path)}
    state = resolve(loaded, environ)
    state.runtime.write_text("precious")
    used = state.create_runtime().runtime
    try:
        assert used != state.runtime
        assert (stat.S_IMODE(used.stat().st_mode), used.stat().st_uid) == (0o700, os.geteuid())
        assert state.runtime.read_text() == "precious"
    finally:
        used.rmdir()


def test_nothing_that_is_no_token_takes_the_place_of_one(tmp_path: Path) -> None:
    """Rubbish at the old place of the token stays there; a token moves."""
    (tmp_path / "device-token").write_bytes(bytes(1 << 20))
    take_over(tmp_path, Disk())
    assert not (tmp_path / "token" / "device-token").exists()
    (tmp_path / "device-token").write_text("dtok_good\n")
    (tmp_path / "device-token").chmod(0o600)
    take_over(tmp_path, Disk())
    assert (tmp_path / "token" / "device-token").read_text() == "dtok_good\n"


def test_what_is_left_alone_is_said_once(tmp_path: Path) -> None:
    """Each finding has its sentence, the log has it once; a fault of the disk is nobody's own."""
    with capture_logs() as logs:
        for _ in range(3):
            findings = Findings()
            with findings.of_one(tmp_path / "odd-one"):
                refuse(PermissionError(13, "Permission denied"))
            assert findings.sentences == ["odd-one: cannot be used (Permission denied), left alone"]
    assert len(logs) == 1
    with pytest.raises(OSError, match="No space"), Findings().of_one(tmp_path):
        refuse(OSError(28, "No space left on device"))


def refuse(error: OSError) -> None:
    """Fail as a disk does."""
    raise error


def test_a_terabyte_of_nothing_is_looked_through_at_once(tmp_path: Path) -> None:
    """A torn file may claim any size: its holes are passed over, and a page behind them is found."""
    path = tmp_path / "a.opus.part"
    path.write_bytes(b"rubbish")
    os.truncate(path, 1 << 40)
    began = time.monotonic()
    assert not holds_sound(path)
    with path.open("r+b") as file:
        file.seek(1 << 39)
        file.write(
            b"x" * 70_000 + build_page(serial=1, sequence=3, granule=960, flags=0, lacing=b"\x02", body=b"ab")
        )
    assert holds_sound(path)
    assert time.monotonic() - began < 5


@ways
def test_repair_names_what_is_no_recording_and_the_others_are_delivered(machine: Machine, kind: str) -> None:
    """In the place of a waiting recording, of an open and of a sent one: named, left alone, in nobody's way."""
    kept, gone = (str(recorded(machine)["id"]) for _ in range(2))
    (audio,) = (machine.state / "outbox").glob(f"*{gone}.opus")
    audio.unlink()
    for path in (audio, machine.state / "recording" / "x.opus.part", machine.state / "sent" / "x.opus"):
        IN_THE_WAY[kind](path)
    told = machine.run("repair").out
    assert f"{audio.name}: is not a regular file, left alone" in told
    assert "x.opus: is not a regular file, left alone" in told
    machine.run("sync")
    assert {row["id"] for row in machine.queue() if row["status"] == "uploaded"} == {kept}
    assert os.path.lexists(audio)
