"""The doctor says the one right thing first, in each broken state."""

import dataclasses
import http.server
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from speech import speech, write_wav
from waiting_room import fill

from agent.context import Session
from agent.deliverer.wiring import DelivererWiring
from agent.doctor import local, sound
from agent.doctor.checks import checks
from agent.doctor.examination import Health, Result, examine
from agent.doctor.machine import Machine
from agent.recording.ledger import Cause, Gap
from agent.sandbox.faults import Call, Fault
from agent.sandbox.server import SandboxServer
from agent.statedir import CONTROL_SOCKET, DELIVERY_SOCKET
from agent.status.control import ControlServer

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
        self.patch.setattr("agent.audio.opened.OPEN_SECONDS", 2.0)
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


def test_all_is_well(patient: Patient) -> None:
    """With everything in place every check is healthy, but for what is not there: light, daemon, TLS on loopback."""
    found = patient.examined()
    assert {row.check: row.state for row in found if row.state != "healthy"} == {
        "light": "skipped",
        "daemon": "skipped",
        "recorder": "skipped",
        "TLS": "skipped",
    }


# what can break, each as a function of the patient


def wrong_setting(patient: Patient) -> None:
    """A value out of its range."""
    patient.settings["opus"] = {"bitrate_kbps": 4000}


def no_state_directory(patient: Patient) -> None:
    """It was never started."""
    patient.state.rmdir()


def state_for_all(patient: Patient) -> None:
    """Somebody has opened it up."""
    patient.state.chmod(0o755)


def state_of_another(patient: Patient) -> None:
    """The kernel says no."""
    patient.patch.setattr(os, "access", lambda *_, **__: False)


def state_read_only(patient: Patient) -> None:
    """The kernel has given up on a card and lets nobody write."""
    mount = ["mount", "-t", "tmpfs", "-o", "ro,mode=700", "none", str(patient.state)]
    subprocess.run(mount, check=True)
    patient.stack.callback(subprocess.run, ["umount", str(patient.state)], check=True)


def disk_full(patient: Patient) -> None:
    """Less room than asked for."""
    patient.settings["storage"]["min_free_mb"] = 99_000_000


def disk_slow(patient: Patient) -> None:
    """A card near its end."""
    patient.patch.setattr(local, "SLOW_SECONDS", 0.0)


def index_damaged(patient: Patient) -> None:
    """Garbage where the index was."""
    with_parts(patient, lambda parts: fill(parts, 1))
    database = patient.state / "outbox.db"
    content = bytearray(database.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    database.write_bytes(content)


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


def microphone_missing(patient: Patient) -> None:
    """An id that nobody answers to."""
    patient.settings["audio"] = {"input": "usb-0000:0000-nothing"}


def microphone_silent(patient: Patient) -> None:
    """Its switch is off."""
    patient.hear(bytes(2 * RATE))


def microphone_clips(patient: Patient) -> None:
    """Its gain is far too high."""
    patient.hear((b"\xff\x7f" * 20 + b"\x00\x80" * 20) * (RATE // 40))


def microphone_quiet(patient: Patient) -> None:
    """Its gain is at the bottom."""
    patient.hear(b"\x01\x00\xff\xff" * (RATE // 2))


def microphone_gone_beside_a_daemon(patient: Patient) -> None:
    """Somebody has pulled the plug."""
    patient.daemon(state="no_microphone", microphone=STATUS["microphone"] | {"state": "waiting"})


def daemon_hangs(patient: Patient) -> None:
    """It listens, and has stopped to answer."""
    done = threading.Event()
    server = ControlServer(patient.state / "control.sock", {"status": lambda *_: done.wait(30) and STATUS})
    patient.stack.callback(server.close)
    patient.stack.callback(done.set)
    patient.patch.setattr("agent.context.ANSWER_SECONDS", 0.3)


def muted(patient: Patient) -> None:
    """A person has silenced it."""
    patient.daemon(state="muted", microphone=STATUS["microphone"] | {"state": "closed"})


def storage_full_beside_a_daemon(patient: Patient) -> None:
    """storage.max_mb is reached: there is room on the disk."""
    patient.daemon(state="storage_full", fault="all of storage.max_mb is used; deliver or delete recordings")


def clock_wrong(patient: Patient) -> None:
    """Nobody has set it."""
    patient.machine = dataclasses.replace(patient.machine, clock_state=lambda: "unsynchronized")


def name_unknown(patient: Patient) -> None:
    """No DNS, or a typing error."""
    patient.settings["api"]["base_url"] = "https://nowhere.invalid/v1"


def server_down(patient: Patient) -> None:
    """Nobody listens."""
    patient.settings["api"]["base_url"] = "http://127.0.0.1:9/v1"


def certificate_untrusted(patient: Patient) -> None:
    """A captive portal's, or an authority that is not known."""
    patient.serve_tls(trustme.CA().issue_cert("127.0.0.1"))


def certificate_of_another(patient: Patient) -> None:
    """The name is wrong."""
    authority = trustme.CA()
    patient.serve_tls(authority.issue_cert("example.org"))
    patient.trust(authority)


def certificate_not_yet_valid(patient: Patient) -> None:
    """The clock stands in the past."""
    authority = trustme.CA()
    later = datetime.now(UTC) + timedelta(days=1)
    patient.serve_tls(authority.issue_cert("127.0.0.1", not_before=later))
    patient.trust(authority)


def certificate_expired(patient: Patient) -> None:
    """The clock stands in the future, or the server was forgotten."""
    authority = trustme.CA()
    past = datetime.now(UTC) - timedelta(days=2)
    patient.serve_tls(authority.issue_cert("127.0.0.1", not_before=past, not_after=past + timedelta(days=1)))
    patient.trust(authority)


class Portal(http.server.BaseHTTPRequestHandler):
    """Answers everything with its own page."""

    def answer(self) -> None:
        """Ask to sign in."""
        page = b"<html><body>Welcome to the hotel</body></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page)

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def captive_portal(patient: Patient) -> None:
    """A hotel answers in the API's place."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    patient.stack.callback(server.server_close)
    patient.stack.callback(server.shutdown)
    patient.settings["api"]["base_url"] = f"http://127.0.0.1:{server.server_port}/v1"


def api_busy(patient: Patient) -> None:
    """It asks for patience."""
    patient.sandbox.faults.add(Fault(Call.ANY, times=None, status=503))


def token_missing(patient: Patient) -> None:
    """Nobody has set one."""
    patient.token = None


def token_refused(patient: Patient) -> None:
    """The API does not know it."""
    patient.token = "dtok_wrong"


def token_refused_by_daemon(patient: Patient) -> None:
    """The daemon has tried it."""
    patient.daemon(credential={"state": "refused", "fingerprint": "0123abcd"})


def light_missing(patient: Patient) -> None:
    """Another board has another light."""
    patient.settings["led"] = {"driver": "sysfs", "name": "ACT"}
    patient.sysfs("class/leds/PWR/brightness", "0\n")


def gpiozero_missing(patient: Patient) -> None:
    """The extra was not installed."""
    patient.settings["led"] = {"driver": "gpio", "pins": [17]}
    patient.patch.setattr("importlib.util.find_spec", lambda _name: None)


def service_failed(patient: Patient) -> None:
    """Systemd has given up."""
    patient.systemd(LoadState="loaded", ActiveState="failed", NRestarts="5")


def service_stopped(patient: Patient) -> None:
    """Somebody has stopped it."""
    patient.systemd(LoadState="loaded", ActiveState="inactive", NRestarts="0")


def service_restarted(patient: Patient) -> None:
    """It dies again and again."""
    patient.systemd(LoadState="loaded", ActiveState="active", NRestarts="7")


def throttled(bits: str, degrees: int = 45) -> Callable[[Patient], None]:
    """Return what a Pi's firmware says."""

    def set_up(patient: Patient) -> None:
        patient.sysfs("devices/platform/soc/soc:firmware/get_throttled", f"{bits}\n")
        patient.sysfs("class/thermal/thermal_zone0/temp", f"{degrees}000\n")

    return set_up


W, C = Health.WARNING, Health.CRITICAL
BROKEN: list[tuple[str, Callable[[Patient], None], str, Health, str, str]] = [
    ("a wrong setting", wrong_setting, "config", C, "opus.bitrate_kbps is 4000", "config check"),
    ("no state directory", no_state_directory, "state directory", W, "no state directory", "first starts"),
    ("a state directory for all", state_for_all, "state directory", W, "by others", "chmod 700"),
    ("another's state directory", state_of_another, "state directory", C, "no right", "sudo"),
    ("a read-only disk", state_read_only, "state directory", C, "read-only", "card"),
    ("a full disk", disk_full, "disk space", C, "is full", "larger card"),
    ("a slow disk", disk_slow, "disk speed", W, "durable after", "replace it"),
    ("a damaged index", index_damaged, "index", W, "set aside", "repair --dry-run"),
    ("a parked recording", recording_parked, "index", W, "1 are parked", "queue list"),
    ("a missing microphone", microphone_missing, "microphone", C, "not connected", "devices"),
    ("a silent microphone", microphone_silent, "microphone", W, "digital silence", "cable"),
    ("a clipping microphone", microphone_clips, "microphone", W, "clips", "lower its gain"),
    ("a quiet microphone", microphone_quiet, "microphone", W, "very quiet", "raise its gain"),
    ("a lost microphone", microphone_gone_beside_a_daemon, "microphone", C, "is waiting", "plug it in"),
    ("a daemon that hangs", daemon_hangs, "daemon", C, "does not answer", "systemctl restart"),
    ("a mute", muted, "recorder", W, "muted", "unmute"),
    ("a full quota", storage_full_beside_a_daemon, "recorder", C, "max_mb", "deliver or delete"),
    ("a wrong clock", clock_wrong, "clock", W, "not synchronised", "NTP"),
    ("an unknown name", name_unknown, "DNS", C, "nowhere.invalid", "check the network"),
    ("a server that is down", server_down, "TLS", C, "cannot be reached", "network is back"),
    ("an untrusted certificate", certificate_untrusted, "TLS", C, "not trusted", "captive portal"),
    ("another's certificate", certificate_of_another, "TLS", C, "not trusted", "captive portal"),
    ("a certificate of tomorrow", certificate_not_yet_valid, "TLS", C, "not yet valid", "clock"),
    ("a certificate of yesterday", certificate_expired, "TLS", C, "expired", "clock"),
    ("a captive portal", captive_portal, "device token", C, "something else answers", "sign in"),
    ("a busy API", api_busy, "device token", W, "503", "later"),
    ("a missing token", token_missing, "device token", C, "no device token", "token set"),
    ("a refused token", token_refused, "device token", C, "refused the device token", "token set"),
    ("a token the daemon tried", token_refused_by_daemon, "device token", C, "refused", "token set"),
    ("a missing light", light_missing, "light", W, "there: PWR", "led.name"),
    ("a missing gpiozero", gpiozero_missing, "light", W, "gpiozero", "recorder-agent[gpio]"),
    ("a failed service", service_failed, "service", C, "has failed", "journalctl"),
    ("a stopped service", service_stopped, "service", W, "inactive", "systemctl start"),
    ("a service that dies", service_restarted, "service", W, "7 times", "journalctl"),
    ("weak power", throttled("0x50005"), "temperature", W, "too weak", "power supply"),
    ("power that was weak", throttled("50000"), "temperature", W, "was too weak", "power supply"),
    ("a slowed processor", throttled("4"), "temperature", W, "slowed down", "heat sink"),
    ("heat", throttled("0", 81), "temperature", W, "81 °C", "heat sink"),
]


@pytest.mark.parametrize(
    ("break_it", "check", "state", "message", "hint"),
    [
        pytest.param(*rest, id=name, marks=[pytest.mark.root] if rest[0] is state_read_only else [])
        for name, *rest in BROKEN
    ],
)
def test_the_first_thing_said(
    patient: Patient, break_it: Callable[[Patient], None], check: str, state: Health, message: str, hint: str
) -> None:
    """In each broken state the first line that is not healthy names the cause, how bad it is, and the remedy."""
    break_it(patient)
    found = patient.examined()
    first = next(row for row in found if row.state in BAD)
    assert (first.check, first.state) == (check, state.value), first
    assert message in first.message, first
    assert hint in first.hint, first
    assert all(row.hint for row in found if row.state in BAD), found
    assert TOKEN not in str(found)
    depends = {each.name: each.needs for each in checks(patient.machine)}
    failed = {
        row.check for row in found if row.state == "critical" or row.message.startswith("not looked at")
    }
    for row in found:
        if row.state == "critical":  # an effect of another critical line is skipped, never critical as well
            assert not failed & set(depends[row.check]), row


# from outside


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command line from outside, with hardly any environment; its state directory counts as one on a disk."""
    on_disk = folder / "on-disk"
    on_disk.mkdir(exist_ok=True)
    (on_disk / "sitecustomize.py").write_text(
        "import agent.host.medium\nagent.host.medium.in_memory = lambda *_: False\n"
    )
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(on_disk), environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-c", "from agent.cli import main; main()", *arguments]
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def outside(patient: Patient, **environ: str) -> tuple[int, list[dict[str, str]]]:
    """Return the exit code of ``doctor --json``, and what it prints."""
    patient.session()
    done = run(patient.folder, "--config", str(patient.folder / "config.toml"), "doctor", "--json", **environ)
    rows: list[dict[str, str]] = json.loads(done.stdout)
    return done.returncode, rows


@pytest.mark.parametrize(
    ("module", "text", "check", "hint"),
    [
        ("opuslib", "raise Exception('Could not find Opus library.')", "libopus", "apt-get install libopus0"),
        (
            "pyaudio",
            "raise ImportError('libportaudio.so.2: cannot open shared object file')",
            "PortAudio",
            "apt-get install libportaudio2",
        ),
    ],
)
def test_a_missing_library_is_named(patient: Patient, module: str, text: str, check: str, hint: str) -> None:
    """Each library is missed by its own check, with the package to install; the exit code says so."""
    hidden = patient.folder / "hidden"
    hidden.mkdir()
    (hidden / f"{module}.py").write_text(text)
    code, rows = outside(patient, PYTHONPATH=str(hidden))
    first = next(row for row in rows if row["state"] in BAD)
    assert (code, first["check"], first["state"]) == (1, check, "critical"), first
    assert hint in first["hint"]


def test_json_is_a_list_of_four_keys_each(patient: Patient) -> None:
    """The contract: check, state, message, hint, and nothing else; warnings exit 0."""
    recording_parked(patient)
    code, rows = outside(patient)
    assert code == 0
    for row in rows:
        assert list(row) == ["check", "state", "message", "hint"]
        assert all(isinstance(value, str) for value in row.values())
        assert row["state"] in {"healthy", "warning", "critical", "unknown", "skipped"}
    assert [row["check"] for row in rows] == [check.name for check in checks()]


def test_a_person_reads_a_line_for_each(patient: Patient) -> None:
    """Marks stand out, hints stand below, and something critical exits 1."""
    token_refused(patient)
    patient.session()
    done = run(patient.folder, "--config", str(patient.folder / "config.toml"), "doctor")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    (index,) = [number for number, line in enumerate(lines) if line.startswith("CRITICAL")]
    assert lines[index].split(None, 1)[1].startswith("device token ")
    assert "→" in lines[index + 1]


def test_nothing_is_left_behind(patient: Patient) -> None:
    """An examination changes nothing in the state directory."""
    with_parts(patient, lambda parts: parts.ledger.add(Gap(Cause.CUT, parts.now(), None, 1)))
    before = {path: path.stat().st_mtime_ns for path in patient.state.rglob("*") if path.is_file()}
    patient.examined()
    after = {path: path.stat().st_mtime_ns for path in patient.state.rglob("*") if path.is_file()}
    assert after == before
