"""The doctor says the one right thing first, for each fault of this machine."""

import dataclasses
import os
import subprocess
import threading
from collections.abc import Callable

import pytest
from captured_sound import CARD, FakeCards
from doctor_setup import (
    RATE,
    STATUS,
    Broken,
    Patient,
    patient,
    recording_parked,
    with_parts,
)
from waiting_recordings import fill

from agent.control.server import ControlServer
from agent.doctor import local, sound
from agent.doctor.disks import Disks
from agent.doctor.examination import Health

__all__ = ["patient"]


LISTING = """\
Simple mixer control 'Mic In',0
  Capabilities: cvolume cvolume-joined cswitch cswitch-joined
  Capture channels: Mono
  Limits: Capture 0 - 35
  Mono: Capture 4 [{percent}%] [-8.00dB] [{switch}]
"""


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


W, C = Health.WARNING, Health.CRITICAL
BROKEN = [
    Broken("a wrong setting", wrong_setting, "config", C, "opus.bitrate_kbps is 4000", "config check"),
    Broken(
        "no state directory",
        no_state_directory,
        "state directory",
        W,
        "no state directory",
        "recorder-agent run",
    ),
    Broken("a state directory for all", state_for_all, "state directory", W, "by others", "chmod 700"),
    Broken("another's state directory", state_of_another, "state directory", C, "no right", "sudo"),
    Broken("a read-only disk", state_read_only, "state directory", C, "read-only", "card"),
    Broken("a full disk", disk_full, "disk space", C, "is full", "larger card"),
    Broken("a slow disk", disk_slow, "disk speed", W, "durable after", "replace it"),
    Broken("a damaged index", index_damaged, "index", W, "set aside", "repair --dry-run"),
    Broken("a parked recording", recording_parked, "index", W, "1 parked", "queue list"),
    Broken("a missing microphone", microphone_missing, "microphone", C, "not connected", "devices"),
    Broken("a silent microphone", microphone_silent, "microphone", W, "digital silence", "cable"),
    Broken(
        "a mixer at zero",
        mixer(0, "on"),
        "capture volume",
        W,
        "Mic In 0 %",
        "amixer -c Fake sset 'Mic In' 60% cap",
    ),
    Broken(
        "a mixer switched off", mixer(60, "off"), "capture volume", W, "60 %, switched off", "amixer -c Fake"
    ),
    Broken(
        "silence with an open mixer", mixer(60, "on"), "microphone", W, "at 60 %: it is switched off", "cable"
    ),
    Broken("a clipping microphone", microphone_clips, "microphone", W, "clips", "lower its gain"),
    Broken("a quiet microphone", microphone_quiet, "microphone", W, "very quiet", "raise its gain"),
    Broken(
        "a lost microphone", microphone_gone_beside_a_daemon, "microphone", C, "is not there", "plug it in"
    ),
    Broken("a daemon that hangs", daemon_hangs, "daemon", C, "does not answer", "systemctl restart"),
    Broken("a mute", muted, "recorder", W, "muted", "unmute"),
    Broken("a full quota", storage_full_beside_a_daemon, "recorder", C, "max_mb", "deliver or delete"),
    Broken("a wrong clock", clock_wrong, "clock", W, "not synchronised", "NTP"),
    Broken("a missing light", light_missing, "light", W, "there: PWR", "led.name"),
    Broken("a missing gpiozero", gpiozero_missing, "extras", W, "gpiozero", "recorder-agent[gpio]"),
    Broken("missing metrics", metrics_missing, "extras", W, "prometheus_client", "recorder-agent[metrics]"),
    Broken("no folder for metrics", metrics_nowhere, "metrics", W, "no folder", "mkdir -p"),
    Broken("metrics of yesterday", metrics_stale, "metrics", W, "last written", "journalctl"),
    Broken("a disk that is not mounted", not_mounted, "mount", C, "not mounted", "sudo mount"),
    Broken("a disk of FAT", fat, "file system", W, "knows no owners", "ext4"),
    Broken("a disk of another machine", remote, "file system", W, "another machine", "storage.directory"),
    Broken("a disk with errors", with_errors, "file system", W, "3 errors", "fsck"),
    Broken("a service shut out", shut_out, "service access", C, "may not write to", "systemd/install"),
    Broken("a failed service", service_failed, "service", C, "has failed", "journalctl"),
    Broken("a stopped service", service_stopped, "service", W, "inactive", "systemctl start"),
    Broken("a service that dies", service_restarted, "service", W, "7 times", "journalctl"),
    Broken("weak power", throttled("0x50005"), "temperature", W, "too weak", "power supply"),
    Broken("power that was weak", throttled("50000"), "temperature", W, "was too weak", "power supply"),
    Broken("a slowed processor", throttled("4"), "temperature", W, "slowed down", "heat sink"),
    Broken("heat", throttled("0", 81), "temperature", W, "81 °C", "heat sink"),
]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(each, id=each.name, marks=[pytest.mark.root] if each.break_it is state_read_only else [])
        for each in BROKEN
    ],
)
def test_the_first_thing_said(patient: Patient, broken: Broken) -> None:
    """In each broken state the first line that is not healthy names the cause, how bad it is, and the remedy."""
    broken.judge(patient)
