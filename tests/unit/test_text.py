"""Text from outside: valid where it enters, harmless where it shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import text


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("Küche", "Küche"),
        ("K\udcfcche", "K\N{REPLACEMENT CHARACTER}che"),
        ("\ud800", "\N{REPLACEMENT CHARACTER}"),
        ("", ""),
    ],
)
def test_valid(given_text: str, expected: str) -> None:
    """Bytes that are no UTF-8, as arguments and host names bring them, are replaced."""
    assert text.valid(given_text) == expected


@given(st.text())
def test_shown_obeys_nothing(anything: str) -> None:
    """What is shown has no character that a terminal obeys; what can be printed stays as it is."""
    result = text.shown(anything)
    assert all(char.isprintable() or char not in "\x00\x07\x08\x1b\x7f\x9b\r\n\t" for char in result)
    if anything.isprintable():
        assert result == anything


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x9b2J", r"\x9b2J"),
        ("abc\u202egpj.exe", r"abc\u202egpj.exe"),
        ("K\udcfcche", r"K\udcfcche"),
        ("naïve café 録音", "naïve café 録音"),
    ],
)
def test_shown(given_text: str, expected: str) -> None:
    """Escapes, line ends, marks that turn the direction of writing, and lone surrogates are written out."""
    assert text.shown(given_text) == expected
    assert text.shown("a\nb", keep="\n") == "a\nb"


def test_cut() -> None:
    """A cut is seen."""
    assert text.cut("abcdef", 6) == "abcdef"
    assert text.cut("abcdefg", 6) == "abcde…"


def test_counted() -> None:
    """One of something, and none or more of it, each with the words that fit."""
    assert [text.counted(count, "recording waits", "recordings wait") for count in range(3)] == [
        "0 recordings wait",
        "1 recording waits",
        "2 recordings wait",
    ]
