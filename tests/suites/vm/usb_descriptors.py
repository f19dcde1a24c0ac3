"""What a USB microphone says of itself: UAC 1.0, 16 bit, 44.1 or 48 kHz, with mute and volume."""

import struct

STREAM_ENDPOINT = 0x81
VOLUME_UNIT = 2
_DEVICE, _CONFIGURATION, _STRING, _INTERFACE, _ENDPOINT, _CLASS_INTERFACE, _CLASS_ENDPOINT = (
    1, 2, 3, 4, 5, 0x24, 0x25,
)  # fmt: skip
_US_ENGLISH = 0x409
_MAKER = "C-Media Electronics Inc."


def packet_bytes(channels: int) -> int:
    """Return the most that one packet of sound holds."""
    return 100 * channels


def descriptor(request: int, device: tuple[int, int], name: str, channels: int) -> bytes | None:
    """Return the descriptor that GET_DESCRIPTOR asks for (``wValue``), None when there is none.

    ``device``: the numbers of its vendor and of itself.
    """
    kind, index = request >> 8, request & 0xFF
    if kind == _DEVICE:
        return _block(_DEVICE, struct.pack("<HBBBBHHHBBBB", 0x0110, 0, 0, 0, 8, *device, 0x0100, 1, 2, 0, 1))
    if kind == _CONFIGURATION:
        body = _interfaces(channels)
        return _block(_CONFIGURATION, struct.pack("<H", 9 + len(body)) + bytes((2, 1, 0, 0x80, 50))) + body
    if kind == _STRING:
        text = {1: _MAKER, 2: name}.get(index, "")
        return _block(_STRING, struct.pack("<H", _US_ENGLISH) if index == 0 else text.encode("utf-16-le"))
    return None


def _interfaces(channels: int) -> bytes:
    placed = (1 << channels) - 1 if channels > 1 else 0
    units = (
        _block(
            _CLASS_INTERFACE,
            bytes((2, 1)) + struct.pack("<H", 0x0201) + bytes((0, channels, placed, 0, 0, 0)),
        )
        + _block(_CLASS_INTERFACE, bytes((6, VOLUME_UNIT, 1, 1, 0x03, *bytes(channels), 0)))
        + _block(_CLASS_INTERFACE, bytes((3, 3)) + struct.pack("<H", 0x0101) + bytes((0, 2, 0)))
    )
    header = _block(_CLASS_INTERFACE, bytes((1, 0, 1)) + struct.pack("<H", 9 + len(units)) + bytes((1, 1)))
    rates = (44_100).to_bytes(3, "little") + (48_000).to_bytes(3, "little")
    return (
        _block(_INTERFACE, bytes((0, 0, 0, 1, 1, 0, 0)))
        + header
        + units
        + _block(_INTERFACE, bytes((1, 0, 0, 1, 2, 0, 0)))
        + _block(_INTERFACE, bytes((1, 1, 1, 1, 2, 0, 0)))
        + _block(_CLASS_INTERFACE, bytes((1, 3, 1, 1, 0)))
        + _block(_CLASS_INTERFACE, bytes((2, 1, channels, 2, 16, 2)) + rates)
        + _block(
            _ENDPOINT,
            bytes((STREAM_ENDPOINT, 0x05)) + struct.pack("<H", packet_bytes(channels)) + bytes((1, 0, 0)),
        )
        + _block(_CLASS_ENDPOINT, bytes((1, 1, 0, 0, 0)))
    )


def _block(kind: int, body: bytes) -> bytes:
    return bytes((len(body) + 2, kind)) + body
