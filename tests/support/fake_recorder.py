"""A recorder and a deliverer that only answer: what a page is shown, and what it has asked for."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomli_w

from agent.config.loader import load
from agent.control.server import ControlServer, Peer, Request
from agent.process import state_directory
from agent.process.state_directory import Process

Json = dict[str, Any]

RECORDING: Json = {
    "state": "recording",
    "recording": {
        "id": "01890000-0000-7000-8000-000000000001",
        "started_at": "2026-11-27T07:00:00.000Z",
        "duration_ms": 7_265_000,
        "marks": [{"offset_ms": 61_000, "text": "cough"}, {"offset_ms": 3_700_000, "text": ""}],
    },
    "pending": 0,
    "parked": 0,
    "held": 0,
    "held_reason": None,
    "oldest_pending_at": None,
    "drain_seconds": None,
    "last_delivery_at": "2026-11-27T08:50:00.000Z",
    "online": True,
    "waiting": None,
    "transfer": {
        "id": "01890000-0000-7000-8000-000000000002",
        "sent_bytes": 1_200_000,
        "total_bytes": 2_400_000,
    },
    "microphone": {
        "id": "usb",
        "name": "USB Audio Device",
        "state": "listening",
        "level_dbfs": -31.5,
        "quality": "ok",
    },
    "storage": {"free_mb": 24_100, "full": False, "in_memory": False},
    "clock": {"synchronized": True, "source": "ntp"},
    "network": {"connection": "wifi", "metered": False, "roaming": False},
    "credential": {"state": "accepted", "fingerprint": "0123abcd"},
    "next_windows": [],
    "delivery": "running",
    "fault": None,
    "version": "0.1.0",
}
SILENT = {"id": None, "name": "USB Audio Device", "state": "closed", "level_dbfs": None, "quality": None}
SCENES: dict[str, Json] = {
    "recording": {},
    "offline with a backlog": {
        "online": False,
        "pending": 143,
        "drain_seconds": 5400.0,
        "transfer": None,
        "waiting": {"reason": "offline: no way to the API", "until": "2026-11-27T09:20:00.000Z", "hint": ""},
    },
    "muted": {"state": "muted", "recording": None, "transfer": None, "microphone": SILENT},
    "no microphone": {
        "state": "no_microphone",
        "recording": None,
        "transfer": None,
        "microphone": SILENT | {"state": "lost"},
    },
    "storage full": {
        "state": "storage_full",
        "recording": None,
        "transfer": None,
        "pending": 2041,
        "storage": {"free_mb": 12, "full": True, "in_memory": False},
        "fault": "only 12 MB are free, and storage.min_free_mb keeps 200; free some space",
    },
    "first start": {
        "state": "idle",
        "recording": None,
        "transfer": None,
        "last_delivery_at": None,
        "online": None,
        "microphone": SILENT | {"name": "default", "state": "opening"},
        "credential": {"state": "missing", "fingerprint": None},
        "clock": {"synchronized": False, "source": "unsynchronized"},
    },
    "listening": {"state": "listening", "recording": None, "transfer": None},
}
"""What is on the pictures, as changes of ``RECORDING``."""
HOUR = 3_600_000
MISSING = [
    {},
    {"muted": HOUR},
    {},
    {"no_microphone": 2 * HOUR, "overflow": 340},
    {"not_running": 6 * HOUR},
    {},
    {"cut": 2500},
]


class FakeRecorder:
    """Both processes of a state directory, by hand; ``status`` is what they say, ``asked`` what was asked."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "config.toml"
        self.config.write_text(tomli_w.dumps({"storage": {"directory": str(folder / "state")}}))
        runtime = folder / "run"
        runtime.mkdir(mode=0o700, exist_ok=True)
        self.environment = {"XDG_RUNTIME_DIR": str(runtime), "HOME": str(folder)}
        self.status: Json = dict(RECORDING)
        self.level_dbfs = -31.5
        self.has_days = True
        self.asked: list[Request] = []

    def show(self, scene: str) -> None:
        """Be in one of ``SCENES``."""
        self.status = RECORDING | SCENES[scene]
        self.has_days = scene != "first start"

    @contextlib.contextmanager
    def answering(self) -> Iterator["FakeRecorder"]:
        """Answer on both sockets."""
        state = state_directory.resolve(load(self.config, {}), self.environment).create_runtime()
        recorder = {
            name: self._noted(name)
            for name in ("status", "level", "report", "start", "stop", "mark", "mute", "gaps", "queue")
        }
        servers = [
            ControlServer(state.socket, recorder),
            ControlServer(state.runtime_of(Process.DELIVERER) / state.delivery_socket.name, self._delivery()),
        ]
        try:
            yield self
        finally:
            for server in servers:
                server.close()

    def _noted(self, name: str) -> Any:
        def answer(request: Request, peer: Peer) -> Any:
            self.asked.append(request)
            if name == "status":
                return self.status
            if name == "level":
                microphone = self.status["microphone"]
                return {"level_dbfs": self.level_dbfs, "microphone": microphone["state"]}
            if name == "report":
                peer.tell_rows(self._recorded())
            return {}

        return answer

    def _delivery(self) -> Any:
        def report(_request: Request, peer: Peer) -> Any:
            peer.tell_rows(self._delivered())
            return {}

        return {"status": lambda _request, _peer: self.status, "report": report}

    def _recorded(self) -> list[Json]:
        if not self.has_days:
            return []
        return [
            {
                "date": f"2026-11-{21 + number:02d}",
                "recorded_ms": (9 if number == 6 else 20) * HOUR - sum(missing.values()),
                "not_wanted_ms": 0 if number == 6 else 4 * HOUR,
                "missing_ms": missing,
                "silence_ms": 0,
                "until_ms": 1_795_770_000_000 if number == 6 else None,
            }
            for number, missing in enumerate(MISSING)
        ]

    def _delivered(self) -> list[Json]:
        if not self.has_days:
            return []
        return [
            {
                "date": f"2026-11-{21 + number:02d}",
                "delivered": 120 - 17 * number,
                "delivered_ms": (20 - 2 * number) * HOUR,
                "waiting": 9 * number,
                "waiting_ms": number * HOUR,
            }
            for number in range(7)
        ]
