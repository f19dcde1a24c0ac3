"""Time zones: by name, and the machine's own, which is found as localtime(5) and tzset(3) have it.

Never silently UTC: a zone that cannot be told is an error.
"""

import io
import os
import struct
import zoneinfo
from collections.abc import Mapping
from pathlib import Path

LOCALTIME = Path("/etc/localtime")
FILE_MARK = ":"
"""A zone that has no name is called by this and the path of its file, as TZ may."""
RULE_MARK = "posix:"
"""A zone that is a rule (``CET-1CEST,M3.5.0,M10.5.0/3``) is called by this and the rule."""
_LONGEST_RULE = 200


class UnknownZone(ValueError):  # noqa: N818 - what it is
    """A zone that cannot be told; the end of a sentence that says why."""


def zone_of_days() -> str:
    """Return the name of the zone whose midnight begins a day: UTC where none can be told, as for the system itself."""
    try:
        return local_zone()
    except UnknownZone:
        return "UTC"


def zone(name: str) -> zoneinfo.ZoneInfo:
    """Return the zone of a name that ``local_zone`` gave, or of tzdata.

    Raises:
        UnknownZone: there is none.
    """
    try:
        if name.startswith(RULE_MARK):
            return zoneinfo.ZoneInfo.from_file(
                io.BytesIO(_file_of_rule(name.removeprefix(RULE_MARK))), key=name
            )
        if name.startswith(FILE_MARK):
            with Path(name.removeprefix(FILE_MARK)).open("rb") as file:
                return zoneinfo.ZoneInfo.from_file(file, key=name)
        return zoneinfo.ZoneInfo(name)
    except (
        KeyError,
        OSError,
        ValueError,
        struct.error,
    ) as error:  # unknown, a folder of zones, no zone's file at all
        raise UnknownZone(f"{name[:100]!r} is no time zone") from error


def is_known(name: str) -> bool:
    """Return whether tzdata has a zone of that name."""
    try:
        return bool(name) and not name.startswith((FILE_MARK, RULE_MARK)) and zone(name) is not None
    except UnknownZone:
        return False


def local_zone(environ: Mapping[str, str] = os.environ, localtime: Path = LOCALTIME) -> str:
    """Return the name of the machine's zone: ``TZ``, else where /etc/localtime leads, else what it holds.

    Raises:
        UnknownZone: it cannot be told.
    """
    given = environ.get("TZ")
    if given is not None:
        return _of_variable(given)
    resolved = localtime.resolve()
    named = str(resolved).partition("/zoneinfo/")[2]
    if is_known(named):
        return named
    try:
        content = localtime.read_bytes()
    except OSError as error:
        raise UnknownZone(f"{localtime} cannot be read ({error.strerror}) and TZ is not set") from error
    name = f"{FILE_MARK}{localtime}"
    try:
        zone(name)
    except UnknownZone as error:
        raise UnknownZone(f"{localtime} holds no time zone") from error
    return _named_like(content) or name


def _of_variable(given: str) -> str:
    """Return the zone that a value of ``TZ`` means (tzset(3)); empty is UTC."""
    text = given.removeprefix(":")
    if not text:
        return "UTC"
    if text.startswith("/"):
        named = str(Path(text).resolve()).partition("/zoneinfo/")[2]
        candidates = (named, f"{FILE_MARK}{text}")
    else:
        candidates = (text, f"{RULE_MARK}{text}")
    for name in filter(None, candidates):
        try:
            zone(name)
        except UnknownZone:
            continue
        return name
    raise UnknownZone(f"TZ is {given[:100]!r}, which is no time zone")


def _named_like(content: bytes) -> str | None:
    """Return the zone of tzdata whose file has this very content."""
    for folder in map(Path, zoneinfo.TZPATH):
        for name in sorted(zoneinfo.available_timezones()):
            try:
                if (folder / name).read_bytes() == content:
                    return name
            except OSError:
                continue
    return None


def _file_of_rule(rule: str) -> bytes:
    """Return a file (TZif, RFC 9636) of no transitions and a rule as its footer."""
    if (
        not rule.isascii()
        or not rule.isprintable()
        or len(rule) > _LONGEST_RULE
        or not any(map(str.isdigit, rule))
    ):
        raise UnknownZone("is no rule of a time zone")
    header = b"TZif2" + bytes(15) + struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    body = struct.pack(">lbb", 0, 0, 0) + b"UTC\0"
    return (header + body) * 2 + b"\n" + rule.encode() + b"\n"
