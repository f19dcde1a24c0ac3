"""Names that stay unique without anybody to ask: UUID version 7 (RFC 9562 section 5.7)."""

import secrets
import uuid


def new_id(wall_ms: int) -> str:
    """Return a UUIDv7 for the given unix time in milliseconds; 74 bits of it are random."""
    value = (wall_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | secrets.randbits(12) << 64
    value |= 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))
