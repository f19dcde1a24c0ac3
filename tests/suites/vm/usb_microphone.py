"""A USB microphone in software, plugged into QEMU by the usbredir protocol; its sound is the code of this host's time.

usage: usb_microphone.py SOCKET OFFSET NAME CHANNELS. Commands are lines of standard input, events are lines of standard
output (host time, words). It ends with its standard input.
"""

import os
import select
import socket
import struct
import sys
import time
from pathlib import Path

from vm import usb_descriptors
from vm.usb_sound import LOUDEST, QUIETEST, VOLUME_STEP, UsbSound

VENDOR, PRODUCT = 0x0D8C, 0x0014
HELLO, CONNECT, DISCONNECT, RESET, INTERFACES, ENDPOINTS = 0, 1, 2, 3, 4, 5
SET_CONFIGURATION, GET_CONFIGURATION, CONFIGURATION_STATUS = 6, 7, 8
SET_SETTING, GET_SETTING, SETTING_STATUS = 9, 10, 11
START_STREAM, STOP_STREAM, STREAM_STATUS = 12, 13, 14
CONTROL, ISOCHRONOUS = 100, 102
CAPABILITIES = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6
LONG_IDS = 1 << 5
STALL = 4
UNKNOWN, FULL_SPEED = 255, 1
STREAM_SLOT = 0x11
GIVEN_UP_MS = 2000
"""Behind by more than this: this process was stopped."""


class UsbMicrophone:
    """The device: what QEMU asks of it, and the packets of sound that are due."""

    def __init__(self, offset: int, name: str, channels: int) -> None:
        self._name, self._channels = name, channels
        self._sound = UsbSound(offset, channels)
        self._closed_when_plugged = False
        self._link: socket.socket | None = None
        self._received = b""
        self._long_ids = False
        self._setting = 0
        self._since: float | None = None
        self._began = 0.0
        self._sent_ms = 0
        self.plugged = True
        self.frozen = False

    @property
    def link(self) -> socket.socket | None:
        """The connection to QEMU."""
        return self._link

    @property
    def streaming(self) -> bool:
        """Whether the machine takes sound."""
        return self._since is not None

    def connect(self, link: socket.socket) -> None:
        """Greet a QEMU that has just started."""
        self._link, self._received, self._long_ids, self._since = link, b"", False, None
        self._send(HELLO, b"microphone".ljust(64, b"\0") + struct.pack("<I", CAPABILITIES))

    def obey(self, command: str) -> None:
        """Plug, unplug, freeze (no packets), silence (zeros), and back; pauses in what it plays.

        ``closed``: from now on it is switched off and turned down whenever it is plugged in.
        """
        if command == "plug" and not self.plugged:
            self.plugged = True
            if self._closed_when_plugged:
                self._sound.muted, self._sound.volume = True, QUIETEST
                self._say_control()
            self._appear()
        elif command == "unplug" and self.plugged:
            self.plugged, self._since = False, None
            self._send(DISCONNECT, b"")
        elif command in {"freeze", "thaw"}:
            self.frozen = command == "freeze"
        elif command in {"silence", "sound"}:
            self._sound.silent = command == "silence"
        elif command == "pauses":
            self._sound.pauses = True
        elif command == "closed":
            self._closed_when_plugged = True
        say(command)

    def receive(self) -> None:
        """Take what QEMU says."""
        assert self._link is not None
        try:
            data = self._link.recv(65_536)
        except OSError:
            data = b""
        if not data:
            self._link, self._since = None, None
            say("gone")
            return
        self._received += data
        while True:
            size = 16 if self._long_ids else 12
            if len(self._received) < size:
                return
            kind, length, number = struct.unpack_from("<IIQ" if self._long_ids else "<III", self._received)
            if len(self._received) < size + length:
                return
            body, self._received = self._received[size : size + length], self._received[size + length :]
            self._take(kind, number, body)

    def send_due(self) -> None:
        """Send the packets, one a millisecond, that are due."""
        if self._since is None:
            return
        due = int((time.monotonic() - self._since) * 1000)
        if due - self._sent_ms > GIVEN_UP_MS:
            self._sent_ms = due
        while self._sent_ms < due and self._link is not None:
            if not self.frozen:
                data = self._sound.packet(self._began, self._sent_ms)
                self._send(
                    ISOCHRONOUS, struct.pack("<BBH", usb_descriptors.STREAM_ENDPOINT, 0, len(data)) + data
                )
            self._sent_ms += 1

    def _appear(self) -> None:
        self._setting, self._since = 0, None
        self._describe()
        self._send(CONNECT, struct.pack("<BBBBHHH", FULL_SPEED, 0, 0, 0, VENDOR, PRODUCT, 0x0100))

    def _describe(self) -> None:
        kinds, intervals, interfaces, sizes = (
            bytearray([UNKNOWN] * 32),
            bytearray(32),
            bytearray(32),
            [0] * 32,
        )
        kinds[0] = kinds[16] = 0
        sizes[0] = sizes[16] = 8
        kinds[STREAM_SLOT] = 1 if self._setting else UNKNOWN
        intervals[STREAM_SLOT] = interfaces[STREAM_SLOT] = 1
        sizes[STREAM_SLOT] = usb_descriptors.packet_bytes(self._channels)
        audio = (bytes((0, 1)), bytes((1, 1)), bytes((1, 2)), b"")
        self._send(INTERFACES, struct.pack("<I", 2) + b"".join(part.ljust(32, b"\0") for part in audio))
        self._send(ENDPOINTS, bytes(kinds + intervals + interfaces) + struct.pack("<32H", *sizes))

    def _take(self, kind: int, number: int, body: bytes) -> None:
        if kind == HELLO:
            capabilities = struct.unpack_from("<I", body, 64)[0] if len(body) >= 68 else 0
            self._long_ids = bool(capabilities & LONG_IDS)
            if self.plugged:
                self._appear()
        elif kind == RESET:
            self._since, self._setting = None, 0
            say("still")
        elif kind == CONTROL:
            self._control(number, body)
        elif kind in {SET_CONFIGURATION, GET_CONFIGURATION}:
            self._send(CONFIGURATION_STATUS, bytes((0, 1)), number)
        elif kind == SET_SETTING:
            if body[0] == 1:
                self._setting = body[1]
                self._describe()
            self._send(SETTING_STATUS, bytes((0, body[0], body[1])), number)
        elif kind == GET_SETTING:
            self._send(SETTING_STATUS, bytes((0, body[0], self._setting if body[0] == 1 else 0)), number)
        elif kind in {START_STREAM, STOP_STREAM}:
            self._stream(number, body[0], begins=kind == START_STREAM)

    def _stream(self, number: int, endpoint: int, *, begins: bool) -> None:
        self._began, self._sent_ms = time.time(), 0
        self._since = time.monotonic() if begins else None
        self._send(STREAM_STATUS, bytes((0, endpoint)), number)
        say("stream" if begins else "still")

    def _control(self, number: int, body: bytes) -> None:
        endpoint, request, kind, _, value, index, length = struct.unpack_from("<BBBBHHH", body)
        answer: bytes | None = b""
        if kind & 0x80:
            answer = self._asked(request, kind, value, index)
        else:
            self._set(kind, value, index, body[10:])
        status = STALL if answer is None else 0
        data = (answer or b"")[:length]
        told = len(data) if kind & 0x80 else length
        head = struct.pack("<BBBBHHH", endpoint, request, kind, status, value, index, told)
        self._send(CONTROL, head + data, number)

    def _asked(self, request: int, kind: int, value: int, index: int) -> bytes | None:
        volume = {0x81: self._sound.volume, 0x82: QUIETEST, 0x83: LOUDEST, 0x84: VOLUME_STEP}
        if kind == 0x80 and request == 6:
            return usb_descriptors.descriptor(value, (VENDOR, PRODUCT), self._name, self._channels)
        if request == 0:
            return bytes(2)
        if kind == 0x80 and request == 8:
            return bytes((1,))
        if kind == 0x81 and request == 10:
            return bytes((self._setting,))
        if kind == 0xA1 and index >> 8 == usb_descriptors.VOLUME_UNIT:
            return (
                bytes((self._sound.muted,)) if value >> 8 == 1 else struct.pack("<h", volume.get(request, 0))
            )
        return self._sound.rate.to_bytes(3, "little") if kind == 0xA2 else None

    def _set(self, kind: int, value: int, index: int, data: bytes) -> None:
        if kind == 0x21 and index >> 8 == usb_descriptors.VOLUME_UNIT:
            if value >> 8 == 1:
                self._sound.muted = bool(data[0])
            else:
                self._sound.volume = struct.unpack("<h", data[:2])[0]
            self._say_control()
        elif kind == 0x22 and data:
            self._sound.rate = int.from_bytes(data[:3], "little")

    def _say_control(self) -> None:
        switch = "off" if self._sound.muted else "on"
        say(f"control {switch} {self._sound.volume / 256:.2f}")

    def _send(self, kind: int, body: bytes, number: int = 0) -> None:
        if self._link is None:
            return
        head = struct.pack("<IIQ" if self._long_ids else "<III", kind, len(body), number)
        try:
            self._link.sendall(head + body)
        except OSError:
            self._link, self._since = None, None
            say("gone")


def say(event: str) -> None:
    """Tell the suite."""
    print(f"{time.time():.3f} {event}", flush=True)


def main() -> None:
    """Serve one QEMU after the other until standard input ends."""
    path, offset, name, channels = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    device = UsbMicrophone(offset, name, channels)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        say("ready")
        while True:
            watched = [listener, sys.stdin, *([device.link] if device.link else [])]
            ready, _, _ = select.select(watched, [], [], 0.004 if device.streaming else 0.5)
            if listener in ready:
                device.connect(listener.accept()[0])
            if device.link is not None and device.link in ready:
                device.receive()
            if sys.stdin in ready:
                commands = os.read(sys.stdin.fileno(), 4096)
                if not commands:
                    return
                for command in commands.decode().split():
                    device.obey(command)
            device.send_due()


if __name__ == "__main__":
    main()
