"""Recorders that listen at the virtual microphone, and what is played to them."""

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from acceptance import Json, Machine, wait_for
from numpy.typing import NDArray
from virtual_microphone import RATE, VirtualMicrophone

from agent.control.server import NotRunning, ask
from agent.process.state_directory import StateDirectory

ROOM_DBFS = -50.0
"""Of the noise of a room in which nobody speaks."""
BEGIN_SECONDS = 30.0


def say(text: str) -> None:
    """Print a line for the person who reads the results."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def room(rng: np.random.Generator, seconds: float) -> NDArray[np.int16]:
    """Return the noise of a room, pink, at the rate of the virtual microphone."""
    count = round(seconds * RATE)
    spectrum = np.fft.rfft(rng.normal(size=count))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    noise = np.fft.irfft(spectrum, count)
    return np.asarray(noise / noise.std() * 32768 * 10 ** (ROOM_DBFS / 20)).astype("<i2")


class Loudspeaker:
    """Plays one sound over and over into the virtual microphone, until it is given another one."""

    def __init__(self, microphone: VirtualMicrophone, sound: NDArray[np.int16]) -> None:
        self.sound = sound
        self._stopped = threading.Event()
        command = ["pacat", "--raw", "--latency-msec=1000", f"--rate={RATE}", "--channels=1", "-d", "vmic"]
        self._process = subprocess.Popen(
            command, env=microphone.env, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._thread = threading.Thread(target=self._feed)
        self._thread.start()

    def stop(self) -> None:
        """Play no more."""
        self._stopped.set()
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _feed(self) -> None:
        assert self._process.stdin is not None
        piece = RATE // 10
        with contextlib.suppress(OSError):
            while not self._stopped.is_set():
                sound = self.sound
                for begin in range(0, len(sound), piece):
                    self._process.stdin.write(sound[begin : begin + piece].tobytes())
                    if self.sound is not sound or self._stopped.is_set():
                        break


def at_the_microphone(folder: Path, microphone: VirtualMicrophone, **recording: object) -> Machine:
    """Return a machine that hears the virtual microphone and delivers nowhere."""
    machine = Machine(folder)
    keys = ("XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "PULSE_SERVER", "ALSA_CONFIG_PATH")
    machine.environment |= {key: microphone.env[key] for key in keys}
    machine.environment["XDG_RUNTIME_DIR"] = str(folder / "run")
    machine.configure(api={"base_url": "http://127.0.0.1:9/v1"}, recording=recording)
    return machine


def status(machine: Machine) -> Json:
    """Return what its recorder says of itself; a state of its own where none answers."""
    try:
        return dict(ask(StateDirectory(machine.state, machine.state).socket, {"command": "status"}))
    except NotRunning:
        return {"state": "gone"}


@contextlib.contextmanager
def recorder(machine: Machine, state: str) -> Iterator[subprocess.Popen[str]]:
    """Keep a recorder alone running, from the moment at which it is in a state; at the end it is asked to stop."""
    with (
        (machine.folder / "log").open("a") as log,
        machine.popen("run", "--only", "recorder", stderr=log) as process,
    ):
        try:
            wait_for(lambda: status(machine)["state"] == state, BEGIN_SECONDS)
            yield process
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in (machine.folder / "log").read_text()


def pause(seconds: float) -> None:
    """Let real time pass: what is measured is what real processes do in it."""
    time.sleep(seconds)
