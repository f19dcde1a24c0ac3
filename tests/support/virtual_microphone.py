"""A microphone without a sound card: a PulseAudio of its own, and an ALSA configuration that leads to it."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import priority
import pytest

RATE = 48000
"""Hz of the virtual device; capture at this rate is exact."""
FIRST_BLOCK_SECONDS = 2.2
"""PulseAudio's null sink takes 2 s for its first block."""
ALSA_CONFIG = """\
pcm.!default { type pulse }
ctl.!default { type pulse }
pcm.mic { type pulse device "mic" }
"""


class VirtualMicrophone:
    """PulseAudio with a null sink ``vmic`` whose monitor is the source ``mic``.

    Needs nothing but the packages pulseaudio, pulseaudio-utils and libasound2-plugins; runs as root too. The
    path of ``root`` must be short (a Unix socket is in it) and free of spaces and colons (ALSA_CONFIG_PATH).

    It stands for hardware: where that is allowed, it waits for no program of a busy machine.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._socket = root / "native"
        self._daemon: subprocess.Popen[bytes] | None = None
        self._primer: subprocess.Popen[bytes] | None = None
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)
        (root / "asound.conf").write_text(ALSA_CONFIG)

    @property
    def env(self) -> dict[str, str]:
        """The whole environment for a process that is to hear this microphone, and no other."""
        return os.environ | {
            "HOME": str(self._root),
            "XDG_RUNTIME_DIR": str(self._root),
            "PULSE_RUNTIME_PATH": str(self._root),
            "PULSE_SERVER": f"unix:{self._socket}",
            "ALSA_CONFIG_PATH": str(self._root / "asound.conf"),
        }

    @property
    def running(self) -> bool:
        """Whether the daemon was started and not yet killed; a frozen one runs."""
        return self._daemon is not None

    @property
    def pid(self) -> int | None:
        """The daemon's process number; None while there is none."""
        return self._daemon.pid if self._daemon is not None else None

    def start(self) -> None:
        """Start the daemon and wait until sound flows at its regular pace (about 2.5 s)."""
        self._socket.unlink(missing_ok=True)
        options = "-n --daemonize=no --use-pid-file=no --exit-idle-time=-1 --disable-shm=yes --realtime=no"
        command = ["pulseaudio", *options.split(), "--high-priority=no"]
        sockets = f"module-native-protocol-unix auth-anonymous=1 socket={self._socket}"
        for module in (sockets, *self._modules()):
            command += ["-L", module]
        self._daemon = self._spawn(command)
        self._wait_until_it_answers()
        priority.hardware(self._daemon.pid)  # also the threads that had begun before
        self.pactl("set-default-source", "mic")
        self._begin()

    def _modules(self) -> tuple[str, ...]:
        """Return what makes the source ``mic``."""
        return (
            f"module-null-sink sink_name=vmic rate={RATE} channels=1",
            "module-remap-source source_name=mic master=vmic.monitor channels=1",
        )

    def _begin(self) -> None:
        """Have sound flow."""
        pacat = ["pacat", "--raw", "--latency-msec=20", "--channels=1", "-d", "vmic"]
        self._primer = self._spawn([*pacat, f"--rate={RATE}", "/dev/zero"])
        time.sleep(FIRST_BLOCK_SECONDS)

    def stop(self) -> None:
        """End the daemon for good."""
        self.kill()

    def kill(self) -> None:
        """Unplug: the daemon dies at once, frozen or not, and the source with it."""
        for process in (self._daemon, self._primer):
            if process is not None:
                process.kill()
                process.wait()
        self._daemon = self._primer = None

    def restart(self) -> None:
        """Plug in again."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Wedge: the device stays there, and gives nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """End the wedge."""
        self._signal(signal.SIGCONT)

    def play(self, wav: Path, sink: str = "vmic") -> None:
        """Play a file into the microphone, at real time; returns when it has been played.

        PulseAudio swallows the first 5 ms of a stream: a file to be compared exactly begins with silence.
        """
        subprocess.run(["paplay", "-d", sink, str(wav)], env=self.env, check=True, timeout=60)

    def pactl(self, *arguments: str) -> str:
        """Run ``pactl`` on this daemon and return what it prints."""
        command = ["pactl", *arguments]
        done = subprocess.run(command, env=self.env, check=True, capture_output=True, text=True, timeout=10)
        return done.stdout.strip()

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        nowhere = subprocess.DEVNULL
        process = subprocess.Popen(command, env=self.env, stdin=nowhere, stdout=nowhere, stderr=nowhere)
        priority.hardware(process.pid)
        return process

    def _signal(self, number: signal.Signals) -> None:
        assert self._daemon is not None
        self._daemon.send_signal(number)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                self.pactl("info")
            except subprocess.CalledProcessError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


@pytest.fixture(scope="session")
def virtual_microphone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualMicrophone]:
    """The one virtual microphone of a test session; a test that kills or freezes it brings it back."""
    microphone = VirtualMicrophone(tmp_path_factory.mktemp("mic"))
    microphone.start()
    yield microphone
    microphone.stop()
