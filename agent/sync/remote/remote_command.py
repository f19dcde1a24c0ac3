"""What the API asks of the device in a heartbeat's answer, read with tolerance (api.md section 6).

The key is not documented: ``commands``, ``pending_commands`` (lists) and ``command`` (an object) are all taken. A
``grant_token`` is never read.
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from agent import bounds
from agent.api.responses import moment
from agent.api.server_words import clean
from agent.config.values import is_ours, metadata

DEFAULT_SECONDS = 3600
LONGEST_SECONDS = 86_400

_LISTS = ("commands", "pending_commands")
_SINGLE = "command"
_ID = re.compile(r"cmd_[A-Za-z0-9_-]{1,120}")
_LONGEST_TYPE = 40
_LONGEST_KEY = 64
_UNIX_FROM = 1e9


class Kind(StrEnum):
    """What the API may ask for."""

    START = "start_recording"
    STOP = "stop_recording"
    UPLOAD = "trigger_upload"
    RESET = "factory_reset"
    """Understood, and refused."""


class RemoteCommand(NamedTuple):
    """One command, as far as it can be understood."""

    id: str
    type: str
    """One of ``Kind``, or anything else; cleaned and shortened."""
    expires_at: float | None = None
    """Unix time in seconds; None: it does not say, or not so that it can be read."""
    seconds: int = DEFAULT_SECONDS
    upload: bool = True
    metadata: Mapping[str, Any] = {}
    dropped: str = ""
    """Why the metadata, or which keys of it, were left out, when some were."""


class MalformedCommand(Exception):  # noqa: N818 - a finding, never shown as a failure of ours
    """It cannot be obeyed; ``str()`` says why, without anything of its contents."""


def commands_in(answer: Mapping[str, Any]) -> Iterator[object]:
    """Yield what an answer asks for, in its order, not yet understood."""
    found: list[object] = []
    for key in _LISTS:
        value = answer.get(key)
        found += value if isinstance(value, list) else [] if value is None else [value]
    if answer.get(_SINGLE) is not None:
        value = answer[_SINGLE]
        found += value if isinstance(value, list) else [value]
    yield from found[: bounds.COMMANDS]


def id_of(raw: object) -> str | None:
    """Return a command's ``cmd_*`` id, None when it has none."""
    given = raw.get("id") if isinstance(raw, Mapping) else None
    return given if isinstance(given, str) and _ID.fullmatch(given) else None


def understand(raw: object) -> RemoteCommand:
    """Return a command.

    Raises:
        MalformedCommand: it is no object, has no id or type, or its ``params`` do not fit.
    """
    if not isinstance(raw, Mapping):
        raise MalformedCommand("it is no object")
    identity, kind = id_of(raw), raw.get("type")
    if identity is None:
        raise MalformedCommand("it has no id that begins with cmd_")
    if not isinstance(kind, str) or not kind:
        raise MalformedCommand("it has no type")
    command = RemoteCommand(identity, clean(kind, longest=_LONGEST_TYPE), _moment(raw.get("expires_at")))
    if command.type != Kind.START:
        return command
    params = raw.get("params")
    if params is None:
        return command
    if not isinstance(params, Mapping):
        raise MalformedCommand("its params are no object")
    given, dropped = _metadata(params.get("metadata"))
    return command._replace(
        seconds=_seconds(params.get("max_duration_sec")),
        upload=_flag(params.get("upload_immediately")),
        metadata=given,
        dropped=dropped,
    )


def _seconds(value: object) -> int:
    """Return the longest duration; one out of range is taken as the nearest that is allowed."""
    if value is None:
        return DEFAULT_SECONDS
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedCommand("its max_duration_sec is no number")
    return int(min(max(value, 1), LONGEST_SECONDS))


def _flag(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, bool):
        raise MalformedCommand("its upload_immediately is neither true nor false")
    return value


def _metadata(value: object) -> tuple[Mapping[str, Any], str]:
    """Return the metadata and what of it was left out, and why: what is said beside the audio must not cost it."""
    if value is None:
        return {}, ""
    if not isinstance(value, Mapping):
        return {}, "it is no object"
    kept: dict[str, Any] = {}
    dropped = []
    for key, inner in value.items():
        complaint = metadata({key: inner}) if isinstance(key, str) else "has a key that is no text"
        if complaint is None:
            kept[key] = inner
        else:
            reason = "the recorder fills it itself" if is_ours(str(key)) else f"it {complaint}"
            dropped.append(f"{_shown(key)} ({reason})")
    while kept and (complaint := metadata(kept)) is not None:  # each fits, all together do not
        key, _value = kept.popitem()
        dropped.append(f"{_shown(key)} (with it all of it {complaint})")
    return kept, "; ".join(dropped)


def _shown(key: object) -> str:
    return clean(str(key), longest=_LONGEST_KEY)


def _moment(value: object) -> float | None:
    """Return an ISO 8601 time (UTC where it names no zone) or a unix time, in seconds or milliseconds."""
    given = moment(value)
    return None if given is None or (not isinstance(value, str) and given < _UNIX_FROM) else given
