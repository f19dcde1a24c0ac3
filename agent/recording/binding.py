"""Under which binding of the device something was captured: one file is one person's (api.md section 7)."""

UNKNOWN = "unknown"
"""A binding that cannot be told; what is captured under it is held."""


def is_other_owner(before: str | None, now: str | None) -> bool:
    """Whether the device was bound to another person; the first token of all makes nobody another."""
    return now != before and not (before is None and now != UNKNOWN)
