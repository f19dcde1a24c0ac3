"""A TOML file read into a msgspec Struct, with a sentence for a person about each thing that is wrong.

Knows nothing of the settings themselves: the ranges come from the types (``Meta``, ``Literal``, ``Checked``),
and so do the words in which they are explained.
"""

import difflib
import re
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta

from agent.config.values import Checked

ENVIRONMENT_VARIABLE = "RECORDER_AGENT_CONFIG"
S = TypeVar("S", bound=msgspec.Struct)

_SHOWN_CHARACTERS = 60
_SECRETS = ((re.compile(r"dtok_[^\s\"']+"), "dtok_…"), (re.compile(r"//[^/\s]*@"), "//…@"))


class Problem(NamedTuple):
    """What is wrong with one key: the sentence is "<key> <complaint>"."""

    key: str
    complaint: str


def read(
    path: Path, schema: type[S], contradictions: Callable[[S], Iterable[Problem]]
) -> tuple[S | None, list[str]]:
    """Return the settings and no sentence, or None and a sentence for each thing that is wrong."""
    problems: list[Problem] = []
    try:
        table = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
        settings = _struct(table, schema, "", problems)
    except OSError as error:
        reason = (
            f"cannot be read ({error.strerror}); name another file with --config or {ENVIRONMENT_VARIABLE}"
        )
        return None, [f"{path}: {reason}."]
    except UnicodeDecodeError as error:
        return None, [f"{path}: is not UTF-8 at byte {error.start}; save it as UTF-8."]
    except RecursionError:
        return None, [f"{path}: is nested too deeply to be read; no setting needs that."]
    except ValueError as error:  # TOMLDecodeError is one, and so is a number of 5,000 digits
        return None, [f"{path}: {_syntax_complaint(str(error))}."]
    if settings is not None:
        wrong = {problem.key for problem in problems}
        problems.extend(problem for problem in contradictions(settings) if not _touches(problem.key, wrong))
    return None if problems else settings, [
        f"{path}: {_safe(f'{key} {complaint}')}." for key, complaint in problems
    ]


def render(settings: msgspec.Struct) -> str:
    """Return settings as TOML, every key written out; an absent table stays absent."""
    import tomli_w  # noqa: PLC0415 - wanted by one command only

    return tomli_w.dumps(_without_none(msgspec.to_builtins(settings)))


def _syntax_complaint(message: str) -> str:
    where = re.search(r" \(at (line \d+, column \d+|end of document)\)$", message)
    if where is None:
        return f"is not TOML: {_safe(message)}"
    place = where[1] if where[1].startswith("line") else "its end"
    return f"is not TOML at {place}: {_safe(message[: where.start()])}"


def _struct(table: Mapping[str, Any], schema: type[S], key: str, problems: list[Problem]) -> S | None:
    """Return the Struct of what is right in ``table``; None when a key that must be there is not."""
    known = {field.encode_name: field for field in msgspec.structs.fields(schema)}
    good: dict[str, Any] = {}
    for name, value in table.items():
        dotted = _join(key, name)
        if name not in known:
            problems.append(Problem(dotted, _unknown(name, key, list(known))))
            continue
        converted = _value(value, known[name].type, dotted, problems)
        if converted is not None:
            good[known[name].name] = converted
    for name, field in known.items():
        if field.default is NODEFAULT and field.default_factory is NODEFAULT:
            if name not in table:
                problems.append(Problem(_join(key, name), f"is missing; it must be {_described(field.type)}"))
            if name not in good:
                return None
    return schema(**good)


def _value(value: Any, kind: Any, key: str, problems: list[Problem]) -> Any:
    """Return ``value`` as ``kind``; on a problem note it and return None (or what is right of a table)."""
    bare = _bare(kind)
    if _is_struct(bare) and isinstance(value, dict):
        return _struct(value, bare, key, problems)
    if get_origin(bare) is tuple and isinstance(value, list) and _is_struct(item := get_args(bare)[0]):
        entries = [_value(entry, item, f"{key}[{i}]", problems) for i, entry in enumerate(value)]
        return tuple(entry for entry in entries if entry is not None)
    try:
        converted = msgspec.convert(value, kind)
    except msgspec.ValidationError:
        problems.append(Problem(key, f"is {shown(value)}, but must be {_described(kind)}"))
        return None
    for check in _annotations(kind, Checked):
        if complaint := check.complaint(converted):
            problems.append(Problem(key, f"is {shown(value)}, but {complaint}"))
            return None
    return converted


def _described(kind: Any) -> str:
    """Return what a value of ``kind`` looks like, in words."""
    meta = next(iter(_annotations(kind, Meta)), Meta())
    bare = _bare(kind)
    if meta.description:
        return meta.description
    if get_origin(bare) is Literal:
        choices = [shown(choice) for choice in get_args(bare)]
        return f"{', '.join(choices[:-1])} or {choices[-1]}"
    if get_origin(bare) is tuple:
        most = f" of at most {meta.max_length}" if meta.max_length else ""
        return f"a list{most}, each {_described(get_args(bare)[0])}"
    if bare is int:
        return f"a whole number from {meta.ge} to {meta.le}"
    if _is_struct(bare):
        return f"a table with the keys {', '.join(bare.__struct_encode_fields__)}"
    return {bool: "true or false", str: "a text in quotes"}.get(bare, "a table")


def _unknown(name: str, section: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"is not a setting; the nearest one is {_join(section, near[0])}"
    return f"is not a setting; {f'[{section}]' if section else 'the file'} knows {', '.join(known)}"


def shown(value: Any) -> str:
    """Return a value as a person wrote it, shortened, without secrets."""
    try:
        text = _written(value)
    except (ValueError, RecursionError):
        return "too long to be shown"
    text = _safe(text)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {_written(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _safe(text: str) -> str:
    """Return text on one line and without secrets."""
    text = "".join(c if c.isprintable() else "�" for c in text)
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def _bare(kind: Any) -> Any:
    """Return the type without its annotations, and without "or None"."""
    kind = _something(kind)
    if get_origin(kind) is Annotated:
        kind = _something(get_args(kind)[0])
    return kind


def _something(kind: Any) -> Any:
    """Return the type without "or None"."""
    if get_origin(kind) in {Union, types.UnionType}:
        return next(choice for choice in get_args(kind) if choice is not type(None))
    return kind


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _annotations(kind: Any, wanted: type[Any]) -> list[Any]:
    kind = _something(kind)
    notes = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return [note for note in notes if isinstance(note, wanted)]


def _join(section: str, name: str) -> str:
    name = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else shown(name)
    return f"{section}.{name}" if section else name


def _touches(key: str, others: set[str]) -> bool:
    return any(
        key == other or key.startswith(f"{other}.") or other.startswith((f"{key}.", f"{key}["))
        for other in others
    )


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_without_none(inner) for inner in value]
    return value
