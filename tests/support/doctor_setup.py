"""A machine on which all is well until a test breaks something, for the tests of the doctor."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from speech import speech, write_wav
from waiting_recordings import fill

from agent.control.server import ControlServer
from agent.deliverer.wiring import DelivererWiring
from agent.doctor import sound
from agent.doctor.checks import checks
from agent.doctor.examination import Health, Result, examine
from agent.doctor.machine import Machine
from agent.facade.context import Session
from agent.process.state_directory import CONTROL_SOCKET, DELIVERY_SOCKET
from agent.sandbox.server import SandboxServer

TOKEN = "dtok_sandbox"
RATE = 16_000
BAD = {Health.WARNING, Health.CRITICAL}
STATUS: dict[str, Any] = {
    "state": "recording",
    "fault": None,
    "delivery": "running",
    "recording": None,
    "microphone": {"id": "a", "name": "Blue Yeti", "state": "listening", "level_dbfs": -30.0},
    "credential": {"state": "accepted", "fingerprint": "0123abcd"},
}


@dataclass
class Patient:
    """A machine on which all is well, until a test breaks something."""

    folder: Path
    sandbox: SandboxServer
    patch: pytest.MonkeyPatch
    stack: ExitStack
    machine: Machine = field(init=False)
    settings: dict[str, dict[str, Any]] = field(init=False)
    token: str | None = TOKEN

    def __post_init__(self) -> None:
        self.state = self.folder / "state"
        self.state.mkdir(mode=0o700)
        for name in ("CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"):
            self.patch.delenv(name, raising=False)
        self.patch.setenv("RUNTIME_DIRECTORY", str(self.state))
        self.patch.setattr(sound, "LISTEN_SECONDS", 0.4)
        self.patch.setattr("agent.doctor.local.in_memory", lambda _folder: False)  # the tests' own folder may
        self.patch.setattr("agent.doctor.local.SLOW_SECONDS", 300.0)  # the tests' own disk may be busy
        self.patch.setattr("agent.capture.opened.OPEN_SECONDS", 2.0)
        self.machine = Machine(self.folder / "sys", str(self.folder / "systemctl"), clock_state=lambda: "ntp")
        self.systemd(LoadState="loaded", ActiveState="active", NRestarts="0")
        self.sysfs("class/thermal/thermal_zone0/temp", "45000\n")
        self.settings = {
            "api": {"base_url": self.sandbox.base_url},
            "storage": {"directory": str(self.state), "min_free_mb": 1},
        }
        self.hear(speech(RATE, 1, 3 * RATE))

    def hear(self, pcm: bytes) -> None:
        """Let this be what the microphone gives."""
        wav = write_wav(self.folder / "sound.wav", RATE, 1, pcm)
        self.settings["audio"] = {"input": f"file:{wav}?loop"}

    def systemd(self, **facts: str) -> None:
        """Let systemd say this of the service."""
        program = Path(self.machine.systemctl)
        lines = "\n".join(f"echo {name}={value}" for name, value in facts.items())
        program.write_text(f"#!/bin/sh\n{lines}\n")
        program.chmod(0o755)

    def sysfs(self, name: str, text: str) -> None:
        """Put something into /sys."""
        path = self.machine.sysfs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def daemon(self, **changes: Any) -> None:
        """Let both processes answer with this status."""
        answer = STATUS | changes
        for name in (CONTROL_SOCKET, DELIVERY_SOCKET):
            server = ControlServer(self.state / name, {"status": lambda *_: answer})
            self.stack.callback(server.close)

    def serve_tls(self, certificate: trustme.LeafCert) -> None:
        """Let the API be a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        listener = self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        context.wrap_socket(connection, server_side=True).close()
                    except OSError:
                        continue

        threading.Thread(target=accept, daemon=True).start()
        self.settings["api"]["base_url"] = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"

    def trust(self, authority: trustme.CA) -> None:
        """Trust an authority."""
        authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        self.settings["api"]["ca_file"] = str(self.folder / "ca.pem")

    def session(self) -> Session:
        """Return a session with the settings as they are."""
        if self.token is not None:
            file = self.folder / "token"
            file.write_text(self.token)
            file.chmod(0o600)
            self.settings["api"]["token_file"] = str(file)
        path = self.folder / "config.toml"
        path.write_text(
            "".join(
                f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
                for section, table in self.settings.items()
            )
        )
        return Session(path)

    def examined(self) -> list[Result]:
        """Return what the doctor finds."""
        return list(examine(self.session(), checks(self.machine)))


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Patient]:
    """A machine on which all is well."""
    with ExitStack() as stack, SandboxServer(tmp_path / "sandbox") as sandbox:
        yield Patient(tmp_path, sandbox, monkeypatch, stack)


def with_parts(patient: Patient, act: Callable[[DelivererWiring], object]) -> None:
    """Do something with the outbox while nobody else does."""
    session = patient.session()
    with closing(DelivererWiring(session.loaded.config, session.enter())) as parts:
        act(parts)


def recording_parked(patient: Patient) -> None:
    """One that the API has refused."""

    def park(parts: DelivererWiring) -> None:
        fill(parts, 1)
        for entry in list(parts.outbox.store.all()):
            parts.outbox.park(entry, "422: no")

    with_parts(patient, park)


def token_refused(patient: Patient) -> None:
    """The API does not know it."""
    patient.token = "dtok_wrong"


class Broken(NamedTuple):
    """A fault, and what the doctor has to say first about it."""

    name: str
    break_it: Callable[[Patient], None]
    check: str
    state: Health
    message: str
    """A part of what it says."""
    hint: str
    """A part of what it tells to do."""

    def judge(self, patient: Patient) -> None:
        """Break it and examine: the cause stands first, and no effect of it is critical as well."""
        self.break_it(patient)
        found = patient.examined()
        first = next(row for row in found if row.state in BAD)
        assert (first.check, first.state) == (self.check, self.state.value), first
        assert self.message in first.message, first
        assert self.hint in first.hint, first
        assert all(row.hint for row in found if row.state in BAD), found
        assert TOKEN not in str(found)
        depends = {each.name: each.needs for each in checks(patient.machine)}
        failed = {
            row.check for row in found if row.state == "critical" or row.message.startswith("not looked at")
        }
        for row in found:
            if row.state == "critical":  # effects of another critical line are skipped
                assert not failed & set(depends[row.check]), row
