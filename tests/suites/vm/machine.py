"""One virtual machine: power, commands inside, power cuts."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import priority

from vm.image import Image
from vm.problem import CannotRunError

QEMU = "qemu-system-x86_64"
EMULATED = ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,-la57,-smap,-smep,-pku,-umip,-pcid")
NATIVE = ("-accel", "kvm", "-cpu", "host")
KERNEL_WORDS = (
    "console=ttyS0 root=/dev/vda rw quiet systemd.show_status=0 mitigations=off init_on_alloc=0 audit=0 apparmor=0"
    " nokaslr net.ifnames=0 panic=5"
)
COMMAND_PORT = 7000
BOOT_SECONDS = 240
KVM_TRIAL_SECONDS = 25


@dataclass(frozen=True)
class Answer:
    """What a command in the machine said; code 124: it was ended after its time."""

    code: int
    output: str


class Machine:
    """A virtual machine over one disk; its files (serial line, QMP) go into ``folder``.

    ``usb`` are the sockets of USB devices, by port; ``ports`` are what this host serves the machine with, by name
    ("api", "clock"); ``more`` are further options of QEMU, and what it needs in its environment.
    QEMU ends with this process, whatever happens to it.
    """

    def __init__(
        self,
        image: Image,
        folder: Path,
        *,
        ports: dict[str, int],
        usb: dict[int, Path],
        accelerator: tuple[str, ...],
        more: tuple[list[str], dict[str, str]] = ([], {}),
    ) -> None:
        self.image = image
        self.folder = folder
        self._ports = ports
        self._usb = usb
        self._accelerator = accelerator
        self._more, self._environment = more
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._ran = self._waited = 0.0
        self.started_at = 0.0
        """Host time of the last power on."""

    def power_on(self) -> None:
        """Switch it on; ``wait_ready`` tells when it takes commands."""
        self._port = free_port()
        self.started_at = time.time()
        with (self.folder / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", QEMU, *self._options()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **self._environment},
            )  # fmt: skip
        priority.real_time(self._process.pid)

    def wait_ready(self, seconds: float = BOOT_SECONDS) -> float:
        """Wait until it takes commands, and return how long that took.

        Raises:
            TimeoutError: it does not; the end of the serial line is in the message.
        """
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if not self.is_on():
                raise CannotRunError(f"QEMU has ended by itself: {self._tail('qemu.log')}")
            if self.run("true", 15).code == 0:
                return time.monotonic() - began
            time.sleep(0.5)
        raise TimeoutError(f"the machine is not up after {seconds:.0f} s: {self._tail('serial.log')}")

    def run(self, command: str, seconds: float = 120) -> Answer:
        """Run a command of the shell as root; code 255: the machine does not answer."""
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=seconds + 20) as link:
                link.sendall(json.dumps({"command": command, "seconds": seconds}).encode() + b"\n")
                line = link.makefile("rb").readline()
            return Answer(**json.loads(line)) if line else Answer(255, "")
        except (OSError, ValueError):
            return Answer(255, "")

    def json(self, command: str, seconds: float = 120) -> Any:
        """Return what a command prints as JSON.

        Raises:
            ValueError: it prints something else; the message has it.
        """
        answer = self.run(f"{command} 2>/tmp/stderr", seconds)
        try:
            return json.loads(answer.output)
        except ValueError as error:
            raise ValueError(f"{command}: code {answer.code}, {answer.output[-300:]!r}") from error

    def wait_for(self, condition: Callable[[], bool], seconds: float, pause: float = 2) -> float | None:
        """Return the seconds until something came true, None when it has not."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if condition():
                return time.monotonic() - began
            time.sleep(pause)
        return None

    def cut_power(self) -> float:
        """Kill the machine as a power cut does, and return the host time of that."""
        process = self._process
        assert process is not None
        self._note_waiting()
        killed = time.time()
        process.send_signal(signal.SIGKILL)
        process.wait()
        self._process = None
        return killed

    def power_off(self, seconds: float = 90) -> bool:
        """Shut it down in order; False: it had to be killed."""
        self._note_waiting()
        self.run("systemctl poweroff", 10)
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.cut_power()
            return False
        self._process = None
        return True

    def is_on(self) -> bool:
        """Say whether QEMU runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def waited_share(self) -> float:
        """How much of the time in which the machine wanted a processor of this host it had to wait for one."""
        return self._waited / max(1e-9, self._ran + self._waited)

    def end(self) -> None:
        """Leave nothing running."""
        if self.is_on():
            self.cut_power()

    def monitor(self, command: str, **arguments: Any) -> Any:
        """Give QEMU itself a command (QMP), and return its answer."""
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(self.folder / "qmp"))
            stream = link.makefile("rw")
            stream.readline()
            answer: dict[str, Any] = {}
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                answer = {"event": ""}
                while "event" in answer:
                    answer = json.loads(stream.readline())
            return answer.get("return", answer)

    def _note_waiting(self) -> None:
        for task in Path(f"/proc/{self._process.pid}/task").iterdir() if self._process else ():
            with contextlib.suppress(OSError):
                ran, waited, _ = map(int, (task / "schedstat").read_text("ascii").split())
                self._ran += ran / 1e9
                self._waited += waited / 1e9

    def _options(self) -> list[str]:
        serial = self.folder / "serial.log"
        options = [
            "-machine", "q35", *self._accelerator, "-m", "768", "-smp", "2", "-nodefaults", "-display", "none",
            "-kernel", str(self.image.vmlinuz), "-initrd", str(self.image.initrd),
            "-append", " ".join((KERNEL_WORDS, *(f"lab.{name}={port}" for name, port in self._ports.items()))),
            "-chardev", f"file,id=serial,path={serial},append=on", "-serial", "chardev:serial",
            "-drive", f"file={self.image.disk},format=raw,if=none,id=disk,cache=writeback",
            "-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci",
            "-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self._port}-:{COMMAND_PORT}",
            "-device", "virtio-net-pci,netdev=net,romfile=", "-rtc", "base=utc",
            "-qmp", f"unix:{self.folder / 'qmp'},server=on,wait=off", "-device", "qemu-xhci,id=xhci",
        ]  # fmt: skip
        for port, path in self._usb.items():
            options += ["-chardev", f"socket,id=usb{port},path={path},reconnect=1"]
            options += ["-device", f"usb-redir,chardev=usb{port},id=redir{port},bus=xhci.0,port={port}"]
        return options + self._more

    def _tail(self, name: str) -> str:
        try:
            return (self.folder / name).read_text("utf-8", "replace")[-600:]
        except OSError:
            return "nothing was said"


def accelerator(image: Image, folder: Path) -> tuple[tuple[str, ...], str]:
    """Return QEMU's options for the quickest way that boots this kernel here, and a sentence about it.

    That KVM does not boot it is remembered beside the kernel until this host boots anew.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return EMULATED, "there is no /dev/kvm to use: the processor is emulated"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
    failed = image.vmlinuz.with_name(f"kvm-failed-{boot}")
    if failed.exists():
        return EMULATED, "KVM did not boot this kernel when it was tried: the processor is emulated"
    machine = Machine(image, folder, ports={}, usb={}, accelerator=(*NATIVE, "-snapshot"))
    machine.power_on()
    try:
        seconds = machine.wait_ready(KVM_TRIAL_SECONDS)
    except (TimeoutError, CannotRunError):
        failed.touch()
        sentence = (
            f"KVM is here and did not boot this kernel in {KVM_TRIAL_SECONDS} s: the processor is emulated"
        )
        return EMULATED, sentence
    finally:
        machine.end()
    return NATIVE, f"KVM is used: it booted in {seconds:.0f} s"


def free_port() -> int:
    """Return a TCP port of this host that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_tools() -> None:
    """Raise when a program is missing that the suite needs.

    Raises:
        CannotRunError: names them.
    """
    wanted = (QEMU, "mmdebstrap", "modprobe", "depmod", "setpriv", "mkfs.ext4", "dpkg-deb", "opusdec", "xz")
    missing = [name for name in wanted if shutil.which(name) is None]
    if os.geteuid() != 0:
        raise CannotRunError("building and mounting images needs root: run it with sudo.")
    if missing:
        raise CannotRunError(
            f"{', '.join(missing)} cannot be found: install the packages of [vm] in packaging/apt-packages."
        )
