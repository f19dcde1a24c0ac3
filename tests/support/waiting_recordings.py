"""An agent with recordings that wait, made without a microphone, on a clock that passes when somebody waits."""

import hashlib
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api_bench import SIGNATURE, TOKEN
from simulated import BEGINNING, SimulatedClock
from socket_api import Reply, SocketApi, as_json

from agent.clock import Instant
from agent.config.loader import LoadedConfig
from agent.config.schema import ApiConfig, Config, StorageConfig, SyncConfig
from agent.deliverer.wiring import DelivererWiring
from agent.outbox import sidecar
from agent.outbox.entry import Entry
from agent.process.state_directory import resolve

AUDIO = b"OggS" + bytes(996)
REMOTE = "rec_1"


class LoopClock(SimulatedClock):
    """Ends ``Syncer.run`` after some time: ``stopping`` is set once ``end`` is over."""

    def __init__(self) -> None:
        super().__init__()
        self.stopping = threading.Event()
        self.end = float("inf")

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Let the time pass, to the end at most."""
        left = max(0.0, self.end - self.monotonic())
        happened = super().wait(event, min(seconds if seconds is not None else left, left))
        if self.monotonic() >= self.end:
            self.stopping.set()
        return happened


@contextmanager
def agent(
    folder: Path, base_url: str, sync: SyncConfig | None = None
) -> Iterator[tuple[DelivererWiring, LoopClock]]:
    """Give the parts of one process, and their clock; the folder outlives it."""
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    config = Config(
        api=ApiConfig(base_url=f"{base_url}/v1", token_file=str(token)),
        storage=StorageConfig(directory=str(folder / "state"), min_free_mb=0),
        sync=sync or SyncConfig(calls_per_minute=1000),
    )
    clock = LoopClock()
    state = resolve(LoadedConfig(config, None), {})
    state.create()
    parts = DelivererWiring(config, state, {}, clock=clock, machine=lambda: "ntp")
    try:
        yield parts, clock
    finally:
        parts.close()


def live(parts: DelivererWiring, clock: LoopClock, seconds: float) -> None:
    """Let the loop run for some time."""
    clock.stopping.clear()
    clock.end = clock.monotonic() + seconds
    parts.syncer.run(clock.stopping)


def fill(parts: DelivererWiring, count: int, audio: bytes = AUDIO, *, first: int = 1) -> None:
    """Put recordings into the outbox: files, sidecars and rows."""
    digest = hashlib.sha256(audio).hexdigest()
    binding = parts.credentials.current()
    page: list[Entry] = []
    for seq in range(first, first + count):
        identity = str(uuid.UUID(int=seq))
        start_ms = round(BEGINNING * 1000) - (count + first - seq) * 600_000
        entry = Entry(
            id=identity,
            seq=seq,
            session_id=identity,
            segment=1,
            stem=f"20260101T000000Z-{seq:06d}-{identity}",
            mode="continuous",
            started=Instant(start_ms, parts.boot_id, 0, "ntp"),
            sample_rate=16000,
            channels=1,
            samples=16000 * 600,
            size_bytes=len(audio),
            sha256=digest,
            recovered=False,
            gap_ms=0,
            overflows=0,
            clipped=0,
            name=None,
            metadata={},
            binding=binding,
        )
        files = parts.outbox.files
        files.audio(entry).write_bytes(audio)
        files.audio(entry).with_name(entry.sidecar_name).write_bytes(sidecar.encode(entry))
        page.append(entry)
        if len(page) == 500 or seq == first + count - 1:
            parts.outbox.adopt(page)
            page = []


def deliveries(server: SocketApi, count: int) -> None:
    """Script a server that takes recordings, one after another."""
    created = as_json({"id": REMOTE, "device_id": "dev_1", "end_user_id": "eu_1", "status": "pending"}, 201)
    upload_url = as_json({"upload_url": f"{server.url}/bucket/key?{SIGNATURE}", "headers": {}})
    stored = Reply(200, b"", (("ETag", '"1"'),))
    done = as_json({"id": REMOTE, "status": "uploaded"})
    server.script(*(created, upload_url, stored, done) * count)
