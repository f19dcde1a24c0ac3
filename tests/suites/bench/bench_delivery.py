"""What delivery takes: recordings that wait, by one ``sync``, against curl run once for each of the same requests."""

import hashlib
import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from bench_device import FOLDER, Device, environment

from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.model import utc_text
from agent.sandbox.server import SandboxServer

REQUESTS_EACH = 4
"""Create, upload URL, upload, complete."""
_JSON = ("-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {DEFAULT_TOKEN}")


class Delivery(NamedTuple):
    """Seconds for the same recordings."""

    agent: float
    curl: float
    requests: int

    @property
    def ratio(self) -> float:
        """The agent's time in terms of curl's."""
        return self.agent / self.curl


def measure(device: Device, count: int) -> Delivery:
    """Record ``count`` files, deliver them with curl to one sandbox and with the agent to another."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with SandboxServer(folder / "a") as mine, SandboxServer(folder / "c") as others:
            config = folder / "config.toml"
            config.write_text(
                f'[api]\nbase_url = "{mine.base_url}"\n[storage]\ndirectory = "{folder / "state"}"\n'
                "min_free_mb = 0\n[sync]\ncalls_per_minute = 1000\n"
            )
            _run(device.agent(config, "token", "set"), f"{DEFAULT_TOKEN}\n")
            for _ in range(count):
                _run(device.agent(config, "record", "--input", str(FOLDER / "start-up.wav")))
            waiting = sorted(folder.glob("state/outbox/*.opus"))
            bodies = [msgspec.json.decode(audio.with_suffix(".json").read_bytes()) for audio in waiting]
            if len(waiting) != count:
                raise SystemExit(f"{len(waiting)} of {count} recordings wait")
            began = time.monotonic()
            for number, (audio, sidecar) in enumerate(zip(waiting, bodies, strict=True)):
                _by_curl(others.base_url, f"bench-{number}", audio, sidecar)
            by_curl = time.monotonic() - began
            began = time.monotonic()
            _run(device.agent(config, "sync"))
            by_agent = time.monotonic() - began
            for server in (mine, others):
                stored = [each.status for each in server.state.recordings.by_id.values()]
                if stored != ["uploaded"] * count:
                    raise SystemExit(f"not everything was delivered: {stored}")
    return Delivery(by_agent, by_curl, REQUESTS_EACH * count)


def _by_curl(base: str, key: str, audio: Path, sidecar: dict[str, Any]) -> None:
    data = audio.read_bytes()
    start = sidecar["started"]["wall_ms"] / 1000
    end = start + sidecar["samples"] / sidecar["sample_rate"]
    times = {"started_at": utc_text(start), "ended_at": utc_text(end)}
    created = _post(f"{base}/recordings", times, "-H", f"Idempotency-Key: {key}")
    wanted = {"type": "audio", "content_type": "audio/opus", "file_size_bytes": len(data)}
    ticket = _post(f"{base}/recordings/{created['id']}/upload-url", wanted)
    headers = [word for name, value in ticket["headers"].items() for word in ("-H", f"{name}: {value}")]
    _run(["curl", "-fsS", "-o", "/dev/null", *headers, "-T", str(audio), ticket["upload_url"]])
    digest = hashlib.sha256(data).hexdigest()
    _post(f"{base}/recordings/{created['id']}/upload-complete", {"content_sha256": digest})


def _post(url: str, body: dict[str, Any], *headers: str) -> dict[str, Any]:
    answer = _run(["curl", "-fsS", *_JSON, *headers, "-d", json.dumps(body), url])
    found: dict[str, Any] = json.loads(answer)
    return found


def _run(command: Sequence[str], stdin: str = "") -> str:
    done = subprocess.run(
        command, env=environment(), input=stdin, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr}")
    return done.stdout
