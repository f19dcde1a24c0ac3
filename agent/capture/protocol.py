"""What the capture process writes to its pipe: a fixed header, then a payload.

HELLO and ERROR carry JSON; FRAME carries signed 16-bit little-endian PCM, channels interleaved. Only
``struct`` may be imported here: the capture process must stay small.
"""

import struct

MAGIC = b"EA"

HELLO = 1
"""The device is open: ``{"device", "rate", "channels", "portaudio"}``; once, before the first frame."""
FRAME = 2
"""One block of samples."""
ERROR = 3
"""The last message: ``{"kind", "message"}``, kind one of the four below."""

NO_PORTAUDIO = "no_portaudio"
NO_DEVICE = "no_device"
OPEN_FAILED = "open_failed"
STREAM_DIED = "stream_died"

OVERFLOW = 0x01
"""Flag of a frame: PortAudio said that samples were lost before or within it."""

HEADER = struct.Struct("<2sBBIQQ")
"""Magic, kind, flags, length of the payload in bytes, sequence from 0, CLOCK_MONOTONIC in nanoseconds."""

LARGEST_PAYLOAD = 1 << 20
"""Bytes; a header that announces more is nonsense."""
