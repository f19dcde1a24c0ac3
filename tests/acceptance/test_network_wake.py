"""A link that comes back in a real network namespace is used at once, in the depth of a backoff."""

import os
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from acceptance import PROGRAM, Daemon, Machine, wait_for
from speech import speech, write_wav

from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.server import SandboxServer

HOST, DEVICE = "10.213.7.1", "10.213.7.2"
WITHIN_SECONDS = 2.0
"""From the link's return to the first request."""
DEEP_SECONDS = 5.0
"""A backoff that has at least so long to go, so that luck is no explanation."""


def ip(arguments: str) -> None:
    """Run an ``ip`` command."""
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)


class Inside(Machine):
    """A machine whose processes run in a network namespace."""

    namespace = ""

    def popen(self, *arguments: str | Path, **options: Any) -> "subprocess.Popen[str]":
        """Start a command there."""
        command = ["ip", "netns", "exec", self.namespace, PROGRAM, "--config", self.config_file, *arguments]
        return subprocess.Popen(command, text=True, env=self.environment, cwd=self.folder, **options)


@pytest.fixture
def link() -> Iterator[str]:
    """A veth pair from here into a namespace of the same name, down on our side."""
    name = f"wake{os.getpid()}"
    ip(f"netns add {name}")
    try:
        ip(f"link add {name} type veth peer name eth0 netns {name}")
        ip(f"addr add {HOST}/24 dev {name}")
        ip(f"link set {name} up")
        ip(f"-n {name} link set lo up")
        ip(f"-n {name} link set eth0 up")
        ip(f"-n {name} addr add {DEVICE}/24 dev eth0")
        ip(f"-n {name} route add default via {HOST}")
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)
        subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)


def left(daemon: Daemon) -> float:
    """Return the seconds that its backoff has to go."""
    waiting = daemon.status()["waiting"]
    if waiting is None or waiting["until"] is None:
        return 0.0
    return (datetime.fromisoformat(waiting["until"]) - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize("with_recording", [False, True])
@pytest.mark.root
def test_a_link_that_is_back_is_used_at_once(link: str, tmp_path: Path, with_recording: bool) -> None:
    """With a recording waiting or none, the first request comes within 2 s, long before the backoff's end."""
    with SandboxServer(tmp_path / "sandbox", host=HOST) as server:
        machine = Inside(tmp_path / "machine")
        machine.namespace = link
        machine.give_token(DEFAULT_TOKEN)
        loop = write_wav(tmp_path / "loop.wav", 16_000, 1, speech(16_000, 1, 32_000))
        machine.configure(
            api={"base_url": server.base_url, "ca_file": str(server.ca_file)},
            audio={"input": f"file:{loop}?loop"},
            recording={"mode": "manual"},
            heartbeat={"interval_seconds": 10},
        )
        if with_recording:
            machine.record(loop)
        ip(f"link set {link} down")
        with machine.daemon() as daemon:
            wait_for(lambda: daemon.status()["online"] is False)
            if with_recording:  # without one the next try is a heartbeat's, 15 s after the first
                wait_for(lambda: left(daemon) > DEEP_SECONDS, 120)
            seen = len(server.requests())
            ip(f"link set {link} up")
            began = time.monotonic()
            wait_for(lambda: len(server.requests()) > seen, 5)
            took = time.monotonic() - began
            assert took <= WITHIN_SECONDS
            if with_recording:
                wait_for(lambda: daemon.status()["pending"] == 0)
            assert daemon.stop() == 0
        assert seen == 0
