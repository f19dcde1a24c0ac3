"""Settings and token from a boot partition and from a stick, both real FAT, before the services start.

A boot is simulated by one transaction that starts what a boot starts; the last test boots for real.
"""

import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from container import Container
from installed import Installation
from machine import CONFIG, STATE, TARGET, TOKEN, UNIT, VOICE, Recorder

from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.server import SandboxServer

pytest_plugins = ["stage"]

PROVISION = "recorder-agent-provision.service"
BOOT, STICK = "/boot/firmware", "/dev/disk/by-label/RECORDER"
RECORDS_SECONDS = 10
SECOND = "dtok_of-another-device-0123456789"
MEGABYTES = 40
PULLED_TIMES = 2
LATEST_PULL = 0.6
HELPER = """#!/bin/sh
# mount -t vfat, by a program: not every kernel that runs containers has FAT. With /srv/pull the stick is pulled so many
# seconds later: whatever is read or written then fails.
[ "$(blockdev --getro "$1")" = 1 ] && rw="-o ro" || rw="-o rw+"
fusefat $rw "$1" "$2" >/dev/null || exit 32
if [ -e /srv/pull ]; then
    (sleep "$(cat /srv/pull)"; kill -9 $(pidof fusefat)) >/dev/null 2>&1 &
fi
"""


class Fat:
    """A FAT file system in a file, and the loop device of the host that has it."""

    def __init__(self, image: Path) -> None:
        self.image = image
        self.device = ""
        with image.open("wb") as file:
            file.truncate(MEGABYTES << 20)
        _call("mkfs.vfat", "-F", "32", "-n", "RECORDER", str(image))

    def write(self, **contents: str | bytes) -> None:
        """Put files into the folder ``recorder-agent``, as another computer does; names with _ for what they have."""
        _call("mmd", "-D", "s", "-i", str(self.image), "::recorder-agent", check=False)
        for name, content in contents.items():
            data = content.encode() if isinstance(content, str) else content
            target = {"config": "config.toml", "token": "device-token"}[name]
            subprocess.run(
                ["mcopy", "-D", "o", "-i", str(self.image), "-", f"::recorder-agent/{target}"],
                input=data,
                check=True,
                capture_output=True,
                timeout=30,
            )

    def read(self, name: str) -> str | None:
        """Return a file of the folder; None where there is none."""
        done = subprocess.run(
            ["mtype", "-i", str(self.image), f"::recorder-agent/{name}"],
            capture_output=True,
            check=False,
            timeout=30,
        )
        return done.stdout.decode() if done.returncode == 0 else None

    def holds(self, secret: str) -> bool:
        """Whether any byte run of the image is the secret."""
        return secret.encode() in self.image.read_bytes()

    @contextmanager
    def plugged(self, container: Container) -> Iterator[str]:
        """Give the container a device with it."""
        self.device = _call("losetup", "--find", "--show", str(self.image)).strip()
        number = self.device.removeprefix("/dev/loop")
        try:
            container.shell(f"[ -e {self.device} ] || mknod {self.device} b 7 {number}")
            yield self.device
        finally:
            _call("losetup", "--detach", self.device)


def _call(*command: str, check: bool = True) -> str:
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=30).stdout


@pytest.fixture(scope="module")
def recorder(new_recorder: Callable[[str], Recorder]) -> Recorder:
    """An installed machine."""
    recorder = new_recorder("provision")
    program = shutil.which("fusefat")
    assert program, "packaging/setup systemd installs it"
    libraries = re.findall(r"=> (/\S*(?:fuse|fat)\S*)", _call("ldd", program))
    for file in (program, *libraries):
        recorder.container.put(Path(file).resolve(), file)
    recorder.container.write("/sbin/mount.vfat", HELPER, 0o755)
    recorder.container.shell(
        f"mkdir -p {BOOT} /dev/disk/by-label; [ -e /dev/fuse ] || mknod /dev/fuse c 10 229"
    )
    return recorder


@pytest.fixture
def blank(recorder: Recorder) -> Iterator[Recorder]:
    """The same without a token, with the settings of an installation, stopped; nothing was taken over before."""
    recorder.container.shell(f"rm -rf {TOKEN} {STATE}/device.json /etc/recorder-agent/provisioned.json")
    recorder.configure()
    yield recorder
    recorder.systemctl("stop")


@pytest.fixture
def fat(tmp_path: Path) -> Fat:
    """An empty FAT file system."""
    return Fat(tmp_path / "fat.img")


def settings(recorder: Recorder, seconds: int = 3) -> str:
    """Return settings that record the voice, in segments of so many seconds."""
    return (
        f'[api]\nbase_url = "{recorder.sandbox.base_url}"\n[audio]\ninput = "file:{VOICE}?loop"\n'
        f"[recording]\nsegment_seconds = {seconds}\n[sync]\ncalls_per_minute = 1000\n"
    )


def boot(recorder: Recorder) -> float:
    """Start what a boot starts, in one transaction; return after how many seconds it records."""
    container = recorder.container
    container.run("systemctl", "stop", PROVISION)
    container.run("systemctl", "reset-failed")  # how often it was started is of no account behind a boot
    began = time.monotonic()
    container.run("systemctl", "start", PROVISION, TARGET)
    recorder.wait_sound(RECORDS_SECONDS + 10)
    seconds = time.monotonic() - began
    times = container.show(PROVISION, "ExecMainExitTimestampMonotonic", "Result")
    start = container.show(UNIT, "ExecMainStartTimestampMonotonic")["ExecMainStartTimestampMonotonic"]
    print(f"\nrecords {seconds:.1f} s after the start; provisioning: {times['Result']}")
    assert int(times["ExecMainExitTimestampMonotonic"]) <= int(start)
    return seconds


def boot_with_stick(recorder: Recorder, fat: Fat) -> float:
    """Boot with the stick in it."""
    with fat.plugged(recorder.container) as device:
        recorder.container.shell(f"ln -sfn {device} {STICK}")
        try:
            return boot(recorder)
        finally:
            recorder.container.shell(f"rm {STICK}")
            mounts = recorder.container.run("cat", "/proc/self/mountinfo").stdout
            assert device not in mounts


def facts(recorder: Recorder) -> str:
    """Return settings and token as they are, with owner and mode."""
    script = f"for f in {CONFIG} {TOKEN}; do stat -c '%U %G %a' $f 2>&1 || true; cat $f 2>&1 || true; done"
    return recorder.container.shell(script)


def test_a_boot_partition(blank: Recorder, fat: Fat) -> None:
    """Settings and token are in use with the right owner and mode, it records and delivers, and the token is gone."""
    fat.write(config=settings(blank, 2), token=f"{DEFAULT_TOKEN}\n")
    assert fat.holds(DEFAULT_TOKEN)
    container = blank.container
    before = set(blank.copies())
    with fat.plugged(container) as device:
        container.run("mount", "-t", "vfat", "-o", "umask=022", device, BOOT)
        try:
            assert boot(blank) < RECORDS_SECONDS
        finally:
            container.run("umount", BOOT)
    assert container.shell(f"stat -c '%U %G %a' {CONFIG} {TOKEN}").splitlines() == [
        "root root 644",
        "recorder-agent recorder-agent 600",
    ]
    assert container.run("cat", TOKEN).stdout.strip() == DEFAULT_TOKEN
    assert "accepted" in (fat.read("result.txt") or "")
    assert not fat.holds(DEFAULT_TOKEN)
    assert fat.read("device-token") is None
    assert "dtok_" not in container.journal()
    container.wait_for(lambda: set(blank.copies()) - before, 30, "delivery")


def test_control_a_token_that_is_only_deleted_stays_on_the_medium(blank: Recorder, fat: Fat) -> None:
    """Whoever deletes the file leaves its bytes: the judge finds them."""
    fat.write(token=f"{DEFAULT_TOKEN}\n")
    with fat.plugged(blank.container) as device:
        script = (
            f"mount -t vfat {device} {BOOT} && rm {BOOT}/recorder-agent/device-token; sync; umount {BOOT}"
        )
        blank.container.shell(script)
    assert fat.read("device-token") is None
    assert fat.holds(DEFAULT_TOKEN)


def test_a_stick(blank: Recorder, fat: Fat) -> None:
    """Mounted where nobody sees it, and unmounted again; a second boot with it changes nothing."""
    fat.write(config=settings(blank, 4), token=DEFAULT_TOKEN)
    assert boot_with_stick(blank, fat) < RECORDS_SECONDS
    assert not fat.holds(DEFAULT_TOKEN)
    assert "segment_seconds = 4" in blank.container.run("cat", CONFIG).stdout
    before, image = facts(blank), fat.image.read_bytes()
    blank.systemctl("stop")
    assert boot_with_stick(blank, fat) < RECORDS_SECONDS
    assert facts(blank) == before
    assert fat.read("result.txt") is not None
    assert len(image) == fat.image.stat().st_size


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("config", "[recording]\nsegment_seconds = -4\n", "segment_seconds"),
        ("config", "[recording]\nsegment_seconds = 60", "its end may be missing"),
        ("token", "password123\n", "no device token"),
        ("token", bytes(512), "empty"),
    ],
)
def test_what_is_wrong_or_half_written(
    blank: Recorder, fat: Fat, name: str, content: str | bytes, why: str
) -> None:
    """Refused as a whole: it records in time with the settings it had, and says why beside what was brought."""
    fat.write(config=settings(blank, 5), token=f"{DEFAULT_TOKEN}\n")
    fat.write(**{name: content})
    before = facts(blank)
    assert boot_with_stick(blank, fat) < RECORDS_SECONDS
    assert facts(blank) == before
    result = fat.read("result.txt") or ""
    assert "refused, and nothing was changed" in result
    assert why in result
    assert not re.search(r"dtok_\w", result + blank.container.journal())


def test_a_second_token(blank: Recorder, fat: Fat) -> None:
    """Refused while one is set, allowed by the owner's own settings alone, and then nothing of it is left."""
    blank.agent("token", "set", text=DEFAULT_TOKEN)
    fat.write(token=f"{SECOND}\n", config=settings(blank) + "[provision]\nreplace_token = true\n")
    before = facts(blank)
    assert boot_with_stick(blank, fat) < RECORDS_SECONDS
    assert facts(blank) == before
    assert "there is a device token already" in (fat.read("result.txt") or "")
    blank.systemctl("stop")
    blank.configure(provision="replace_token = true")
    assert boot_with_stick(blank, fat) < RECORDS_SECONDS
    assert blank.container.run("cat", TOKEN).stdout.strip() == SECOND
    assert not fat.holds(SECOND)


def test_a_stick_that_is_pulled_while_it_is_read(blank: Recorder, fat: Fat) -> None:
    """At any moment: all or nothing is in use, recording begins in time, and the next boot completes it."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"\nseed {seed}")
    rng = random.Random(seed)
    container = blank.container
    for _ in range(PULLED_TIMES):
        fat.write(config=settings(blank, 5), token=f"{DEFAULT_TOKEN}\n")
        before = facts(blank)
        container.write("/srv/pull", f"{rng.uniform(0, LATEST_PULL):.3f}")
        assert boot_with_stick(blank, fat) < RECORDS_SECONDS
        after = facts(blank)
        has_token = container.path(TOKEN).exists()
        assert after == before or "segment_seconds = 5" in after
        assert not has_token or "segment_seconds = 5" in after
        container.run("rm", "/srv/pull")
        blank.systemctl("stop")
        assert boot_with_stick(blank, fat) < RECORDS_SECONDS
        assert "segment_seconds = 5" in facts(blank)
        assert not fat.holds(DEFAULT_TOKEN)
        blank.systemctl("stop")
        container.shell(f"rm -rf {TOKEN} {STATE}/device.json /etc/recorder-agent/provisioned.json")
        blank.configure()
    assert DEFAULT_TOKEN not in container.journal(PROVISION)


def test_a_write_protected_stick(blank: Recorder, fat: Fat) -> None:
    """A token that could not be removed from it is not taken."""
    fat.write(token=f"{DEFAULT_TOKEN}\n")
    before = facts(blank)
    device = _call("losetup", "--find", "--show", "--read-only", str(fat.image)).strip()
    try:
        number = device.removeprefix("/dev/loop")
        blank.container.shell(f"[ -e {device} ] || mknod {device} b 7 {number}; ln -sfn {device} {STICK}")
        assert boot(blank) < RECORDS_SECONDS
        blank.container.shell(f"rm {STICK}")
    finally:
        _call("losetup", "--detach", device)
    assert facts(blank) == before
    journal = blank.container.journal(PROVISION)
    assert "write protection" in journal, journal


def test_nothing_was_brought(blank: Recorder) -> None:
    """No program is started for it."""
    assert boot(blank) < RECORDS_SECONDS
    assert blank.container.show(PROVISION, "ConditionResult", "ActiveState") == {
        "ConditionResult": "no",
        "ActiveState": "inactive",
    }


def test_a_real_boot(
    debian: Path, installation: Installation, tmp_path: Path, new_container: Callable[..., Container]
) -> None:
    """With the folder on the boot partition at a boot of the machine: within ten seconds of it there is sound."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(SandboxServer(tmp_path / "sandbox"))
        container = new_container("boot", installation.layer)
        recorder = Recorder(container, sandbox)
        container.path(CONFIG).unlink()
        for name in ("token", "device.json"):
            _call("rm", "-rf", str(container.path(f"{STATE}/{name}")))
        container.write(f"{BOOT}/recorder-agent/config.toml", settings(recorder, 2))
        container.write(f"{BOOT}/recorder-agent/device-token", f"{DEFAULT_TOKEN}\n")
        assert debian.exists()
        container.boot()
        recorder.wait_sound(RECORDS_SECONDS + 10)
        show = container.show(UNIT, "ExecMainStartTimestampMonotonic")
        userspace = container.run(
            "systemctl", "show", "--property=UserspaceTimestampMonotonic", "--value"
        ).stdout
        status = recorder.answer("status")
        seconds = (int(show["ExecMainStartTimestampMonotonic"]) - int(userspace)) / 1e6
        print(f"\nthe recorder was started {seconds:.1f} s after the boot began; {status['state']}")
        assert seconds < RECORDS_SECONDS
        assert container.run("cat", TOKEN).stdout.strip() == DEFAULT_TOKEN
        assert not container.path(f"{BOOT}/recorder-agent/device-token").exists()
        container.wait_for(recorder.copies, 30, "delivery")
