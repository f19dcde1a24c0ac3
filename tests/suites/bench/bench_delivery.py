"""What delivery takes: recordings that wait, by one ``sync``, against curl run once for each of the same requests."""

import hashlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from bench_device import FOLDER, Device, environment
from bench_spread import Spread, spread

from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.model import utc_text
from agent.sandbox.server import SandboxServer

REQUESTS_EACH = 4
"""Create, upload URL, upload, complete."""
MEMORY = Path("/dev/shm")  # noqa: S108 - where the server's files lie: another machine's disk is no cost of ours
_JSON = ("-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {DEFAULT_TOKEN}")


class Delivery(NamedTuple):
    """Seconds for the same recordings, and the ratios pair by pair."""

    agent: Spread
    curl: Spread
    ratio: Spread
    """The agent's time in terms of curl's."""
    slow: float
    """The same of a ``sync`` that rests before each request: the control."""
    requests: int


def measure(device: Device, count: int, rounds: int) -> Delivery:
    """Record ``count`` files on a device that has delivered before; send them with either in turn, ``rounds`` times."""
    with tempfile.TemporaryDirectory(prefix="delivery-", dir=FOLDER) as name:
        waiting = Waiting(device, Path(name), count)
        agent, curl = [], []
        for number in range(rounds):
            first, second = (waiting.by_agent, waiting.by_curl)[:: 1 if number % 2 else -1]
            taken = {work: work() for work in (first, second)}
            agent.append(taken[waiting.by_agent])
            curl.append(taken[waiting.by_curl])
        slow = waiting.by_agent(control="slow") / waiting.by_curl()
    ratios = [mine / others for mine, others in zip(agent, curl, strict=True)]
    return Delivery(spread(agent), spread(curl), spread(ratios), slow, REQUESTS_EACH * count)


class Waiting:
    """A state directory with recordings that wait; each delivery is made from a copy, to a server of its own."""

    def __init__(self, device: Device, folder: Path, count: int) -> None:
        self._device = device
        self._folder = folder
        self._count = count
        state = folder / "state"
        with tempfile.TemporaryDirectory(dir=MEMORY) as name, SandboxServer(Path(name)) as server:
            config = self._config(server, state)
            _run(device.agent(config, "token", "set"), f"{DEFAULT_TOKEN}\n")
            _run(device.agent(config, "record", "--input", str(FOLDER / "start-up.wav")))
            _run(device.agent(config, "sync"))
            for _ in range(count):
                _run(device.agent(config, "record", "--input", str(FOLDER / "start-up.wav")))
        self._audio = sorted(state.glob("outbox/*.opus"))
        if len(self._audio) != count:
            raise SystemExit(f"{len(self._audio)} of {count} recordings wait")

    def by_agent(self, *, control: str = "") -> float:
        """Return how many seconds ``sync`` takes, from its exec to its exit."""
        copy = self._folder / "copy"
        shutil.copytree(self._folder / "state", copy)
        with tempfile.TemporaryDirectory(dir=MEMORY) as name, SandboxServer(Path(name)) as server:
            command = self._device.agent(self._config(server, copy), "sync")
            began = time.monotonic()
            _run(command, control=control)
            taken = time.monotonic() - began
            self._check(server)
        shutil.rmtree(copy)
        return taken

    def by_curl(self) -> float:
        """Return how many seconds curl takes for all requests; what it needs is worked out before."""
        bodies = [msgspec.json.decode(audio.with_suffix(".json").read_bytes()) for audio in self._audio]
        with tempfile.TemporaryDirectory(dir=MEMORY) as name, SandboxServer(Path(name)) as server:
            began = time.monotonic()
            for number, (audio, sidecar) in enumerate(zip(self._audio, bodies, strict=True)):
                _by_curl(server.base_url, f"bench-{number}", audio, sidecar)
            taken = time.monotonic() - began
            self._check(server)
        return taken

    def _config(self, server: SandboxServer, state: Path) -> Path:
        config = self._folder / "config.toml"
        config.write_text(
            f'[api]\nbase_url = "{server.base_url}"\n[storage]\ndirectory = "{state}"\n'
            "min_free_mb = 0\n[sync]\ncalls_per_minute = 1000\n"
        )
        return config

    def _check(self, server: SandboxServer) -> None:
        stored = [each.status for each in server.state.recordings.by_id.values()]
        if stored != ["uploaded"] * self._count:
            raise SystemExit(f"not everything was delivered: {stored}")


def _by_curl(base: str, key: str, audio: Path, sidecar: dict[str, Any]) -> None:
    data = audio.read_bytes()
    start = sidecar["started"]["wall_ms"] / 1000
    end = start + sidecar["samples"] / sidecar["sample_rate"]
    times = {"started_at": utc_text(start), "ended_at": utc_text(end)}
    created = _post(f"{base}/recordings", times, "-H", f"Idempotency-Key: {key}")
    wanted = {"type": "audio", "content_type": "audio/opus", "file_size_bytes": len(data)}
    upload_url = _post(f"{base}/recordings/{created['id']}/upload-url", wanted)
    headers = [word for name, value in upload_url["headers"].items() for word in ("-H", f"{name}: {value}")]
    _run(["curl", "-fsS", "-o", "/dev/null", *headers, "-T", str(audio), upload_url["upload_url"]])
    digest = hashlib.sha256(data).hexdigest()
    _post(f"{base}/recordings/{created['id']}/upload-complete", {"content_sha256": digest})


def _post(url: str, body: dict[str, Any], *headers: str) -> dict[str, Any]:
    answer = _run(["curl", "-fsS", *_JSON, *headers, "-d", json.dumps(body), url])
    found: dict[str, Any] = json.loads(answer)
    return found


def _run(command: Sequence[str], stdin: str = "", control: str = "") -> str:
    done = subprocess.run(
        command,
        env=environment(control=control),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr}")
    return done.stdout
