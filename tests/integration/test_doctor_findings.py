"""The doctor says the one right thing first, in each broken state."""

import dataclasses
import http.server
import os
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from captured_sound import CARD, FakeCards
from doctor_setup import (
    BAD,
    RATE,
    STATUS,
    TOKEN,
    Patient,
    patient,
    recording_parked,
    token_refused,
    with_parts,
)
from waiting_recordings import fill

from agent.control.server import ControlServer
from agent.doctor import local, sound
from agent.doctor.checks import checks
from agent.doctor.disks import Disks
from agent.doctor.examination import Health
from agent.sandbox.faults import Call, Fault

__all__ = ["patient"]

LISTING = """\
Simple mixer control 'Mic In',0
  Capabilities: cvolume cvolume-joined cswitch cswitch-joined
  Capture channels: Mono
  Limits: Capture 0 - 35
  Mono: Capture 4 [{percent}%] [-8.00dB] [{switch}]
"""

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


def microphone_missing(patient: Patient) -> None:
    """An id that nobody answers to."""
    patient.settings["audio"] = {"input": "usb-0000:0000-nothing"}


def microphone_silent(patient: Patient) -> None:
    """Its switch is off."""
    patient.hear(bytes(2 * RATE))


def mixer(percent: int, switch: str) -> Callable[[Patient], None]:
    """Return what turns a card's capture control down, or off."""

    def set_up(patient: Patient) -> None:
        folder = patient.folder / "bin"
        folder.mkdir()
        program = folder / "amixer"
        program.write_text(f"#!/bin/sh\ncat <<END\n{LISTING.format(percent=percent, switch=switch)}END\n")
        program.chmod(0o755)
        patient.patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        patient.patch.setattr(sound, "SoundCards", lambda: FakeCards(CARD))
        said = {"id": CARD.stable_id, "name": CARD.name, "state": "silent", "quality": "silent"}
        patient.daemon(microphone=STATUS["microphone"] | said)

    return set_up


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
    patient.patch.setattr("agent.facade.context.ANSWER_SECONDS", 0.3)


def muted(patient: Patient) -> None:
    """A person has silenced it."""
    patient.daemon(state="muted", microphone=STATUS["microphone"] | {"state": "closed"})


def storage_full_beside_a_daemon(patient: Patient) -> None:
    """storage.max_mb is reached: there is room on the disk."""
    patient.daemon(
        state="storage_full",
        fault="all of storage.max_mb is used; deliver or delete",
        fault_hint="deliver or delete",
    )


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


def metrics_missing(patient: Patient) -> None:
    """The extra was not installed."""
    patient.settings["metrics"] = {"file": str(patient.folder / "x.prom")}
    patient.patch.setattr("importlib.util.find_spec", lambda _name: None)


def metrics_nowhere(patient: Patient) -> None:
    """Nobody has made the folder of the node exporter."""
    patient.settings["metrics"] = {"file": str(patient.folder / "none/x.prom")}


def metrics_stale(patient: Patient) -> None:
    """The deliverer may not write them any more."""
    file = patient.folder / "x.prom"
    file.touch()
    os.utime(file, (0, 0))
    patient.settings["metrics"] = {"file": str(file)}
    patient.daemon()


def lies_on(patient: Patient, kind: str) -> None:
    """Let the state directory lie on such a file system."""
    status = patient.state.stat()
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    (patient.folder / "mounts").write_text(f"1 0 {device} / {patient.folder} rw - {kind} /dev/sda1 rw\n")
    disks = Disks(patient.machine.sysfs, patient.folder / "fstab", patient.folder / "mounts")
    patient.machine = dataclasses.replace(patient.machine, disks=disks)


def not_mounted(patient: Patient) -> None:
    """The table has a disk for the recordings, and it is not plugged in."""
    lies_on(patient, "ext4")
    (patient.folder / "fstab").write_text(f"# a comment\nUUID=1 {patient.state} ext4 nofail 0 2\n")


def fat(patient: Patient) -> None:
    """A stick as it was bought."""
    lies_on(patient, "vfat")


def remote(patient: Patient) -> None:
    """A folder of the network."""
    lies_on(patient, "nfs4")


def with_errors(patient: Patient) -> None:
    """The kernel has noted some."""
    lies_on(patient, "ext4")
    status = patient.state.stat()
    device = patient.machine.sysfs / "devices/sda1"
    device.mkdir(parents=True)
    link = patient.machine.sysfs / f"dev/block/{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    link.parent.mkdir(parents=True)
    link.symlink_to(device)
    patient.sysfs("fs/ext4/sda1/errors_count", "3\n")


def shut_out(patient: Patient) -> None:
    """The settings name another folder since the installation."""
    patient.systemd(LoadState="loaded", ActiveState="active", NRestarts="0", ReadWritePaths="-/data")
    patient.patch.setattr("agent.doctor.machine.SYSTEM_FILE", patient.folder / "config.toml")
    patient.patch.setattr("agent.hints.is_service_here", lambda: True)


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
    (
        "no state directory",
        no_state_directory,
        "state directory",
        W,
        "no state directory",
        "recorder-agent run",
    ),
    ("a state directory for all", state_for_all, "state directory", W, "by others", "chmod 700"),
    ("another's state directory", state_of_another, "state directory", C, "no right", "sudo"),
    ("a read-only disk", state_read_only, "state directory", C, "read-only", "card"),
    ("a full disk", disk_full, "disk space", C, "is full", "larger card"),
    ("a slow disk", disk_slow, "disk speed", W, "durable after", "replace it"),
    ("a damaged index", index_damaged, "index", W, "set aside", "repair --dry-run"),
    ("a parked recording", recording_parked, "index", W, "1 parked", "queue list"),
    ("a missing microphone", microphone_missing, "microphone", C, "not connected", "devices"),
    ("a silent microphone", microphone_silent, "microphone", W, "digital silence", "cable"),
    (
        "a mixer at zero",
        mixer(0, "on"),
        "capture volume",
        W,
        "Mic In 0 %",
        "amixer -c Fake sset 'Mic In' 60% cap",
    ),
    ("a mixer switched off", mixer(60, "off"), "capture volume", W, "60 %, switched off", "amixer -c Fake"),
    ("silence with an open mixer", mixer(60, "on"), "microphone", W, "at 60 %: it is switched off", "cable"),
    ("a clipping microphone", microphone_clips, "microphone", W, "clips", "lower its gain"),
    ("a quiet microphone", microphone_quiet, "microphone", W, "very quiet", "raise its gain"),
    ("a lost microphone", microphone_gone_beside_a_daemon, "microphone", C, "is not there", "plug it in"),
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
    ("a missing gpiozero", gpiozero_missing, "extras", W, "gpiozero", "recorder-agent[gpio]"),
    ("missing metrics", metrics_missing, "extras", W, "prometheus_client", "recorder-agent[metrics]"),
    ("no folder for metrics", metrics_nowhere, "metrics", W, "no folder", "mkdir -p"),
    ("metrics of yesterday", metrics_stale, "metrics", W, "last written", "journalctl"),
    ("a disk that is not mounted", not_mounted, "mount", C, "not mounted", "sudo mount"),
    ("a disk of FAT", fat, "file system", W, "knows no owners", "ext4"),
    ("a disk of another machine", remote, "file system", W, "another machine", "storage.directory"),
    ("a disk with errors", with_errors, "file system", W, "3 errors", "fsck"),
    ("a service shut out", shut_out, "service access", C, "may not write to", "systemd/install"),
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
