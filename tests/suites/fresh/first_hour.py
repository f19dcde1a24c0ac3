"""A new owner's machine: a fresh Debian with a microphone and a network, and somebody who types what the README says.

The microphone is a PulseAudio whose ALSA device is the default one; it hears recorded speech. The API is a sandbox that
answers under the API's own name, with a certificate that the machine trusts: no setting differs from a customer's.
"""

import os
import pty
import re
import select
import socket
import subprocess
import termios
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from container import Container
from debian import base_tree
from machine import bring_sources
from speech import speech, write_wav

from agent.sandbox.server import SandboxServer

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "udev", "ca-certificates", "procps", "sudo", "passwd"),
    *("pulseaudio", "pulseaudio-utils"),
)
"""What an image of a Raspberry Pi has; the last line is the microphone."""
PERSON, ORIGIN = "person", "/srv/origin"
API = "api.bota.dev"
TOKEN = "dtok_sandbox"
ENDED = re.compile(r"::ended (\d+) ::")
ANSWERS = {
    "[Y/n]": "",
    "which one?": "",
    "Device token:": TOKEN,
}
"""What is asked on the way, and what is typed then; nothing is Enter alone."""
WATCHED = "\x03"
"""Ctrl-C: what a person types to leave a command that goes on."""
MICROPHONE = """\
[Unit]
Description=A microphone

[Service]
RuntimeDirectory=microphone microphone-socket
RuntimeDirectoryMode=0755
Environment=HOME=/run/microphone PULSE_RUNTIME_PATH=/run/microphone XDG_RUNTIME_DIR=/run/microphone
ExecStart=/usr/bin/pulseaudio -n --daemonize=no --use-pid-file=no --exit-idle-time=-1 --disable-shm=yes --realtime=no \\
    --high-priority=no -L "module-native-protocol-unix auth-anonymous=1 socket=/run/microphone-socket/native" \\
    -L "module-null-sink sink_name=room rate=48000 channels=1" \\
    -L "module-remap-source source_name=mic master=room.monitor channels=1"
Restart=always

[Install]
WantedBy=sysinit.target
"""
VOICE = """\
[Unit]
Description=Somebody speaks
After=microphone.service

[Service]
ExecStart=/bin/sh -c 'while sleep 0.2; do pactl set-default-source mic; paplay -d room /srv/voice.wav; done'
Restart=always

[Install]
WantedBy=multi-user.target
"""
CLIENT = "default-server = unix:/run/microphone-socket/native\nautospawn = no\nenable-shm = no\n"
ALSA = "pcm.!default { type pulse }\nctl.!default { type pulse }\n"


class NamedSandbox(SandboxServer):
    """A sandbox that answers as the API, on an address of this machine alone."""

    def __init__(self, directory: Path, address: str) -> None:
        super().__init__(directory, host=API, port=443, tls=True)
        self._address = address

    def _listen(self) -> socket.socket:
        listener = socket.create_server((self._address, 443))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener


@dataclass
class Typed:
    """One command: what was asked meanwhile, how it ended, how long it took, and what it showed."""

    command: str
    code: int
    seconds: float
    asked: list[str]
    shown: str = field(repr=False)


class Owner:
    """A person at the terminal of one machine; as a context manager the machine is gone afterwards."""

    def __init__(self, release: str, sandbox: NamedSandbox, address: str, folder: Path) -> None:
        self.release = release
        self.sandbox = sandbox
        self.container = Container(f"hour-{release}", [base_tree(release, PACKAGES)])
        self.typed: list[Typed] = []
        self._address = address
        self._folder = folder
        self._terminal = -1
        self._shell: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        container = self.container
        self._give_microphone()
        container.write("/etc/hosts", f"127.0.0.1 localhost {container.name}\n{self._address} {API}\n")
        assert self.sandbox.ca_file is not None
        container.write(
            "/usr/local/share/ca-certificates/sandbox.crt", self.sandbox.ca_file.read_text("utf-8")
        )
        container.boot()
        container.shell(
            # The host's bundle, by which pip reaches its registry, stays in force.
            "cp /etc/ssl/certs/ca-certificates.crt /tmp/bundle.crt && update-ca-certificates\n"
            "cat /tmp/bundle.crt /usr/local/share/ca-certificates/sandbox.crt >/etc/ssl/certs/ca-certificates.crt\n"
            f"useradd --create-home --shell /bin/bash {PERSON}\n"
            f"echo '{PERSON} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{PERSON}\n"
            f"chmod 0440 /etc/sudoers.d/{PERSON}\n"
            f"echo \"PS1='$ ' PROMPT_COMMAND='echo ::ended \\$? ::'\" > /home/{PERSON}/.bash_profile\n"
            "systemctl enable --now microphone.service voice.service"
        )
        bring_sources(container, ORIGIN)
        return self

    def __exit__(self, *_: object) -> None:
        if self._shell is not None:
            self._shell.kill()
            self._shell.wait()
            os.close(self._terminal)
        self.container.destroy()

    def _give_microphone(self) -> None:
        container = self.container
        voice = write_wav(self._folder / "voice.wav", 48_000, 1, speech(48_000, 1, 48_000 * 30))
        container.put(voice, "/srv/voice.wav")
        container.write("/etc/systemd/system/microphone.service", MICROPHONE)
        container.write("/etc/systemd/system/voice.service", VOICE)
        container.write("/etc/pulse/client.conf", CLIENT)
        container.write("/etc/asound.conf", ALSA)

    def make_origin(self) -> None:
        """Make what is to be cloned, once there is git."""
        self.container.shell(
            f"cd {ORIGIN} && git init -q && git add -A && git -c user.name=x -c user.email=x@example.org commit -qm x\n"
            f"chown -R {PERSON}: {ORIGIN}"
        )

    def type(self, command: str, *, timeout: float, leave_after: str = "") -> Typed:
        """Type a command and answer what it asks; one that goes on is left when it has shown something."""
        began, shown, asked = time.monotonic(), "", []
        self._write(f"{command}\n")
        unread, answered = "", 0
        while not (ended := ENDED.search(shown)):
            assert time.monotonic() - began < timeout, (
                f"{command} did not end within {timeout} s:\n{shown[-4000:]}"
            )
            unread = self._read()
            shown += unread
            rest = shown[answered:]
            for question, answer in ANSWERS.items():
                if question in rest:
                    asked.append(question)
                    answered = len(shown)
                    time.sleep(0.5)
                    self._write(f"{answer}\n")
                    break
            if leave_after and leave_after in rest:
                leave_after = ""
                time.sleep(2)
                self._write(WATCHED)
        step = Typed(command, int(ended[1]), time.monotonic() - began, asked, shown)
        self.typed.append(step)
        print(f"first hour: {self.release}: $ {command}\n{shown}", flush=True)
        return step

    def _write(self, text: str) -> None:
        if self._shell is None:
            self._begin()
        os.write(self._terminal, text.encode())

    def _begin(self) -> None:
        """Log in."""
        self._terminal, theirs = pty.openpty()
        attributes = termios.tcgetattr(theirs)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        words = self.container.words("su", "--login", PERSON)
        self._shell = subprocess.Popen(
            words,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: os.login_tty(theirs),  # noqa: PLW1509 - sudo and the prompts want a terminal of their own
        )
        os.close(theirs)
        began, shown = time.monotonic(), ""
        while not ENDED.search(shown):
            assert time.monotonic() - began < 60, f"nobody can log in: {shown}"
            shown += self._read()

    def _read(self) -> str:
        if not select.select([self._terminal], [], [], 0.2)[0]:
            return ""
        return os.read(self._terminal, 65536).decode(errors="replace")
