"""Who may ask for the page, and what stands on it."""

import time
from pathlib import Path
from typing import Any

import pytest

from agent.status.advice import first_thing
from agent.status.board import State
from agent.status.status_document import StatusDocument, status_document
from agent.web.hosts import is_loopback, is_of_this_page, is_ours, name_of
from agent.web.password import SESSION_SECONDS, Password, kept
from agent.web.view import level, view

Json = dict[str, Any]
ODD_HEX = b'{"salt":"000","hash":"000","key":"000"}'


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost", True),
        ("localhost:8088", True),
        ("LOCALHOST", True),
        ("127.0.0.1:1", True),
        ("[::1]:8088", True),
        ("[fe80::1%25eth0]", True),
        ("192.168.1.7", True),
        ("pi-ward", True),
        ("pi-ward.local:8088", True),
        ("pi-ward.local.", True),
        ("pi-ward.example.org", True),
        ("", False),
        ("evil.example", False),
        ("pi-ward.evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("user@localhost", False),
        ("localhost/", False),
        ("localhost:80:80", False),
        ("localhost:port", False),
        ("[::1", False),
        ("2130706433", False),
        ("x" * 300, False),
        ("localhost evil.example", False),
        ("\u2160ocalhost", False),
    ],
)
def test_whose_name_it_is(host: str, ours: bool) -> None:
    """An address, localhost, and its own name; the name of a page that leads here from elsewhere is none of them."""
    assert is_ours(host, "pi-ward.example.org") == ours


def test_names_have_no_rest() -> None:
    """What is no bare name is none."""
    assert name_of("a?b") is name_of("a#b") is name_of("") is None
    assert name_of("A.local:80") == "a.local"


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({"host": "pi:1", "origin": "http://pi:1"}, True),
        ({"host": "pi:1", "origin": "http://pi:1", "sec-fetch-site": "same-origin"}, True),
        ({"host": "pi:1", "sec-fetch-site": "same-origin"}, True),
        ({"host": "pi:1"}, False),
        ({"host": "pi:1", "origin": "null"}, False),
        ({"host": "pi:1", "origin": ""}, False),
        ({"host": "pi:1", "origin": "http://pi:2"}, False),
        ({"host": "pi:1", "origin": "http://evil.example"}, False),
        ({"host": "pi:1", "origin": "http://pi:1.evil.example"}, False),
        ({"host": "pi:1", "origin": "https://pi:1"}, True),
        ({"host": "pi:1", "origin": "http://[pi:1"}, False),
        ({"host": "pi:1", "origin": "ftp://pi:1"}, False),
        ({"origin": "http://"}, False),
        ({"host": "pi:1", "origin": "http://pi:1", "sec-fetch-site": "cross-site"}, False),
        ({"host": "pi:1", "origin": "http://pi:1", "sec-fetch-site": "same-site"}, False),
        ({"host": "pi:1", "sec-fetch-site": "none"}, False),
    ],
)
def test_from_where_commands_come(headers: dict[str, str], is_own: bool) -> None:
    """From a page of ours, as the browser says; who says nothing is no browser, and none of ours."""
    assert is_of_this_page(headers) == is_own


def test_what_is_reached_from_here_alone() -> None:
    """Loopback in both families, and sockets of files."""
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "", "/run/x")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "fe80::1%eth0", "name")))  # noqa: S104 - a case


def test_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept as a hash; a session is signed, ends, and ends with another password; odd files are no password."""
    file = tmp_path / "web-password"
    password = Password(file)
    assert not password.is_set
    assert not password.is_right("")
    assert password.session() == ""
    assert not password.is_session("")
    file.write_bytes(kept("correct horse"))
    assert b"correct" not in file.read_bytes()
    assert file.read_bytes() != kept("correct horse")
    assert password.is_right("correct horse")
    assert not any(map(password.is_right, ("", "correct hors", "correct horse ", "x" * 10_000)))
    session = password.session()
    assert password.is_session(session)
    until, _, signature = session.partition(".")
    forged = [f"{int(until) + 1}.{signature}", f"{until}.", until, f"{until}.{signature[:-1]}x", f"{until}.é"]
    forged += ["9" * 40 + ".0", "²." + signature]
    assert not any(map(password.is_session, forged))
    now = time.time()
    monkeypatch.setattr("agent.web.password.time.time", lambda: now + SESSION_SECONDS + 2)
    assert not password.is_session(session)
    monkeypatch.undo()
    file.write_bytes(kept("correct horse"))
    assert not password.is_session(session)
    for content in (b"", b"{}", b'{"salt":"zz","hash":"00","key":"00"}', ODD_HEX, b"\xff"):
        file.write_bytes(content)
        assert not password.is_set
        assert not password.is_right("correct horse")
        assert not password.is_session(session)


def status(**changes: Any) -> StatusDocument:
    """Return a status of a recorder that does well, with some changes."""
    return status_document(
        {
            "state": "recording",
            "recording": {
                "id": "a",
                "started_at": "2026-11-27T09:00:00.000Z",
                "duration_ms": 61_000,
                "marks": [{"offset_ms": 1000, "text": "<b>cough</b>"}],
            },
            "microphone": {"name": "USB", "state": "listening", "level_dbfs": -30.0, "quality": "ok"},
            "credential": {"state": "accepted"},
            "delivery": "running",
            "online": True,
        }
        | changes
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "all is well"),
        ({"state": "fault", "fault": "no libopus; install it"}, "no libopus"),
        ({"state": "storage_full"}, "the card is full"),
        ({"state": "no_microphone", "microphone": {"name": "default"}}, "no microphone found; plug it in"),
        ({"state": "muted", "credential": {"state": "missing"}}, "it is muted"),
        ({"credential": {"state": "refused"}, "online": False, "pending": 3}, "the device token is refused"),
        ({"delivery": "hung"}, "delivery is hung"),
        ({"online": False, "pending": 3}, "there is no way to the API"),
        ({"parked": 2}, "2 recordings were refused and wait for a person"),
        ({"parked": 1}, "1 recording was refused and waits for a person"),
        ({"clock": {"source": "unsynchronized"}}, "the clock is not right"),
        ({"storage": {"in_memory": True}}, "recordings lie in memory"),
        ({"microphone": {"name": "x", "state": "listening", "quality": "clipping"}}, "the microphone clips"),
    ],
)
def test_the_one_right_thing_first(changes: Json, sentence: str) -> None:
    """What keeps from recording comes before what keeps from delivering, and that before the rest."""
    assert first_thing(status(**changes)).sentence.startswith(sentence)


@pytest.mark.parametrize("state", list(State))
def test_every_state_has_a_view(state: State) -> None:
    """Whatever the recorder is doing, also with the least that can be known."""
    for now in (status(state=state.value), StatusDocument(state=state), None):
        shown = view(now)
        assert shown["state"]
        assert shown["kind"] in list(State)
    assert view(status())["advice"] == ""
    assert view(status())["marks"] == ["1.0 s <b>cough</b>"]


def test_a_microphone_of_no_use_is_told_with_the_reason() -> None:
    """As ``status`` tells it; of an earlier version, which knows no reason, name and state."""
    said = {
        "name": "USB",
        "state": "silent",
        "quality": "silent",
        "reason": "its capture control Mic is at 0 %",
    }
    assert ("Microphone", "USB, silent, its capture control Mic is at 0 %") in view(status(microphone=said))[
        "facts"
    ]
    assert ("Microphone", "USB, silent") in view(status(microphone={"name": "USB", "state": "silent"}))[
        "facts"
    ]


def test_the_level() -> None:
    """Within the meter, and none where nothing is heard."""
    assert level(-30.2, "listening") == {"dbfs": -30.2, "text": "-30 dB"}
    assert level(-96.0, "silent")["dbfs"] == -60.0
    assert level(3.0, "listening")["dbfs"] == 0.0
    assert level(-30.0, "closed") == level(None, "listening") == {"dbfs": None, "text": "no sound"}
