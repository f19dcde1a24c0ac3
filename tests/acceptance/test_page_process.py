"""The page as a process, from outside: what it refuses, what a crowd and a slow client do to it, and when it ends."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import contextlib
import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from acceptance import PROGRAM, Run
from fake_recorder import FakeRecorder
from page_site import PASSWORD, Site, Site_, environment, page, recorder, set_password


def test_it_shows_what_the_recorder_says(page: Site_, recorder: FakeRecorder) -> None:
    """State, level, queue, days and marks; nothing is loaded from elsewhere, and what comes from outside is text."""
    recorder.status = recorder.status | {
        "microphone": recorder.status["microphone"] | {"name": "<script>alert(1)</script>\x1b[2J"}
    }
    site = page()
    status, text, headers = site.ask("/")
    assert status == 200
    for word in ("Recording", "2:01:05 h", "50 % of 2400 kB", "cough", "Fri 27 Nov", "no microphone"):
        assert word in text
    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert set(re.findall(r'(?:src|href|action)="([^"]*)"', text)) <= {"/style.css", "/page.css", "/page.js"}
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers
    for path in ("/style.css", "/page.css", "/page.js", "/now", "/days"):
        assert site.ask(path)[0] == 200
    assert site.ask("/level")[1] == '{"dbfs":-31.5,"text":"-32 dB"}'
    assert {request.command for request in recorder.asked} <= {"status", "level", "report"}


def test_without_a_recorder_it_says_so(page: Site_, recorder: FakeRecorder) -> None:
    """A recorder that is not there is no error of the page."""
    recorder.environment["XDG_RUNTIME_DIR"] = str(recorder.config.parent)
    site = page()
    status, text, _ = site.ask("/")
    assert status == 200
    assert "Not running" in text
    assert '"dbfs":null' in site.ask("/level")[1]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost:x", "a b"])
def test_a_forged_host_is_refused(page: Site_, host: str) -> None:
    """A name that leads here from elsewhere (DNS rebinding)."""
    assert page().ask("/", host=host)[0] in {400, 421}


def test_two_hosts_and_none_are_refused(page: Site_) -> None:
    """No server may guess which one is meant."""
    site = page()
    for lines in (b"Host: localhost\r\nHost: evil.example\r\n", b""):
        with socket.create_connection((site.host, site.port), 5) as client:
            client.sendall(b"GET / HTTP/1.1\r\n" + lines + b"Connection: close\r\n\r\n")
            assert client.recv(100).split()[1] in {b"400", b"421"}


@pytest.mark.parametrize(
    "path",
    ["/../etc/passwd", "/..%2f..%2fetc/passwd", "//etc/passwd", "/page.css/../../app.py", "/%2e%2e/",
     "/templates/page.html", "/page.css%00", "/\\..\\..", "/style.css/", "/days/x"],
)  # fmt: skip
def test_no_path_leads_elsewhere(page: Site_, path: str) -> None:
    """A few fixed paths are all there is."""
    site = page()
    status, text, _ = site.ask(path)
    assert status in {307, 400, 404}
    assert "root:" not in text
    assert "import" not in text


def test_commands_want_a_switch_and_the_password(page: Site_, recorder: FakeRecorder) -> None:
    """Without the switch there are none; with it they want the password, and a form of this page."""
    assert set_password(recorder).code == 0
    site = page()
    assert site.post("/control", {"action": "start"})[0] == 403
    assert "Control" not in site.ask("/")[1]
    site = page("--allow-control")
    assert site.post("/control", {"action": "stop"})[0] == 401
    status, _, _ = site.post("/login", {"password": "wrong horse"})
    assert status == 401
    cookie = site.log_in()
    for action, command in (
        ("start", "start"),
        ("stop", "stop"),
        ("mark", "mark"),
        ("mute", "mute"),
        ("unmute", "mute"),
    ):
        recorder.asked.clear()
        status, text, _ = site.post("/control", {"action": action, "text": "cough"}, cookie=cookie)
        assert status == 200
        assert 'role="status"' in text
        (request,) = [each for each in recorder.asked if each.command not in {"status", "level", "report"}]
        assert request.command == command
        assert request.on == (action != "unmute")
        assert request.text == ("cough" if action == "mark" else None)
    assert site.post("/control", {"action": "delete"}, cookie=cookie)[0] == 400
    recorder.asked.clear()
    for origin in ("http://evil.example", "null", f"https://{site.host}:{site.port}0"):
        assert site.post("/control", {"action": "mute"}, cookie=cookie, origin=origin)[0] == 403
    assert site.ask("/control", "POST", {"action": "mute"}, cookie=cookie)[0] == 403
    for action in ("GET", "PUT", "DELETE", "HEAD"):
        own = f"http://{site.host}:{site.port}"
        assert site.ask("/control", action, None, cookie=cookie, origin=own)[0] == 405
    assert site.post("/control", {"action": "mute", "text": "x" * 5000}, cookie=cookie)[0] == 400
    assert set_password(recorder, "another horse").code == 0
    assert site.post("/control", {"action": "mute"}, cookie=cookie)[0] == 401
    assert not [each for each in recorder.asked if each.command == "mute"]


def test_a_command_that_is_not_obeyed_is_said(page: Site_, recorder: FakeRecorder) -> None:
    """The recorder's sentence stands on the page."""
    set_password(recorder)
    site = page("--allow-control")
    cookie = site.log_in()
    recorder.environment["XDG_RUNTIME_DIR"] = "/nonexistent"
    recorder.status = recorder.status | {"state": "muted", "recording": None}
    assert "Unmute" in site.ask("/", cookie=cookie)[1]


def test_beyond_this_machine_reading_wants_the_password(page: Site_, recorder: FakeRecorder) -> None:
    """Everything but the look of the page; and it says that it is http."""
    site = page(host="0.0.0.0")  # noqa: S104 - what is tried
    assert site.ask("/")[0] == 503
    assert "recorder-agent web password" in site.ask("/")[1]
    assert set_password(recorder).code == 0
    for path in ("/", "/now", "/days", "/level"):
        status, text, _ = site.ask(path)
        assert status == 401
        assert "Recording" not in text
        assert "plain http" in text
    assert not recorder.asked
    cookie = site.log_in()
    assert "Recording" in site.ask("/", cookie=cookie)[1]
    assert site.post("/logout", {}, cookie=cookie)[0] == 303
    assert site.ask("/", cookie=f"{cookie}0")[0] == 401


def test_a_password_is_long_enough(recorder: FakeRecorder) -> None:
    """A short one is one sentence, and the file is for nobody else."""
    assert "8 to 256 characters" in set_password(recorder, "short").sentence(1)
    assert "invalid UTF-8" in set_password(recorder, "correct \udcff horse").sentence(1)
    assert set_password(recorder).code == 0
    file = recorder.config.with_name("web-password")
    assert file.stat().st_mode & 0o007 == 0
    assert PASSWORD not in file.read_text()


def test_too_much_of_a_head_is_refused(page: Site_) -> None:
    """A megabyte of headers is not kept."""
    site = page()
    with socket.create_connection((site.host, site.port), 5) as client:
        with contextlib.suppress(OSError):
            client.sendall(b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * (1 << 20))
        with contextlib.suppress(ConnectionError):
            assert client.recv(20).split()[1:2] in ([b"400"], [b"431"], [])
    assert site.ask("/now")[0] == 200


@contextlib.contextmanager
def handed_over(recorder: FakeRecorder, *options: str, **more: str) -> Iterator[Site]:
    """Give a page that was started on a socket, as systemd does it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        script = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True); "
            "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); "
            "os.execv(sys.argv[2], sys.argv[2:])"
        )
        command = [
            sys.executable,
            "-c",
            script,
            str(listener.fileno()),
            str(PROGRAM),
            "--config",
            str(recorder.config),
        ]
        with subprocess.Popen(
            [*command, "web", *options],
            env=environment(recorder) | more,
            pass_fds=[listener.fileno()],
        ) as process:
            try:
                yield Site(process, "127.0.0.1", port)  # type: ignore[arg-type] # bytes or text, nothing is read
            finally:
                process.kill()


def test_it_ends_when_nobody_looks(recorder: FakeRecorder) -> None:
    """Started on a socket that is handed over, it answers, and after the idle time it is gone, with exit 0."""
    with handed_over(recorder, "--idle-seconds", "1.5") as site:
        assert "Recording" in site.ask("/")[1]
        time.sleep(1)
        assert site.ask("/now")[0] == 200
        assert site.process.wait(10) == 0


def test_settings_that_are_wrong_do_not_hide_the_recorder(recorder: FakeRecorder, page: Site_) -> None:
    """It runs on the last good ones, and the page shows it: one that is there already, and one of the service."""
    (runtime,) = (recorder.config.parent / "run").iterdir()
    site = page()
    recorder.config.write_text("[opus]\nbitrate_kbps = 4000\n")
    assert "Recording" in site.ask("/")[1]
    with handed_over(recorder, RUNTIME_DIRECTORY=str(runtime)) as site:
        assert "Recording" in site.ask("/")[1]


def refused(recorder: FakeRecorder, *options: str) -> Run:
    """Return what a page says that does not begin."""
    done = subprocess.run(
        [PROGRAM, "--config", recorder.config, "web", *options],
        env=environment(recorder),
        text=True,
        capture_output=True,
        check=False,
        timeout=30,
    )
    return Run(done.returncode, done.stdout, done.stderr)


def test_settings_that_are_wrong_are_said_by_hand(recorder: FakeRecorder) -> None:
    """One sentence, with the code for them."""
    recorder.config.write_text("[opus]\nbitrate_kbps = 4000\n")
    assert "opus.bitrate_kbps" in refused(recorder).sentence(78)


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999", "127.0.0.1:x", "192.0.2.1:8088", ""])
def test_an_address_that_cannot_be_had(recorder: FakeRecorder, address: str) -> None:
    """One sentence, exit 1."""
    assert "--listen" in refused(recorder, "--listen", address).sentence(1)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /login HTTP/1.1\r\nHost: HOST\r\nOrigin: http://[\r\nContent-Length: 1\r\n\r\nx",
        b"POST /login HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nContent-Length: 999\r\n\r\nx",
        b"GET / HTTP/1.1\r\nHost: HOST\r\nCookie: recorder_session=\xff.\xff; =; ;\r\n\r\n",
        b"GET /%00/../ HTTP/1.1\r\nHost: [\r\n\r\n",
        b"\xff\r\n\r\n",
    ],
)
def test_what_a_stranger_sends_is_no_error_of_the_program(page: Site_, request_bytes: bytes) -> None:
    """An origin that is no URL, a form that breaks off, odd cookies and paths: nothing of it stands in the log."""
    site = page()
    for is_read in (True, False):
        with socket.create_connection((site.host, site.port), 5) as client:
            client.sendall(request_bytes.replace(b"HOST", f"{site.host}:{site.port}".encode()))
            client.shutdown(socket.SHUT_WR)
            if is_read:
                assert b"500 Internal" not in client.recv(1000)
    assert site.ask("/now")[0] == 200
    site.process.terminate()
    _, said = site.process.communicate(timeout=10)
    assert said.splitlines() == [f"the page is at http://{site.host}:{site.port}/"]
