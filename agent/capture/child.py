"""The capture process: a process of its own that owns PortAudio and writes what it hears to its standard output.

    python -m agent.capture.child --parent PID --pcm NAME [--pcm NAME] --rate HZ --channels N --block-samples N
    python -m agent.capture.child --parent PID --list

The first ``--pcm`` that can be opened is heard. ``--list`` writes one JSON list of the ALSA inputs instead.

It uses a callback stream: PyAudio's blocking read either hides an overflow or closes the stream on it. A
write into a full pipe blocks the callback, so PortAudio itself counts what is lost meanwhile and says so.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import time

from agent.capture import protocol

TYPE_CHECKING = False  # importing typing would cost 0.4 MiB
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    import pyaudio

POLL_SECONDS = 0.8
"""How often it is looked whether the stream still lives: so late may its end be told."""
BUFFER_SECONDS = 1.0
"""Of sound that the driver keeps while this process gets no time."""
PERIODS = 64
"""More than it has blocks: with fewer PortAudio would hand out several blocks at a time, the first of them late."""
PR_SET_PDEATHSIG = 1

Options = dict[str, list[str]]


class CaptureError(Exception):
    """Ends the capture process: (kind, message) of the ERROR it leaves behind."""


def main(arguments: list[str]) -> None:
    """Run as the arguments say; never returns while the stream is alive."""
    options = parse(arguments)
    die_with(int(options["parent"][0]))
    # Ctrl-C and a closed terminal reach the whole process group: the parent alone decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    output = claim_output()
    try:
        if "list" in options:
            write(output, json.dumps(list_inputs()).encode())
        else:
            listen(output, options)
    except CaptureError as error:
        kind, message = error.args
        body = json.dumps({"kind": kind, "message": message}).encode()
        write(output, body if "list" in options else pack(protocol.ERROR, body))
    # PortAudio's own way out hangs on a wedged device; the kernel closes everything.
    os._exit(0)


def parse(arguments: list[str]) -> Options:
    """Return option → values; an option followed by another one, or by nothing, has no value."""
    options: Options = {}
    values: list[str] = []
    for argument in arguments:
        if argument.startswith("--"):
            values = options.setdefault(argument[2:], [])
        else:
            values.append(argument)
    return options


def die_with(parent: int) -> None:
    """Be killed when the thread that started this process ends; exit at once when it already has."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


def claim_output() -> int:
    """Return a private copy of standard output, and let everybody else's prints go nowhere."""
    output = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return output


def pack(kind: int, payload: bytes, flags: int = 0, sequence: int = 0) -> bytes:
    """Return one message, stamped with the monotonic time of now."""
    stamp = time.monotonic_ns()
    return protocol.HEADER.pack(protocol.MAGIC, kind, flags, len(payload), sequence, stamp) + payload


def write(output: int, data: bytes) -> None:
    """Write all of ``data``, waiting while the pipe is full; exit when nobody reads any more."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(output, view) :]
    except OSError:
        os._exit(1)


def start_portaudio() -> "pyaudio.PyAudio":
    """Return PortAudio with the devices of this moment.

    Raises:
        CaptureError: PyAudio or its library is missing, or PortAudio does not start.
    """
    try:
        import pyaudio  # noqa: PLC0415 - its absence is a message to the parent, not a traceback
    except ImportError as error:
        raise CaptureError(protocol.NO_PORTAUDIO, str(error)) from error
    try:
        return pyaudio.PyAudio()
    except OSError as error:
        raise CaptureError(protocol.OPEN_FAILED, f"PortAudio does not start: {error}") from error


def alsa_devices(audio: "pyaudio.PyAudio") -> "list[Mapping[str, str | int | float]]":
    """Return what PortAudio knows about each ALSA device of the moment."""
    alsa = 8  # paALSA
    try:
        api = audio.get_host_api_info_by_type(alsa)
    except OSError:
        return []
    index, count = int(api["index"]), int(api["deviceCount"])
    return [audio.get_device_info_by_host_api_device_index(index, number) for number in range(count)]


def list_inputs() -> list[dict[str, str | int]]:
    """Return ``{"name", "channels"}`` of each ALSA input; ``channels`` is what PortAudio believes."""
    return [
        {"name": str(device["name"]), "channels": int(device["maxInputChannels"])}
        for device in alsa_devices(start_portaudio())
        if int(device["maxInputChannels"]) > 0
    ]


def find(devices: "list[Mapping[str, str | int | float]]", wanted: str) -> "Mapping[str, str | int | float]":
    """Return the device of that name, or the only named PCM that captures and has it as a part of its name.

    A part of a card's name is the parent's matter: no card is opened without the configuration made for it.

    Raises:
        CaptureError: no device, or more than one input, answers to the name.
    """
    for device in devices:
        if device["name"] == wanted:
            return device
    inputs = [device for device in devices if int(device["maxInputChannels"]) > 0]
    pcms = [device for device in inputs if "(hw:" not in str(device["name"])]
    found = [device for device in pcms if wanted.casefold() in str(device["name"]).casefold()]
    if len(found) == 1:
        return found[0]
    names = ", ".join(str(device["name"]) for device in found or inputs) or "no input at all"
    what = "more than one input" if found else "no input"
    told = f"ALSA has {names}" if wanted == "default" else f"{what} answers to {wanted!r}, ALSA has {names}"
    raise CaptureError(protocol.NO_DEVICE, told)


def open_stream(output: int, options: Options) -> "pyaudio.Stream":
    """Open the first of the PCMs that can be opened, and say hello for it; the stream is not yet started.

    Raises:
        CaptureError: none of them can be opened; it tells of the last one.
    """
    audio = start_portaudio()
    devices = alsa_devices(audio)
    rate, channels = int(options["rate"][0]), int(options["channels"][0])
    listener = Listener(output)
    last = CaptureError(protocol.NO_DEVICE, "no device was named")
    for pcm in options["pcm"]:
        try:
            device = find(devices, pcm)
            ask_for_buffer(int(device["index"]))
            stream = audio.open(
                rate=rate,
                channels=channels,
                format=8,  # paInt16
                input=True,
                input_device_index=int(device["index"]),
                frames_per_buffer=int(options["block-samples"][0]),
                stream_callback=listener.hear,
                start=False,
            )
        except CaptureError as error:
            last = error
        except (OSError, ValueError) as error:
            last = CaptureError(protocol.OPEN_FAILED, f"{pcm}: {error}")
        else:
            hello = {"device": device["name"], "rate": rate, "channels": channels, "portaudio": version()}
            hello["buffer_ms"] = round(stream.get_input_latency() * 1000)
            write(output, pack(protocol.HELLO, json.dumps(hello).encode()))
            return stream
    raise last


class DeviceInfo(ctypes.Structure):
    """PortAudio's ``PaDeviceInfo``, as far as the latency that PyAudio opens an input with."""

    _fields_ = [
        ("version", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("host_api", ctypes.c_int),
        ("inputs", ctypes.c_int),
        ("outputs", ctypes.c_int),
        ("low_input_latency", ctypes.c_double),
    ]


def ask_for_buffer(index: int) -> None:
    """Have the device opened with a buffer of BUFFER_SECONDS, or the largest that it allows.

    PyAudio asks for the device's own low latency, of two blocks: a machine that is busy for longer loses samples.
    """
    with contextlib.suppress(OSError, AttributeError):  # a PortAudio of another make keeps its own idea
        library = ctypes.CDLL("libportaudio.so.2")
        library.PaAlsa_SetNumPeriods(PERIODS)
        library.Pa_GetDeviceInfo.restype = ctypes.POINTER(DeviceInfo)
        found = library.Pa_GetDeviceInfo(index)
        if found:
            found.contents.low_input_latency = BUFFER_SECONDS


def version() -> str:
    """Return PortAudio's version as it names itself."""
    import pyaudio  # noqa: PLC0415 - imported for good by now

    return pyaudio.get_portaudio_version_text()


def listen(output: int, options: Options) -> "NoReturn":
    """Open the device and write what it gives, until it gives no more.

    Raises:
        CaptureError: the device cannot be opened, or it went away.
    """
    stream = open_stream(output, options)
    try:
        stream.start_stream()
    except OSError as error:
        raise CaptureError(protocol.OPEN_FAILED, f"the stream does not start: {error}") from error
    while stream.is_active():
        time.sleep(POLL_SECONDS)
    # The callback's thread is gone by now, so the pipe is this thread's alone again.
    raise CaptureError(protocol.STREAM_DIED, "the stream ended")


class Listener:
    """Writes each block PortAudio calls back with; lives on PortAudio's thread."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._sequence = 0

    def hear(
        self, samples: bytes | None, _count: int, _times: "Mapping[str, float]", status: int
    ) -> tuple[bytes | None, int]:
        """Write one block and ask for the next (paContinue)."""
        flags = protocol.OVERFLOW if status & 2 else 0  # paInputOverflow
        write(self._output, pack(protocol.FRAME, samples or b"", flags, self._sequence))
        self._sequence += 1
        return None, 0


if __name__ == "__main__":
    main(sys.argv[1:])
