"""One Opus encoder, with the traps of opuslib closed: every setting is read back, every length checked."""

import ctypes
import functools
import warnings
from typing import Any, Final

from agent.config.schema import OpusConfig
from agent.errors import AgentError

SAMPLE_RATES: Final = (8000, 12000, 16000, 24000, 48000)
"""Samples per second that Opus takes in (RFC 6716 section 2)."""

GRANULE_RATE: Final = 48000
"""Ogg Opus counts time in units of 1/48000 s, whatever the input's rate (RFC 7845 section 4)."""

_PACKET_BYTES: Final = 4000  # the size libopus recommends; three 20 ms frames need at most 3832
_BITRATE_LIMIT: Final = 300_000  # bit/s and channel: libopus lowers anything above to this
_APPLICATIONS: Final = {"voip": "voip", "audio": "audio", "lowdelay": "restricted_lowdelay"}


class OpusEncoder:
    """Encodes frames of 16-bit PCM; one encoder serves one segment after the other.

    Raises:
        AgentError: libopus is missing, or did not take a setting.
    """

    def __init__(self, settings: OpusConfig, sample_rate: int, channels: int) -> None:
        library = load_opuslib()
        self.frame_samples: Final = sample_rate * settings.frame_ms // 1000
        """Samples per channel in a frame."""
        self.frame_bytes: Final = self.frame_samples * channels * 2
        """Bytes of PCM in a frame."""
        self._sample_rate = sample_rate
        self._library = library
        try:
            self._encoder = library.Encoder(sample_rate, channels, _APPLICATIONS[settings.application])
            self._set_up(settings, channels)
            lookahead = self._control("get_lookahead")
        except library.OpusError as problem:
            raise _refused(library, problem) from problem
        self.pre_skip: Final[int] = lookahead * GRANULE_RATE // sample_rate
        """Samples at 48 kHz which the decoder drops at the start (RFC 7845 section 4.2)."""
        self._frame = memoryview(bytearray(self.frame_bytes))
        packet = ctypes.create_string_buffer(_PACKET_BYTES)
        self._packet = memoryview(packet).cast("B")
        pcm = ctypes.cast(
            (ctypes.c_char * self.frame_bytes).from_buffer(self._frame), library.api.c_int16_pointer
        )
        self._encode = library.api.encoder.libopus_encode
        self._arguments = (self._encoder.encoder_state, pcm, self.frame_samples, packet, _PACKET_BYTES)

    def encode(self, pcm: bytes | bytearray | memoryview) -> bytes:
        """Return the packet of one frame: ``frame_bytes`` bytes of 16-bit little-endian PCM, interleaved.

        Raises:
            ValueError: ``pcm`` has another length.
        """
        if len(pcm) != self.frame_bytes:
            raise ValueError(f"a frame has {self.frame_bytes} bytes, not {len(pcm)}")
        return self.encode_frames(pcm)[0]

    def encode_frames(self, pcm: bytes | bytearray | memoryview) -> list[bytes]:
        """Return the packets of any number of whole frames, one after the other.

        Raises:
            ValueError: the last frame is not whole.
        """
        size = self.frame_bytes
        if len(pcm) % size:
            raise ValueError(f"frames have {size} bytes each, and {len(pcm)} are no multiple of that")
        # Nothing but libopus may run between two frames: after it, everything else is cold in the caches.
        view, frame, packet, encode = memoryview(pcm), self._frame, self._packet, self._encode
        packets = []
        for start in range(0, len(pcm), size):
            frame[:] = view[start : start + size]
            length = encode(*self._arguments)
            if length < 0:
                raise _refused(self._library, self._library.OpusError(length))
            packets.append(packet[:length].tobytes())
        return packets

    def frames_for(self, samples: int) -> int:
        """Return how many frames a decoder needs to give back ``samples`` per channel behind the pre-skip."""
        lookahead = self.pre_skip * self._sample_rate // GRANULE_RATE
        return -(-(lookahead + samples) // self.frame_samples)

    def reset(self) -> None:
        """Forget the sound so far and keep the settings: the next frame begins a new stream."""
        self._control("reset_state")

    def _set_up(self, settings: OpusConfig, channels: int) -> None:
        """Set each setting and read it back: opuslib ignores some in silence."""
        wanted = {
            "bitrate": min(settings.bitrate_kbps * 1000, _BITRATE_LIMIT * channels),
            "complexity": settings.complexity,
            "dtx": int(settings.dtx),
        }
        for name, value in wanted.items():
            self._control(f"set_{name}", value)
        constants = self._library.constants.APPLICATION_TYPES_MAP
        wanted["application"] = constants[_APPLICATIONS[settings.application]]
        for name, value in wanted.items():
            got = self._control(f"get_{name}")
            if got != value:
                raise AgentError(
                    f"libopus was asked for {name} {value} and kept {got}",
                    f"change opus.{name} in the settings, or update libopus0",
                )

    def _control(self, request: str, value: int | None = None) -> int:
        api = self._library.api
        result: int = api.encoder.encoder_ctl(self._encoder.encoder_state, getattr(api.ctl, request), value)
        return result


def libopus_version() -> str:
    """Return what libopus calls itself, such as ``libopus 1.3.1``.

    Raises:
        AgentError: libopus is missing.
    """
    version: bytes = load_opuslib().api.info.get_version_string()
    return version.decode("ascii", "replace")


@functools.cache
def load_opuslib() -> Any:
    """Import opuslib late: it runs ldconfig to find the library, and few commands encode.

    Raises:
        AgentError: libopus is missing.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of opuslib, where it was not compiled before
            import opuslib.api.ctl  # noqa: PLC0415 - see above
            import opuslib.api.encoder  # noqa: PLC0415 - see above
            import opuslib.api.info  # noqa: PLC0415 - see above
    except Exception as problem:  # opuslib raises the plain class when there is no library
        raise AgentError(
            f"libopus is missing or cannot be loaded ({problem})", "`sudo apt-get install libopus0` brings it"
        ) from problem
    return opuslib


def _refused(library: Any, problem: Any) -> AgentError:
    """Say what libopus refused; ``str`` of opuslib's own error can raise."""
    words: bytes = (
        library.api.info.strerror(problem.code) if isinstance(problem.code, int) else b"unknown error"
    )
    return AgentError(
        f"libopus refused to encode ({words.decode('ascii', 'replace')})",
        "check [opus] and audio.sample_rate in the settings",
    )
