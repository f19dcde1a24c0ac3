"""The ground of a case: a state directory, its settings, a sandbox of its own, and the process that lives in it."""

import contextlib
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self, TypeVar

import event_log
import tomli_w
from event_log import Story
from oracle import Oracle, Verdict
from speech import speech, write_wav

import agent
from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.server import SandboxServer

HERE = Path(__file__).parent
RATE = 16000
WORKERS = 2
RESTART_SECONDS = 5.0
ROOM_BYTES = 1_000_000_000

Item = TypeVar("Item")
Result = TypeVar("Result")


def say(text: str) -> None:
    """Show a figure: pytest prints it with ``-s``, and when a test fails."""
    sys.stdout.write(f"{text}\n")


def fresh_seed() -> int:
    """Return ``CRASH_SEED`` of the environment, else a fresh seed; it is printed."""
    seed = int(os.environ.get("CRASH_SEED") or secrets.randbits(32))
    say(f"CRASH_SEED={seed}")
    return seed


class Driver:
    """The process that lives lives (``driver.py``)."""

    def __init__(self, *wrapper: str | Path) -> None:
        paths = os.pathsep.join(
            map(str, (HERE, HERE.parents[1] / "support", Path(agent.__file__).parents[1]))
        )
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, HERE / "driver.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"},
        )

    def live(self, **order: Any) -> dict[str, Any]:
        """Live an order through; return the signal or the exit code it ended with."""
        self.begin(**order)
        return self.wait()

    def begin(self, **order: Any) -> None:
        """Begin a life."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order, default=str) + "\n")
        self.process.stdin.flush()

    def begin_daemon(self, **order: Any) -> int:
        """Begin a life of the whole daemon, and return the id of its process."""
        self.begin(daemon=True, **order)
        return int(self.wait()["pid"])

    def wait(self) -> dict[str, Any]:
        """Return the driver's next answer: how the life that was begun has ended."""
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


class Ground:
    """One case: what it is made of, and what became of it."""

    def __init__(self, folder: Path, settings: dict[str, dict[str, Any]] | None = None) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.diary = folder / "diary"
        self.settings = dict(settings or {})
        folder.mkdir(parents=True, exist_ok=True)
        self.server = SandboxServer(folder / "server")

    def __enter__(self) -> Self:
        self.server.start()
        self.configure()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    def configure(self, **settings: dict[str, Any]) -> None:
        """Write the settings, these on top of what was set before."""
        self.settings |= settings
        token = self.folder / "token"
        token.write_text(DEFAULT_TOKEN + "\n")
        token.chmod(0o600)
        sections: dict[str, dict[str, Any]] = {
            "api": {"base_url": self.server.base_url, "token_file": str(token)},
            "storage": {"directory": str(self.state), "min_free_mb": 0, "flush_seconds": 1},
            "recording": {"segment_seconds": 2},
            "sync": {"calls_per_minute": 1000},
            "audio": {"input": "file:/sound.wav"},
        }
        for name, values in self.settings.items():
            sections[name] = {**sections.get(name, {}), **values}
        (self.folder / "config.toml").write_text(tomli_w.dumps(sections))

    def story(self) -> Story:
        """Return what the diary tells so far."""
        return event_log.read(self.diary)

    def live(self, driver: Driver, **order: Any) -> dict[str, Any]:
        """Live here, a little after the life before."""
        elapsed = self.story().elapsed + RESTART_SECONDS
        return driver.live(folder=self.folder, diary=self.diary, **{"elapsed": elapsed, **order})

    def judge(self, finished: dict[str, tuple[str, int]], kept: AbstractSet[str] = frozenset()) -> Verdict:
        """Ask the oracle."""
        return Oracle(self.state, self.server.directory).judge(finished, kept)


@contextlib.contextmanager
def segment_factory(name: str) -> Iterator[Path]:
    """Give a folder for many cases, in memory where there is such a place; it is removed afterwards."""
    shared = Path("/dev/shm")  # noqa: S108 - faster by far, and not predictable either
    roomy = shared.is_dir() and shutil.disk_usage(shared).free > ROOM_BYTES
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=shared if roomy else None))
    try:
        yield folder
    finally:
        clear(folder)


def clear(folder: Path) -> None:
    """Remove what a case has left, unless ``CRASH_KEEP`` is set."""
    if "CRASH_KEEP" not in os.environ:
        shutil.rmtree(folder)


def sound(folder: Path, seconds: float) -> Path:
    """Return a WAV file of speech."""
    return write_wav(folder / "sound.wav", RATE, 1, speech(RATE, 1, round(seconds * RATE)))


def in_parallel(
    items: Iterable[Item], work: Callable[[Driver, Item], Result], *, workers: int = WORKERS
) -> list[Result]:
    """Do the work for each item, each worker with a driver of its own."""
    drivers: SimpleQueue[Driver] = SimpleQueue()
    made = [Driver() for _ in range(workers)]
    for driver in made:
        drivers.put(driver)

    def one(item: Item) -> Result:
        driver = drivers.get()
        try:
            return work(driver, item)
        finally:
            drivers.put(driver)

    try:
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(one, items))
    finally:
        for driver in made:
            driver.close()


def shuffled(items: list[Item], seed: int) -> list[Item]:
    """Return the items in an order of chance."""
    return random.Random(seed).sample(items, len(items))
