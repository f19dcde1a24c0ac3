"""A running page, and how it is asked; for tests of its process and for those with a browser."""

import contextlib
import http.client
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from acceptance import PROGRAM, Run, wait_for
from fake_recorder import FakeRecorder

PASSWORD = "correct horse"
Answer = tuple[int, str, dict[str, str]]


class Site:
    """A running page."""

    def __init__(self, process: "subprocess.Popen[str]", host: str, port: int) -> None:
        self.process = process
        self.host, self.port = host, port

    def ask(
        self, path: str, method: str = "GET", body: dict[str, str] | None = None, **headers: str
    ) -> Answer:
        """Send one request; headers with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            named["content-type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else urlencode(body), named)
            answer = connection.getresponse()
            return (
                answer.status,
                answer.read().decode(),
                {name.lower(): value for name, value in answer.getheaders()},
            )

    def post(self, path: str, body: dict[str, str], **headers: str) -> Answer:
        """Send a form as this page's own form does."""
        return self.ask(path, "POST", body, **{"origin": f"http://{self.host}:{self.port}"} | headers)

    def log_in(self, password: str = PASSWORD) -> str:
        """Type the password; return the cookie."""
        status, _, headers = self.post("/login", {"password": password})
        assert status == 303
        cookie = headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
        return cookie.partition(";")[0]


def free_port(host: str) -> int:
    """Return a port that nobody has at this moment."""
    with socket.socket(socket.AF_INET) as listener:
        listener.bind((host, 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[FakeRecorder]:
    """A recorder that records, as far as the page knows."""
    with FakeRecorder(tmp_path / "recorder").answering() as recorder:
        yield recorder


def environment(recorder: FakeRecorder) -> dict[str, str]:
    """Return an environment in which the page finds the recorder."""
    here = Path(__file__).parents[2]
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(here)} | recorder.environment


Site_ = Callable[..., Site]


@pytest.fixture
def page(recorder: FakeRecorder) -> Iterator[Site_]:
    """Start pages; all are gone at the end."""
    with contextlib.ExitStack() as stack:

        def start(*options: str, host: str = "127.0.0.1") -> Site:
            port = free_port(host)
            command = [
                str(PROGRAM),
                "--config",
                str(recorder.config),
                "web",
                "--listen",
                f"{host}:{port}",
                *options,
            ]
            process = stack.enter_context(
                subprocess.Popen(command, env=environment(recorder), text=True, stderr=subprocess.PIPE)
            )
            stack.callback(process.kill)

            def is_up() -> bool:
                assert process.poll() is None, process.stderr and process.stderr.read()
                with socket.socket() as client:
                    return client.connect_ex((host, port)) == 0

            wait_for(is_up)
            return Site(process, host, port)

        yield start


def set_password(recorder: FakeRecorder, password: str = PASSWORD) -> Run:
    """Run ``web password``."""
    done = subprocess.run(
        [PROGRAM, "--config", recorder.config, "web", "password"],
        env=environment(recorder),
        input=f"{password}\n",
        encoding="utf-8",
        errors="surrogateescape",
        capture_output=True,
        check=False,
        timeout=30,
    )
    return Run(done.returncode, done.stdout, done.stderr)
