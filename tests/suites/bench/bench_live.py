"""What recording a microphone costs: all processes of the service and two pipelines, side by side on one microphone."""

import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from bench_cpu import COMPLEXITY, FRAME_MS, KBITS, RATE
from bench_device import Device
from bench_memory import CAPTURE, DELIVERER, child_of, daemon, speaking

SETTLED_SECONDS = 4.0
"""All have started by then, and the service has looked through its folders."""
ARECORD, FFMPEG = "arecord | opusenc", "ffmpeg"
SERVICE = ("recorder", "capture", "deliverer")
BEGIN_SECONDS = 20.0
END_SECONDS = 5.0


class Live(NamedTuple):
    """Processor time of the same seconds of the same microphone."""

    seconds: dict[str, float]
    """By process of the service, and by pipeline."""

    @property
    def service(self) -> float:
        """All three processes."""
        return sum(self.seconds[name] for name in SERVICE)


def measure(device: Device, wav: Path, window_seconds: float) -> Live:
    """Let the service and both pipelines hear one microphone at once, and count what each uses."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, speaking(Path(name), wav) as hearing:
        folder = Path(name)
        log = folder / "log"
        with ExitStack() as running:
            recorder = running.enter_context(daemon(device, _config(folder), hearing, log)).pid
            pids = {
                ARECORD: running.enter_context(_arecord_and_opusenc(folder, hearing)),
                FFMPEG: running.enter_context(_ffmpeg(folder, hearing)),
                SERVICE[0]: [recorder],
            }
            time.sleep(SETTLED_SECONDS)
            for title, mark in zip(SERVICE[1:], (CAPTURE, DELIVERER), strict=True):
                child = child_of(recorder, mark)
                if child is None:
                    raise SystemExit(f"there is no {title} process:\n{log.read_text(errors='replace')}")
                pids[title] = [child]
            before = {title: _used(of) for title, of in pids.items()}
            time.sleep(window_seconds)
            found = Live({title: _used(of) - before[title] for title, of in pids.items()})
        least = window_seconds * KBITS * 1000 / 8 / 4
        files = [folder / "arecord.opus", folder / "ffmpeg.opus", *folder.glob("state/outbox/*.opus")]
        sizes = {file.name: file.stat().st_size for file in files if file.is_file()}
        if len(sizes) != 3 or min(sizes.values()) < least:
            raise SystemExit(
                f"somebody has not recorded all of it: {sizes}\n{log.read_text(errors='replace')}"
            )
        return found


def first_samples(device: Device, wav: Path, starts: int) -> list[float]:
    """Return seconds from the exec of the recorder to its first sample, by the sidecars of so many starts."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, speaking(Path(name), wav) as hearing:
        folder = Path(name)
        config = _config(folder)
        found = []
        for number in range(1, starts + 1):
            began = time.time()
            with daemon(device, config, hearing, folder / "log") as process:
                _wait_for_recording(folder, process)
                time.sleep(0.5)
            sidecars = sorted(folder.glob("state/outbox/*.json"))
            if len(sidecars) != number:
                raise SystemExit(f"start {number} recorded nothing: {(folder / 'log').read_text()}")
            newest = msgspec.json.decode(sidecars[-1].read_bytes())
            found.append(newest["started"]["wall_ms"] / 1000 - began)
        return found


def _config(folder: Path) -> Path:
    config = folder / "config.toml"
    config.write_text(
        f'[api]\nbase_url = "http://127.0.0.1:9/v1"\n[storage]\ndirectory = "{folder / "state"}"\nmin_free_mb = 0\n'
        f'[recording]\nmode = "continuous"\n[opus]\nbitrate_kbps = {KBITS}\nframe_ms = {FRAME_MS}\n'
        f'complexity = {COMPLEXITY}\napplication = "voip"\n[audio]\nsample_rate = {RATE}\n'
    )
    return config


def _wait_for_recording(folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + BEGIN_SECONDS
    while not any(folder.glob("state/recording/*.part")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"no recording began:\n{(folder / 'log').read_text(errors='replace')}")
        time.sleep(0.01)


@contextmanager
def _arecord_and_opusenc(folder: Path, env: dict[str, str]) -> Iterator[list[int]]:
    with ExitStack() as running:
        heard = ["arecord", "-q", "-D", "default", "-f", "S16_LE", "-r", str(RATE), "-c", "1", "-t", "wav"]
        source = running.enter_context(_ended(heard, env, stdout=subprocess.PIPE))
        settings = ["--bitrate", str(KBITS), "--comp", str(COMPLEXITY), "--framesize", str(FRAME_MS)]
        target = str(folder / "arecord.opus")
        command = [
            "opusenc",
            "--quiet",
            "--ignorelength",
            *settings,
            "--set-ctl-int",
            "4000=2048",
            "-",
            target,
        ]
        encoder = running.enter_context(_ended(command, env, stdin=source.stdout))
        yield [source.pid, encoder.pid]
        source.terminate()
        encoder.wait(END_SECONDS)


@contextmanager
def _ffmpeg(folder: Path, env: dict[str, str]) -> Iterator[list[int]]:
    heard = ["-f", "alsa", "-ac", "1", "-ar", str(RATE), "-i", "default"]
    settings = ["-application", "voip", "-compression_level", str(COMPLEXITY), "-b:a", f"{KBITS}k"]
    frames = ["-frame_duration", str(FRAME_MS), str(folder / "ffmpeg.opus")]
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", *heard, "-c:a", "libopus", *settings, *frames]
    with _ended(command, env) as process:
        yield [process.pid]


@contextmanager
def _ended(command: Sequence[str], env: dict[str, str], **pipes: object) -> Iterator[subprocess.Popen[bytes]]:
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **pipes}
    process: subprocess.Popen[bytes] = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, **given)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _used(pids: Sequence[int]) -> float:
    """Return CPU seconds, to the nanosecond as the scheduler counts them, of all threads that live."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9
