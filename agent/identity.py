"""Names that stay unique without anybody to ask: UUID version 7 (RFC 9562 section 5.7)."""

import os
import uuid


def new_id(wall_ms: int) -> str:
    """Return a UUIDv7 for the given unix time in milliseconds; 74 bits of it are random."""
    random = int.from_bytes(os.urandom(10))
    value = (wall_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | (random >> 68) << 64
    value |= 0b10 << 62 | random & (1 << 62) - 1
    return str(uuid.UUID(int=value))
