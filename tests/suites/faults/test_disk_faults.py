"""The card runs full, out of inodes, or fails; the daemon stays up and recovers by itself. Needs root."""

import contextlib
import itertools
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance import Daemon, Json, Machine, stored, wait_for
from rig import sabotage, say_figures, seconds_until
from speech import speech, write_wav

from agent.sandbox.server import SandboxServer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems")

RATE = 48_000
CARD_MB = 16
RESUMED_WITHIN = 30.0
ROUNDS = 3


@contextlib.contextmanager
def card(folder: Path, options: str = f"size={CARD_MB}m") -> Iterator[Path]:
    """Mount a small file system there."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def small_machine(tmp_path: Path, state: Path, server: SandboxServer | None, **storage: object) -> Machine:
    """Return a machine that records a file for ever, at a bitrate that fills a card."""
    machine = Machine(tmp_path / "machine", server)
    machine.state = state / "state"
    wav = write_wav(tmp_path / "loop.wav", RATE, 2, speech(RATE, 2, 20 * RATE))
    (tmp_path / "run").mkdir()
    machine.environment["RUNTIME_DIRECTORY"] = str(tmp_path / "run")
    machine.configure(
        audio={"input": f"file:{wav}?loop", "sample_rate": RATE, "channels": 2},
        opus={"bitrate_kbps": 320, "complexity": 0},
        recording={"mode": "continuous", "segment_seconds": 5},
        storage={"directory": str(machine.state), "min_free_mb": 2, **storage},
    )
    return machine


class OnCard:
    """Asks a daemon whose socket is not on the card."""

    def __init__(self, daemon: Daemon, runtime: Path) -> None:
        self.daemon = Daemon(daemon.process, runtime, daemon.log_file)

    @property
    def state(self) -> str:
        """What it does."""
        return str(self.daemon.status()["state"])

    @property
    def full(self) -> bool:
        """Whether it has stopped for want of room."""
        return self.state == "storage_full"

    @property
    def recording(self) -> bool:
        """Whether samples are written."""
        now = self.daemon.status()["recording"]
        return now is not None and now["duration_ms"] > 0


@contextlib.contextmanager
def running(machine: Machine, tmp_path: Path) -> Iterator[OnCard]:
    """Keep ``run`` going."""
    runtime = tmp_path / "run"
    with (machine.folder / "daemon.log").open("a") as log, machine.popen("run", stderr=log) as process:
        daemon = OnCard(Daemon(process, runtime, Path(log.name)), runtime)
        try:
            wait_for(daemon.daemon.answers)
            yield daemon
        finally:
            process.kill()
    assert "Traceback" not in Path(log.name).read_text()


def fill_with_recordings(machine: Machine, tmp_path: Path, daemon: OnCard) -> None:
    """Record long files until the daemon says that the card is full."""
    wav = tmp_path / "long.wav"
    if not wav.exists():
        write_wav(wav, RATE, 2, speech(RATE, 2, 60 * RATE))
    end = time.monotonic() + 60
    while not daemon.full:
        assert time.monotonic() < end
        machine.run("record", "--input", str(wav))


def gaps(machine: Machine, cause: str) -> list[Json]:
    """Return the gaps of one cause."""
    return [gap for gap in machine.ok("gaps", "--json").json if gap["cause"] == cause]


def test_a_card_that_runs_full_and_is_emptied_three_times(tmp_path: Path) -> None:
    """Offline it fills and recording stops; what is delivered makes room, and recording goes on within 30 s."""
    resumed = []
    with card(tmp_path / "card") as folder, SandboxServer(tmp_path / "sandbox") as server:
        machine = small_machine(tmp_path, folder, server)
        with running(machine, tmp_path) as daemon:
            wait_for(lambda: daemon.recording)
            for _ in range(ROUNDS):
                server.stop()
                fill_with_recordings(machine, tmp_path, daemon)
                assert daemon.daemon.status()["storage"]["full"]
                server.start()
                machine.run("sync")
                resumed.append(seconds_until(lambda: daemon.recording, 60))
            assert daemon.daemon.stop() == 0
        machine.run("sync")
        rows = machine.queue()
        sent = {
            recording.metadata["client_recording_id"] for recording in server.state.recordings.by_id.values()
        }
        assert all(len(stored(server, identifier)) == 1 for identifier in sent)
        assert gaps(machine, "dropped") == []
        assert len(gaps(machine, "storage")) >= ROUNDS
        assert {row["status"] for row in rows} == {"uploaded"}

    say_figures("recording again after the delivery", resumed)
    assert max(resumed) < RESUMED_WITHIN


def test_drop_oldest_goes_on_recording(tmp_path: Path) -> None:
    """With ``when_full = "drop_oldest"`` the oldest go first, each in ledger and log."""
    with card(tmp_path / "card") as folder:
        machine = small_machine(tmp_path, folder, None, when_full="drop_oldest")
        with running(machine, tmp_path) as daemon:
            wait_for(lambda: daemon.recording)
            wav = write_wav(tmp_path / "long.wav", RATE, 2, speech(RATE, 2, 60 * RATE))
            said = "".join(machine.run("record", "--input", str(wav)).err for _ in range(12))
            wait_for(lambda: bool(gaps(machine, "dropped")), 30)
            assert seconds_until(lambda: daemon.recording, 30) < RESUMED_WITHIN
            assert daemon.daemon.stop() == 0
        dropped = {gap["recording_id"] for gap in gaps(machine, "dropped")}
        newest = max(gap["from"] for gap in gaps(machine, "dropped"))
        left = machine.queue()
    log = said + (machine.folder / "daemon.log").read_text()
    logged = dict(re.findall(r"recording_dropped .*? id=(\S+) seq=(\d+)", log))
    assert dropped == set(logged)
    # The oldest and no other: an older one stays only where it was open while a newer one was recorded.
    gone = set(map(int, logged.values()))
    older = [row for row in left if row["seq"] < max(gone)]
    assert gone | {row["seq"] for row in older} == set(range(1, max(gone) + 1))
    assert all(row["ended_at"] is None or row["ended_at"] > newest for row in older)


@pytest.mark.parametrize("what", ["blocks", "inodes"])
def test_a_card_that_others_fill_up(tmp_path: Path, what: str) -> None:
    """No block, or no inode, is left: the daemon says so, and room alone lets it go on."""
    options = f"size={CARD_MB}m,nr_inodes=60"
    with card(tmp_path / "card", options) as folder:
        machine = small_machine(tmp_path, folder, None, min_free_mb=0)
        with running(machine, tmp_path) as daemon:
            wait_for(lambda: daemon.recording)
            time.sleep(7)
            foreign = list(hog(folder, what))
            noticed = seconds_until(lambda: daemon.full, 20)
            time.sleep(1)
            assert daemon.daemon.process.poll() is None
            written = (machine.state / "gaps.jsonl").read_text()
            for path in foreign:
                path.unlink()
            resumed = seconds_until(lambda: daemon.recording, 60)
            time.sleep(2)
            assert daemon.daemon.stop() == 0
        rows = machine.queue()
        judge_files(machine, rows)

    say_figures(f"no {what}: noticed after", [noticed])
    say_figures(f"no {what}: recording again after", [resumed])
    assert noticed < 20
    assert resumed < RESUMED_WITHIN
    if what == "blocks":  # the ballast made room for it
        assert '"storage"' in written


def hog(folder: Path, what: str) -> Iterator[Path]:
    """Take all that is left."""
    for number in itertools.count():
        path = folder / f"foreign-{number}"
        try:
            path.touch()
            yield path
            if what == "blocks":
                with path.open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
        except OSError:
            return


def judge_files(machine: Machine, rows: list[Json]) -> None:
    """Every row has its whole file, every file its row, and nothing lies in ``recording/``."""
    assert {Path(row["path"]) for row in rows} == set((machine.state / "outbox").glob("*.opus"))
    assert not list((machine.state / "recording").iterdir())
    for row in rows:
        done = subprocess.run(["opusinfo", row["path"]], capture_output=True, text=True, check=False)
        assert "WARNING" not in done.stdout + done.stderr
        assert row["size_bytes"] == Path(row["path"]).stat().st_size


@pytest.mark.parametrize("call", ["fdatasync", "fsync", "pwrite64"])
def test_a_card_with_io_errors(tmp_path: Path, call: str) -> None:
    """For three seconds each sync, or each write of the index, fails with EIO: it recovers by itself."""
    with card(tmp_path / "card") as folder:
        machine = small_machine(tmp_path, folder, None)
        with running(machine, tmp_path) as daemon:
            wait_for(lambda: daemon.recording)
            time.sleep(1)
            inject(daemon.daemon.process.pid, call, 7.0)
            assert daemon.daemon.process.poll() is None
            resumed = seconds_until(lambda: daemon.recording, 60)
            time.sleep(8)
            assert daemon.daemon.stop() == 0
        assert machine.run("repair").code == 0
        judge_files(machine, machine.queue())

    say_figures(f"{call} EIO: recording again after", [resumed])
    assert resumed < RESUMED_WITHIN


def inject(pid: int, call: str, seconds: float) -> None:
    """Let a system call of a process fail for a while."""
    command = ["strace", "-f", "-q", "-o", "/dev/null", "-p", str(pid), "-e", f"inject={call}:error=EIO"]
    with subprocess.Popen([*command, "-e", f"trace={call}"]) as strace:
        time.sleep(seconds)
        strace.send_signal(signal.SIGINT)


def test_a_card_that_turns_read_only_and_is_repaired(tmp_path: Path) -> None:
    """An ext4 gives up while recording: it is called read-only, can be unmounted, checked and mounted, and is used."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    mount = tmp_path / "card"
    mount.mkdir()
    mounting = ["mount", "-o", "loop,errors=remount-ro", str(image), str(mount)]
    subprocess.run(mounting, check=True)
    try:
        machine = small_machine(tmp_path, mount, None, min_free_mb=0)
        with running(machine, tmp_path) as daemon:
            wait_for(lambda: daemon.recording)
            pids = process_ids(mount)
            time.sleep(7)
            subprocess.run(["mount", "-o", "remount,abort", mount], check=False)
            noticed = seconds_until(lambda: daemon.state == "fault", 30)
            assert "is read-only" in daemon.daemon.status()["fault"]
            let_go = seconds_until(lambda: not process_ids(mount), 40)
            subprocess.run(["umount", mount], check=True)
            time.sleep(11)
            assert not list(mount.iterdir())
            checked = subprocess.run(["e2fsck", "-fp", image], capture_output=True, check=False)
            assert checked.returncode in {0, 1}, checked.stdout
            subprocess.run(mounting, check=True)
            resumed = seconds_until(lambda: daemon.recording, 60)
            time.sleep(8)
            assert process_ids(mount) == pids
            second = machine.run("run", "--only", "recorder")
            assert "already works on" in second.err
            assert daemon.daemon.process.poll() is None
            assert daemon.daemon.stop() == 0
        assert [gap["cause"] for gap in machine.ok("gaps", "--json").json if gap["seconds"] > 5] == [
            "storage"
        ]
        judge_files(machine, machine.queue())
    finally:
        subprocess.run(["umount", "-l", mount], check=True)
    say_figures("read-only: noticed after", [noticed])
    say_figures("read-only: nothing kept open after", [let_go])
    say_figures("mounted again: recording after", [resumed])
    assert noticed < 30
    assert let_go < 30
    assert resumed < RESUMED_WITHIN


def process_ids(mount: Path) -> set[int]:
    """Return which processes have a file open below a mount point."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if link.readlink().is_relative_to(mount):
                found.add(int(link.parts[2]))
    return found


def test_the_figures_fail_when_a_full_card_is_never_tried_again(tmp_path: Path) -> None:
    """A control: with the next look at the card an hour away, room is not used within 30 s."""
    with card(tmp_path / "card", f"size={CARD_MB}m,nr_inodes=60") as folder:
        machine = small_machine(tmp_path, folder, None, min_free_mb=0)
        sabotage(machine, "import agent.recording.storage_watch as w\nw.RETRY_SECONDS = 3600.0")
        with running(machine, tmp_path) as daemon:
            wait_for(lambda: daemon.recording)
            foreign = list(hog(folder, "blocks"))
            wait_for(lambda: daemon.full)
            for path in foreign:
                path.unlink()
            assert seconds_until(lambda: daemon.recording, RESUMED_WITHIN) == float("inf")
