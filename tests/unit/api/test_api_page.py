"""The page that describes the API, ``docs/api.md``: the sections that docstrings name, and each field sent or read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/api.md").read_text("utf-8")
READERS = {"text", "moment", "number", "headers", "items", "_required"}
"""What reads a field of an answer; its name is the first text among the arguments."""
SENT = [
    ("agent/api/client.py", "upload_url"),
    ("agent/api/client.py", "complete"),
    ("agent/sync/delivery.py", "_body"),
    ("agent/sync/metadata.py", "metadata_of"),
    ("agent/sync/metadata.py", "_loudness"),
    ("agent/sync/remote/payload.py", "body"),
    ("agent/sync/remote/payload.py", "_storage"),
]
"""The functions that put a body together."""


def is_on_the_page(name: str) -> bool:
    """Return whether a field is named."""
    return re.search(rf"`[^`]*\b{name}\b[^`]*`", PAGE) is not None


def functions(path: str) -> Iterator[ast.FunctionDef]:
    """Yield the functions of a file."""
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield node


def test_every_section_that_is_named_is_there() -> None:
    """Whoever reads a docstring finds what it points to."""
    there = set(re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE))
    named = {
        number
        for path in (ROOT / "agent").rglob("*.py")
        for number in re.findall(r"api\.md section (\d+)", path.read_text("utf-8"))
    }
    assert len(named) > 5
    assert named <= there


@pytest.mark.parametrize(("path", "name"), SENT)
def test_every_field_that_is_sent_is_on_it(path: str, name: str) -> None:
    """The keys of each body."""
    (function,) = (each for each in functions(path) if each.name == name)
    keys = {
        key.value
        for node in ast.walk(function)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }
    assert keys
    assert {key for key in keys if not is_on_the_page(key)} <= {"pending"}


@pytest.mark.parametrize("path", ["agent/api/results.py", "agent/api/client.py"])
def test_every_field_that_is_read_is_on_it(path: str) -> None:
    """The names under which fields of answers are asked for."""
    read = set()
    for function in functions(path):
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
                texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
                if called in READERS:
                    read |= {text for text in texts[:1] if isinstance(text, str)}
    assert read
    assert {name for name in read if not is_on_the_page(name)} == set()


def test_a_field_that_nobody_has_described_would_be_found() -> None:
    """A control."""
    assert is_on_the_page("captured_at")
    assert not is_on_the_page("captured_by")
