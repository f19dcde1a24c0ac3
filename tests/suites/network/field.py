"""A sandbox at one end of the cable, a recorder at the other, and what the sandbox has at the end."""

import contextlib
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from acceptance import PROGRAM, Json, Machine, wait_for
from speech import speech, write_wav
from wire import NAME, Wire

from agent.sandbox.devices import DEFAULT_TOKEN

PORT = 8443
BASE_URL = f"https://{NAME}:{PORT}/v1"
DEAF = Path(__file__).with_name("deaf")
WIFI = """\
links=$(ls /sys/class/net)
mount -t tmpfs net /sys/class/net
for each in $links; do
    [ "$each" = up0 ] || ln -s "../../devices/virtual/net/$each" "/sys/class/net/$each"
done
mkdir -p /sys/class/net/up0/wireless
cp /sys/devices/virtual/net/up0/type /sys/devices/virtual/net/up0/uevent /sys/class/net/up0
exec "$@"
"""
"""In the mount namespace that ``ip netns exec`` makes: a kernel without radio has no WiFi of its own to lend."""


class Sandbox:
    """``recorder-agent sandbox --tls`` in the server's namespace; may be killed and started again."""

    def __init__(self, wire: Wire, folder: Path) -> None:
        self._wire = wire
        self.folder = folder
        self.ca_file = folder / "ca.pem"
        self._log = folder.with_suffix(".log")
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [
            *("ip", "netns", "exec", self._wire.server, str(PROGRAM), "sandbox", "--tls"),
            *("--host", NAME, "--port", str(PORT), "--directory", str(self.folder)),
        ]
        with self._log.open("w") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, text=True)
        wait_for(lambda: "Ctrl-C ends it" in self._log.read_text())

    def end(self) -> None:
        """Kill it: no connection is closed in order."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def requests(self) -> list[Json]:
        """Return the lines of its request log; a line that is being written is left out."""
        log = self.folder / "requests.jsonl"
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def first_request_after(self, unix: float) -> float | None:
        """Return how many seconds after a moment the first request came, None while there is none."""
        later = [at for each in self.requests() if (at := _unix(each["time"])) >= unix]
        return later[0] - unix if later else None

    def put_in_progress(self) -> bool:
        """Whether some of an upload has arrived, and not all of it."""
        return any(path.stat().st_size > 0 for path in self.folder.rglob("*") if _is_partial(path))

    def copies(self, local_id: str) -> list[Path]:
        """Return all stored audio of a local id, over all recordings and media."""
        book = json.loads((self.folder / "recordings.json").read_text())
        mine = [
            each["id"]
            for each in book["recordings"].values()
            if each["metadata"].get("client_recording_id") == local_id
        ]
        objects = [path for name in mine for path in (self.folder / "objects" / name).glob("*")]
        return [path for path in objects if not _is_partial(path)]


class Recorder(Machine):
    """A machine whose commands run in the agent's namespace."""

    def __init__(self, folder: Path, wire: Wire, ca_file: Path) -> None:
        self._namespace = wire.agent
        self.deaf = False
        """The daemon does not hear of the network: the control."""
        self.has_wifi = False
        """What it sees of ``up0`` in /sys is a WiFi interface."""
        super().__init__(folder)
        self.give_token(DEFAULT_TOKEN)
        sound = write_wav(folder / "silence.wav", 16000, 1, bytes(32_000))
        self.configure(
            api={"base_url": BASE_URL, "ca_file": str(ca_file)},
            recording={"mode": "manual"},
            audio={"input": f"file:{sound}"},
            opus={"bitrate_kbps": 128},
            log={"level": "debug", "format": "json"},
        )

    def popen(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start a command in the agent's namespace."""
        program = [str(PROGRAM)]
        environment = dict(self.environment)
        if self.deaf:
            environment["PYTHONPATH"] = os.pathsep.join([str(DEAF), environment["PYTHONPATH"]])
        command = [
            *("ip", "netns", "exec", self._namespace),
            *(("sh", "-ec", WIFI, "wifi") if self.has_wifi else ()),
            *(*program, "--config"),
            *(str(self.config_file), *map(str, arguments)),
        ]
        return subprocess.Popen(command, text=True, env=environment, cwd=self.folder, **options)

    def recorded(self, seconds: float, count: int = 1) -> list[Json]:
        """Record speech; 40 seconds are half a megabyte."""
        wav = self.folder / f"speech-{seconds:g}.wav"
        if not wav.exists():
            write_wav(wav, 16000, 1, speech(16000, 1, round(seconds * 16000)))
        return [row for _ in range(count) for row in self.record(wav)]

    def row(self, recording_id: str) -> Json:
        """Return what ``queue list`` shows of one recording."""
        return next(row for row in self.queue() if row["id"] == recording_id)

    def wait_delivered(self, ids: list[str], seconds: float) -> float:
        """Wait until all are delivered, and return how long it took."""
        began = time.monotonic()
        while {row["status"] for row in self.queue() if row["id"] in ids} != {"uploaded"}:
            waited = time.monotonic() - began
            assert waited < seconds, [(row["status"], row["last_error"]) for row in self.queue()]
            time.sleep(0.5)
        return time.monotonic() - began

    def said(self, action: str) -> list[Json]:
        """Return the log lines of one action."""
        lines = (self.folder / "daemon.log").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line.get("action") == action]


def check_one_copy_each(recorder: Recorder, sandbox: Sandbox, rows: list[Json]) -> None:
    """Assert that the sandbox has each recording whole and once, and that no attempt was used up."""
    for row in rows:
        (copy,) = sandbox.copies(row["id"])
        assert hashlib.sha256(copy.read_bytes()).hexdigest() == row["sha256"]
        now = recorder.row(row["id"])
        assert (now["status"], now["attempts"], now["verified"]) == ("uploaded", 0, True), now


def _is_partial(path: Path) -> bool:
    return path.is_file() and (path.suffix in {".part", ".tmp"} or path.name.startswith("."))


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@contextlib.contextmanager
def sandbox_at(wire: Wire, folder: Path) -> Iterator[Sandbox]:
    """Give a running sandbox."""
    sandbox = Sandbox(wire, folder)
    try:
        sandbox.start()
        yield sandbox
    finally:
        sandbox.end()
