"""What recording a microphone costs: all processes of the service and two pipelines, side by side on one microphone."""

import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from bench_cpu import COMPLEXITY, FRAME_MS, KBITS, RATE
from bench_device import Device, environment
from bench_memory import CAPTURE, DELIVERER, child_of, daemon, figure, prepare, speaking
from bench_spread import Spread, spread

from agent.sandbox.server import SandboxServer

SETTLED_SECONDS = 4.0
"""All have started by then, and the service has looked through its folders."""
ARECORD, FFMPEG = "arecord | opusenc", "ffmpeg"
PULSE_THREAD = "threaded-ml"
"""What libpulse calls the thread that it starts in whoever hears through it."""
SERVICE = ("recorder", "capture", "deliverer")
BEGIN_SECONDS = 20.0
END_SECONDS = 5.0


class Count(NamedTuple):
    """What some processes have used so far."""

    cpu: float
    """Seconds, to the nanosecond as the scheduler counts them."""
    wake_ups: int
    """Voluntary context switches, but for those of PulseAudio's own thread: its server decides on them."""


class Live(NamedTuple):
    """What was used in windows of time, by process of the service and by pipeline; each heard the same."""

    windows: list[dict[str, Count]]
    window_seconds: float

    def cpu(self, name: str) -> Spread:
        """Return a part's processor time, in percent of one processor."""
        return spread([100 * window[name].cpu / self.window_seconds for window in self.windows])

    def ratio(self, other: str) -> Spread:
        """Return the processor time of the three processes in terms of a pipeline's, window by window."""
        return spread(
            [sum(window[name].cpu for name in SERVICE) / window[other].cpu for window in self.windows]
        )

    @property
    def wake_ups(self) -> Spread:
        """Wake-ups a second of the three processes together."""
        return spread(
            [sum(window[name].wake_ups for name in SERVICE) / self.window_seconds for window in self.windows]
        )


def measure(device: Device, wav: Path, window_seconds: float, windows: int, *, control: str = "") -> Live:
    """Let the service and both pipelines hear one microphone at once, with heartbeats, and count what each uses."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        speaking(Path(name), wav) as hearing,
        SandboxServer(Path(name) / "sandbox") as sandbox,
        ExitStack() as running,
    ):
        folder = Path(name)
        config, log = _config(folder, sandbox.base_url), folder / "log"
        prepare(device, config, hearing)
        recorder = running.enter_context(daemon(device, config, environment(hearing, control), log)).pid
        pids = {
            ARECORD: running.enter_context(_arecord_and_opusenc(folder, hearing)),
            FFMPEG: running.enter_context(_ffmpeg(folder, hearing)),
        }
        time.sleep(SETTLED_SECONDS)
        pids |= {SERVICE[0]: [recorder]} | {
            title: [_child(recorder, title, mark, log)]
            for title, mark in zip(SERVICE[1:], (CAPTURE, DELIVERER), strict=True)
        }
        found = [_window(pids, window_seconds) for _ in range(windows)]
        running.close()
        _check_files(folder, least=windows * window_seconds * KBITS * 1000 / 8 / 4, log=log)
    return Live(found, window_seconds)


def _window(pids: Mapping[str, Sequence[int]], seconds: float) -> dict[str, Count]:
    before = {title: _used(of) for title, of in pids.items()}
    time.sleep(seconds)
    after = {title: _used(of) for title, of in pids.items()}
    return {
        title: Count(after[title].cpu - then.cpu, after[title].wake_ups - then.wake_ups)
        for title, then in before.items()
    }


def _child(recorder: int, title: str, mark: bytes, log: Path) -> int:
    deadline = time.monotonic() + BEGIN_SECONDS
    while (child := child_of(recorder, mark)) is None:
        if time.monotonic() > deadline:
            raise SystemExit(f"there is no {title} process:\n{log.read_text(errors='replace')}")
        time.sleep(SETTLED_SECONDS)  # what starts late on a busy machine has to settle, too
    return child


def _check_files(folder: Path, *, least: float, log: Path) -> None:
    """See that everybody has recorded all of it."""
    service = sorted(folder.glob("state/outbox/*.opus")) + sorted(folder.glob("state/sent/*.opus"))
    files = [folder / "arecord.opus", folder / "ffmpeg.opus", *service]
    sizes = {file.name: file.stat().st_size for file in files if file.is_file()}
    heard = [
        sizes.get("arecord.opus", 0),
        sizes.get("ffmpeg.opus", 0),
        sum(sizes[file.name] for file in service),
    ]
    if min(heard) < least:
        raise SystemExit(f"somebody has not recorded all of it: {sizes}\n{log.read_text(errors='replace')}")


def first_samples(device: Device, wav: Path, starts: int, *, control: str = "") -> Spread:
    """Return seconds from the exec of the recorder to its first sample, by the sidecars of so many starts."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, speaking(Path(name), wav) as hearing:
        folder = Path(name)
        config = _config(folder)
        found = []
        for number in range(1, starts + 1):
            began = time.time()
            with daemon(device, config, environment(hearing, control), folder / "log") as process:
                _wait_for_recording(folder, process)
                time.sleep(0.5)
            sidecars = sorted(folder.glob("state/outbox/*.json"))
            if len(sidecars) != number:
                raise SystemExit(f"start {number} recorded nothing: {(folder / 'log').read_text()}")
            newest = msgspec.json.decode(sidecars[-1].read_bytes())
            found.append(newest["started"]["wall_ms"] / 1000 - began)
        return spread(found)


def _config(folder: Path, base_url: str = "http://127.0.0.1:9/v1") -> Path:
    config = folder / "config.toml"
    config.write_text(
        f'[api]\nbase_url = "{base_url}"\n[storage]\ndirectory = "{folder / "state"}"\nmin_free_mb = 0\n'
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


def _used(pids: Sequence[int]) -> Count:
    """Return what all threads that live have used."""
    cpu = wake_ups = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            cpu += int((task / "schedstat").read_text().split()[0])
            if (task / "comm").read_text().strip() != PULSE_THREAD:
                wake_ups += figure((task / "status").read_text(), "voluntary_ctxt_switches")
    return Count(cpu / 1e9, wake_ups)
