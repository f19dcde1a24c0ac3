"""What a setting may say where a type and a range are not enough; each check returns what would be right.

A check is called with a value of the right type and returns None, or the end of a sentence that began with
"<key> is <value>, but".
"""

import datetime as dt
import ipaddress
import math
import re
import string
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from agent.zone import UnknownZone, local_zone, zone

METADATA_BYTES = 4096
OUR_METADATA_KEY = "client_recording_id"
OUR_METADATA_PREFIX = "recorder_"
NAME_CHARACTERS = 255
NAME_FIELDS = ("hostname", "started_at", "seq", "mode")


class Checked(NamedTuple):
    """Stands in ``Annotated`` beside a type and adds a check to it."""

    complaint: Callable[[Any], str | None]


def base_url(value: str) -> str | None:
    """Return None for https, and for http to this machine itself; the token goes nowhere else."""
    try:
        url = urllib.parse.urlsplit(value)
        port_is_fine = url.port is None or url.port > 0
    except ValueError:
        return "is not an address; write one like https://api.bota.dev/v1"
    if (
        url.username is not None
        or url.password is not None
        or url.query
        or url.fragment
        or set("?#") & set(value)
    ):
        return "must hold no user, password, query or fragment; write an address like https://api.bota.dev/v1"
    if not url.hostname or not port_is_fine or not re.fullmatch(r"[!-~]+", value):
        return "is not an address; write one like https://api.bota.dev/v1"
    if url.scheme == "https" or (url.scheme == "http" and is_loopback_host(url.hostname)):
        return None
    return "must begin with https:// (http:// would show the token to the network, and is for 127.0.0.1 only)"


def absolute_path(value: str) -> str | None:
    """Return None for an absolute path and for the empty text."""
    if value.startswith("dtok_"):
        return "must be the path of a file that holds the token; never write the token itself here"
    if value and (not Path(value).is_absolute() or "\0" in value):
        return "must be an absolute path (beginning with /), or empty"
    return None


def audio_input(value: str) -> str | None:
    """Return None for a device's name or id, and for ``file:`` with an absolute path, ``?loop`` allowed."""
    if not value.strip():
        return 'must name a microphone ("default" is the system\'s choice)'
    if not value.startswith("file:"):
        return None
    path, mark, option = value.removeprefix("file:").partition("?")
    if not Path(path).is_absolute():
        return 'must hold an absolute path after "file:", like "file:/home/pi/test.wav"'
    return 'may have no other option than "?loop" after the path' if mark and option != "loop" else None


def timezone(value: str) -> str | None:
    """Return None for a time zone this machine knows, or one that ``local_timezone`` gives."""
    try:
        zone(value)
    except UnknownZone:
        return 'must be the name of a time zone, like "Europe/Berlin" or "UTC"'
    return None


def local_timezone() -> str:
    """Return the machine's own time zone (``agent.zone``), empty when it cannot be told."""
    try:
        return local_zone()
    except UnknownZone:
        return ""


def no_timezone() -> str:
    """Return the end of a sentence about a zone that is left out while the machine's own cannot be told."""
    try:
        return f"is left out, and the machine's own is {local_zone()!r}"
    except UnknownZone as error:
        return f'is left out, and the machine\'s own cannot be told: {error}; write one like "Europe/Berlin"'


def name_template(value: str) -> str | None:
    """Return None for a format string of ``NAME_FIELDS`` that gives 1 to 255 characters."""
    allowed = ", ".join(f"{{{name}}}" for name in NAME_FIELDS)
    try:
        for _, name, spec, _ in string.Formatter().parse(value):
            if name is not None and name not in NAME_FIELDS:
                return f"may use {allowed} only, not {{{name}}}"
            if spec and re.search(r"[{}]|\d{3}", spec):
                return f"has a format of {{{name}}} that is not allowed; write it like {{started_at:%H:%M}}"
        longest = dt.datetime(2026, 9, 30, 23, 59, 59, tzinfo=dt.UTC)
        text = _render(value, hostname="h" * 64, started_at=longest, seq=999_999, mode="continuous")
    except (ValueError, LookupError, TypeError) as error:
        return f"is not a template ({error}); write it like {{hostname}} {{started_at:%Y-%m-%d %H:%M}}"
    if not text.strip() or len(text) > NAME_CHARACTERS:
        return f"must give a name of 1 to {NAME_CHARACTERS} characters"
    return None


def render_name(template: str, *, hostname: str, started_at: dt.datetime, seq: int, mode: str) -> str:
    """Return the name of a recording, at most 255 characters; ``started_at`` is in local time."""
    return _render(template, hostname=hostname, started_at=started_at, seq=seq, mode=mode)[:NAME_CHARACTERS]


def is_ours(key: str) -> bool:
    """Return whether a key of the metadata is the recorder's own (api.md section 1)."""
    return key == OUR_METADATA_KEY or key.startswith(OUR_METADATA_PREFIX)


def metadata(value: Mapping[str, Any]) -> str | None:
    """Return None for what JSON can say in 4096 bytes, without our own keys: no dates, no nan, no inf."""
    for key in value:
        if is_ours(str(key)):
            return (
                f'has the key "{key}", which the recorder fills itself; choose a name other than '
                f"{OUR_METADATA_KEY} and {OUR_METADATA_PREFIX}..."
            )
    try:
        for key, leaf in _leaves(value):
            if isinstance(leaf, dt.date | dt.time):
                return f'has a date or time at "{key}", which must be in quotes to be sent as a text'
            if isinstance(leaf, float) and not math.isfinite(leaf):
                return f'must not say nan or inf (at "{key}"): JSON has no such number'
            if isinstance(leaf, int) and leaf.bit_length() > 63:  # noqa: PLR2004 - a signed 64-bit integer
                return f'has a number at "{key}" that is too large; write it in quotes'
        size = len(msgspec.json.encode(value))
    except RecursionError:
        return "is nested too deeply"
    return None if size <= METADATA_BYTES else f"takes {size} bytes and must be at most {METADATA_BYTES}"


def printable(value: str) -> str | None:
    """Return None for a text without control characters."""
    return None if not value or value.isprintable() else "has a character that cannot be seen"


def cron(value: str) -> str | None:
    """Return None for five fields of crontab(5) that are met on some day."""
    try:
        expand_cron(value)
    except ValueError as error:
        return str(error)
    return None


class SunMoment(NamedTuple):
    """A moment by the sun, as an entry of the schedule names it."""

    name: str
    """``sunrise``, ``sunset``, ``dawn`` or ``dusk``."""
    offset: dt.timedelta


_SUN = re.compile(
    r"(?P<name>sunrise|sunset|dawn|dusk)"
    r"(?P<offset>(?P<sign>[+-])(?=[0-9])(?:(?P<h>[0-9]{1,2})h)?(?:(?P<m>[0-9]{1,3})m)?)?"
)
LONGEST_OFFSET = dt.timedelta(hours=12)


def sun_moment(text: str) -> SunMoment | None:
    """Return the moment that a text like ``sunset``, ``sunrise-30m`` or ``dusk+1h30m`` means, None for another text."""
    found = _SUN.fullmatch(text.strip().lower())
    if found is None:
        return None
    offset = dt.timedelta(hours=int(found["h"] or 0), minutes=int(found["m"] or 0))
    if offset > LONGEST_OFFSET:
        return None
    return SunMoment(found["name"], -offset if found["sign"] == "-" else offset)


def window_start(value: str) -> str | None:
    """Return None for a line of cron's that is met on some day, and for a moment by the sun."""
    if sun_moment(value) is not None:
        return None
    if re.match(r"\s*(sun|dawn|dusk)", value.lower()):
        return NO_SUN_MOMENT
    return cron(value)


def window_end(value: str) -> str | None:
    """Return None for a moment by the sun, and for the empty text."""
    return None if not value or sun_moment(value) is not None else NO_SUN_MOMENT


NO_SUN_MOMENT = (
    "must be sunrise, sunset, dawn or dusk, with up to 12 hours before or after it, "
    'like "sunset" or "sunrise-30m"'
)


def expand_cron(expression: str) -> tuple[str, ...]:
    """Return the same moments as one or two crontabs of plain lists, in APScheduler's reading of them.

    Numbers of weekdays become names (cron: 0 and 7 are Sunday; APScheduler: 0 is Monday). Where cron lets
    either the day or the weekday match, APScheduler wants both: then there are two, to be joined.

    Raises:
        ValueError: the end of a sentence that says what is wrong.
    """
    fields = expression.split()
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError('must have five fields (minute hour day month weekday), like "0 9 * * mon-fri"')
    minutes, hours, days, months, weekdays = map(_cron_field, _CRON_FIELDS, fields)
    _, _, any_day, _, any_weekday = (field.startswith("*") for field in fields)
    if any_weekday and min(days) > max(_LONGEST_MONTHS[month] for month in months):
        raise ValueError("names a day that no such month has")
    lists = [
        "*" if field == "*" else ",".join(map(str, sorted(numbers)))
        for field, numbers in zip(fields, (minutes, hours, days, months), strict=False)
    ]
    minute, hour, day, month = lists
    names = (_WEEKDAYS[number] for number in sorted({number % 7 for number in weekdays}))
    weekday = "*" if fields[4] == "*" else ",".join(names)
    if any_day or any_weekday:
        return (f"{minute} {hour} {day} {month} {weekday}",)
    return (f"{minute} {hour} {day} {month} *", f"{minute} {hour} * {month} {weekday}")


_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


class _CronField(NamedTuple):
    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()


_CRON_FIELDS = (
    _CronField("minute", 0, 59),
    _CronField("hour", 0, 23),
    _CronField("day", 1, 31),
    _CronField("month", 1, 12, _MONTHS),
    _CronField("weekday", 0, 7, _WEEKDAYS),
)
_LONGEST_MONTHS = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_CRON_PART = re.compile(
    r"(?:\*|(?P<first>[0-9]{1,4}|[a-z]{3})(?:-(?P<last>[0-9]{1,4}|[a-z]{3}))?)(?:/(?P<step>[0-9]{1,4}))?"
)


def _cron_field(field: _CronField, text: str) -> set[int]:
    values: set[int] = set()
    for part in text.lower().split(","):
        match = _CRON_PART.fullmatch(part)
        if match is None:
            raise ValueError(f'has the {field.name} "{part}" that cron does not know')
        first, last, step = match["first"], match["last"], int(match["step"] or 1)
        low = field.lowest if first is None else _cron_value(field, first)
        high = (
            field.highest
            if first is None or (last is None and match["step"])
            else _cron_value(field, last or first)
        )
        if field.names is _WEEKDAYS and last == "sun" and low > 0:
            high = 7
        if step == 0 or low > high:
            raise ValueError(
                f'has the {field.name} "{part}" that can never be: ranges run upwards, steps are 1 or more'
            )
        values.update(range(low, high + 1, step))
    return values


def _cron_value(field: _CronField, text: str) -> int:
    value = int(text) if text.isdigit() else -1
    if text in field.names:
        value = field.names.index(text) + field.lowest
    if not field.lowest <= value <= field.highest:
        raise ValueError(
            f'has the {field.name} "{text}", which must be from {field.lowest} to {field.highest}'
        )
    return value


def is_loopback_host(host: str) -> bool:
    """Return whether only this machine can call a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _render(template: str, **fields: Any) -> str:
    return template.format(**fields)


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, key)
    else:
        yield key, value
