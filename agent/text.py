"""Text from outside (arguments, host names, devices, servers): made valid where it enters, harmless where it shows.

And how many there are of something, in words.
"""

import re
import unicodedata
from typing import Any

import msgspec

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_SURROGATES = re.compile("[\ud800-\udfff]")
_OBEYED = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""What JSON may hold and a terminal may obey: JSON itself escapes only what is below a space."""
_ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control and format characters (ESC, the marks that turn the direction of writing), and separators of lines."""


def valid(text: str) -> str:
    """Return ``text`` with a replacement character for each byte or half character that is no UTF-8."""
    return _SURROGATES.sub(REPLACEMENT, text)


def encoded(value: Any) -> bytes:
    """Return ``value`` as JSON; half characters, and paths that are no UTF-8, are replaced."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_valid_within(msgspec.to_builtins(value)))


def _valid_within(value: Any) -> Any:
    if isinstance(value, str):
        return valid(value)
    if isinstance(value, dict):
        return {_valid_within(key): _valid_within(inner) for key, inner in value.items()}
    return [_valid_within(inner) for inner in value] if isinstance(value, list) else value


def harmless(json: str) -> str:
    """Return the same JSON with nothing in it that a terminal obeys."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", json)


def shown(text: str, *, keep: str = "") -> str:
    r"""Return ``text`` so that a terminal and a log show it and obey nothing in it: ``\x1b`` for an escape.

    Characters in ``keep`` stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        char
        if char in keep or unicodedata.category(char) not in _ESCAPED_CATEGORIES
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def cut(text: str, limit: int) -> str:
    """Return at most ``limit`` characters of ``text``; the last is an ellipsis where something is missing."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def counted(count: int, one: str, many: str) -> str:
    """Return a number with what there is of it, and what that does: ``1 recording waits``, ``2 recordings wait``."""
    return f"{count} {one if count == 1 else many}"
