"""A recorder and its API in network namespaces: what a bad network does, and that each recording arrives once."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from acceptance import Daemon, Json, wait_for
from field import PORT, Recorder, Sandbox, check_one_copy_each, sandbox_at
from wire import NAME, SERVER_ADDRESS, Wire, wire

from agent.control.server import ask
from agent.process.state_directory import StateDirectory

FLAP_MINUTES = float(os.environ.get("FLAP_MINUTES", "2"))
"""10 is the whole test, 2 the one for CI."""
LINK_UPS = 10
DEAF_LINK_UPS = 4
HALF_A_MEGABYTE = 40.0
"""Seconds of speech."""
API = f"tcp dport {PORT}"


@pytest.fixture(scope="module")
def cable() -> Iterator[Wire]:
    with wire() as laid:
        yield laid


@pytest.fixture(scope="module")
def sandbox(cable: Wire, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox_at(cable, tmp_path_factory.mktemp("server") / "sandbox") as running:
        yield running


@pytest.fixture
def recorder(cable: Wire, sandbox: Sandbox, tmp_path: Path) -> Iterator[Recorder]:
    yield Recorder(tmp_path / "machine", cable, sandbox.ca_file)
    cable.limit(0)
    cable.know_names()
    cable.plug("server")
    cable.plug()


def say(text: str) -> None:
    """Show a raw figure, in pytest's output and in CI's."""
    sys.__stdout__.write(f"\n    {text}\n") if sys.__stdout__ else None


@contextmanager
def an_upload_under_way(
    recorder: Recorder, sandbox: Sandbox, wire: Wire
) -> Iterator[tuple[Daemon, list[Json]]]:
    """Give a daemon that is in the middle of the PUT of half a megabyte, over a line of 1 Mbit/s."""
    rows = recorder.recorded(HALF_A_MEGABYTE)
    assert rows[0]["size_bytes"] > 400_000
    wire.limit(1000)
    with recorder.daemon() as daemon:
        wait_for(sandbox.put_in_progress)
        yield daemon, rows


@pytest.mark.parametrize("end", ["agent", "server"])
def test_a_link_that_goes_down_in_the_middle_of_an_upload(
    recorder: Recorder, sandbox: Sandbox, cable: Wire, end: str
) -> None:
    """Eight seconds without an interface, or without a carrier, and the recording arrives once, no attempt used."""
    with an_upload_under_way(recorder, sandbox, cable) as (_daemon, rows):
        cable.unplug(end)
        time.sleep(8)
        cable.plug(end)
        seconds = recorder.wait_delivered([rows[0]["id"]], 150)
        say(f"link down for 8 s during a PUT ({end}'s end): delivered {seconds:.1f} s after it was up")
    check_one_copy_each(recorder, sandbox, rows)


@pytest.mark.parametrize(("rule", "seconds"), [(f"{API} reject with tcp reset", 3), (f"{API} drop", 20)])
def test_a_wall_in_the_middle_of_an_upload(
    recorder: Recorder, sandbox: Sandbox, cable: Wire, rule: str, seconds: int
) -> None:
    """Resets, or packets that vanish, for a while: the recording arrives once, no attempt used."""
    with an_upload_under_way(recorder, sandbox, cable) as (_daemon, rows):
        cable.refuse(rule)
        time.sleep(seconds)
        cable.allow()
        took = recorder.wait_delivered([rows[0]["id"]], 150)
        say(f"{rule} for {seconds} s during a PUT: delivered {took:.1f} s after it was gone")
    check_one_copy_each(recorder, sandbox, rows)


def test_a_link_that_flaps(recorder: Recorder, sandbox: Sandbox, cable: Wire) -> None:
    """Five seconds on, five off, for minutes, over 1 Mbit/s: every recording arrives, once, no attempt used."""
    rows = recorder.recorded(HALF_A_MEGABYTE / 2, 6)
    cable.limit(1000)
    end = time.monotonic() + FLAP_MINUTES * 60
    flaps = 0
    with recorder.daemon():
        while time.monotonic() < end:
            time.sleep(5)
            cable.unplug()
            time.sleep(5)
            cable.plug()
            flaps += 1
            if time.monotonic() < end - 30 and all(row["status"] == "uploaded" for row in recorder.queue()):
                rows += recorder.recorded(HALF_A_MEGABYTE / 2, 3)
        during = sum(row["status"] == "uploaded" for row in recorder.queue())
        seconds = recorder.wait_delivered([row["id"] for row in rows], 240)
    say(
        f"{flaps} flaps: {during} of {len(rows)} delivered meanwhile, the rest {seconds:.1f} s after the last one"
    )
    check_one_copy_each(recorder, sandbox, rows)


def link_up_delays(
    recorder: Recorder, sandbox: Sandbox, cable: Wire, ends: list[str], timeout: float
) -> list[float]:
    """Return the seconds from each link-up to the first request, after failures that make the backoff long."""
    delays = []
    with recorder.daemon() as daemon:
        for end in ends:
            sandbox.end()  # no call is to wait on a kept connection: that is another test
            sandbox.start()
            cable.unplug(end)
            (row,) = recorder.recorded(1)
            for _ in range(8 if end == "agent" else 1):
                ask(StateDirectory(daemon.state, daemon.state).delivery_socket, {"command": "sync"})
            assert daemon.status()["online"] is False
            up = time.time()
            cable.plug(end)
            delays.append(first_request(sandbox, up, timeout))
            ask(StateDirectory(daemon.state, daemon.state).delivery_socket, {"command": "sync"})
            recorder.wait_delivered([row["id"]], 60)
    return delays


def first_request(sandbox: Sandbox, up: float, timeout: float) -> float:
    """Return how many seconds after a moment the first request came, at most ``timeout``."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        delay = sandbox.first_request_after(up)
        if delay is not None:
            return delay
        time.sleep(0.02)
    return timeout


def test_a_link_that_is_up_is_used_within_two_seconds(
    recorder: Recorder, sandbox: Sandbox, cable: Wire
) -> None:
    """From the link's return, of the interface and of the carrier alone, to the first request: at most 2 s."""
    for end, count in (("agent", LINK_UPS), ("server", 1)):
        delays = link_up_delays(recorder, sandbox, cable, [end] * count, 15)
        shown = " ".join(f"{delay:.2f}" for delay in delays)
        say(
            f"link up ({end}'s end) to first request, s: {shown}; "
            f"median {statistics.median(delays):.2f}, max {max(delays):.2f}"
        )
        assert max(delays) <= 2


def test_a_link_that_is_back_while_a_call_waits(recorder: Recorder, sandbox: Sandbox, cable: Wire) -> None:
    """A call that was under way when the carrier went is answered, or made again, after its return."""
    (row,) = recorder.recorded(1)
    with recorder.daemon() as daemon:
        recorder.wait_delivered([row["id"]], 60)
        cable.unplug("server")
        rows = [row, *recorder.recorded(1)]
        with recorder.popen("sync", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as asking:
            time.sleep(10)
            up = time.time()
            cable.plug("server")
            delay = first_request(sandbox, up, 70)
            asking.wait(120)
        recorder.wait_delivered([rows[1]["id"]], 120)
        say(f"link up to first request, a call being under way on the old connection: {delay:.2f} s")
        assert daemon.status()["online"] is True
    check_one_copy_each(recorder, sandbox, rows)


def test_without_the_watcher_it_takes_longer(recorder: Recorder, sandbox: Sandbox, cable: Wire) -> None:
    """The same daemon, deaf to the network, comes back by its backoff alone: the test above can fail."""
    recorder.deaf = True
    delays = link_up_delays(recorder, sandbox, cable, ["agent"] * DEAF_LINK_UPS, 8)
    say(f"deaf, s (8 is the end of timeout): {' '.join(f'{delay:.2f}' for delay in delays)}")
    assert statistics.median(delays) > 2


def test_a_line_of_96_kbit(recorder: Recorder, sandbox: Sandbox, cable: Wire) -> None:
    """Half a megabyte goes through 96 kbit/s in one piece, without a time-out."""
    rows = recorder.recorded(HALF_A_MEGABYTE)
    cable.limit(96)
    with recorder.daemon():
        seconds = recorder.wait_delivered([rows[0]["id"]], 150)
        kbit = rows[0]["size_bytes"] * 8 / 1000 / seconds
        say(f"{rows[0]['size_bytes']} bytes over 96 kbit/s: {seconds:.1f} s, {kbit:.0f} kbit/s")
        assert recorder.said("sync_offline") == []
    check_one_copy_each(recorder, sandbox, rows)


def check_named(recorder: Recorder, daemon: Daemon, kind: str, words: str, seconds: float) -> None:
    """Wait until an outage is logged by its kind and in words, and shown by ``status``."""
    wait_for(lambda: bool(recorder.said("sync_offline")), seconds)
    first = recorder.said("sync_offline")[0]
    assert (first["level"], first["kind"]) == ("warning", kind), first
    assert words in first["reason"]
    wait_for(lambda: daemon.status()["waiting"] is not None)
    shown = daemon.status()
    assert shown["online"] is False
    say(f"{kind}: {shown['waiting']['reason']} | {first['reason']}")
    assert words in str(shown["waiting"]["reason"])


def test_names_that_nobody_resolves(recorder: Recorder, sandbox: Sandbox, cable: Wire) -> None:
    """A resolver that never answers is named as DNS in log and status; later everything is delivered."""
    rows = recorder.recorded(1)
    cable.forget_names()
    with recorder.daemon() as daemon:
        check_named(recorder, daemon, "dns", "could not be resolved", 60)
        cable.know_names()
        say(f"names are back: delivered after {recorder.wait_delivered([rows[0]['id']], 90):.1f} s")
    check_one_copy_each(recorder, sandbox, rows)


@pytest.mark.parametrize(
    ("dress", "trusted", "kind", "words"),
    [
        ("page", False, "tls", "captive portal"),
        ("plain", False, "tls", "captive portal"),
        ("page", True, "portal", "captive portal"),
        ("redirect", True, "portal", "captive portal"),
    ],
)
def test_a_captive_portal(
    recorder: Recorder,
    sandbox: Sandbox,
    cable: Wire,
    tmp_path: Path,
    dress: str,
    trusted: bool,
    kind: str,
    words: str,
) -> None:
    """A portal with a wrong certificate, without TLS, or behind a trusted one is named in log and status."""
    rows = recorder.recorded(1)
    sandbox.end()
    portal = portal_at(cable, tmp_path / "portal.pem", dress, sandbox.ca_file if trusted else None)
    try:
        with portal, recorder.daemon() as daemon:
            check_named(recorder, daemon, kind, words, 30)
    finally:
        sandbox.start()
    with recorder.daemon():
        recorder.wait_delivered([rows[0]["id"]], 90)
    check_one_copy_each(recorder, sandbox, rows)


@contextmanager
def portal_at(cable: Wire, certificate: Path, dress: str, ca_file: Path | None) -> Iterator[None]:
    """Run a portal in the sandbox's place."""
    own = trustme.CA()
    if ca_file is not None:
        own = trustme.CA.from_pem(ca_file.read_bytes(), ca_file.with_name("ca-key.pem").read_bytes())
    own.issue_cert(NAME).private_key_and_cert_chain_pem.write_to_path(str(certificate))
    script = Path(__file__).with_name("portal.py")
    in_namespace = ("ip", "netns", "exec", cable.server, sys.executable)
    command = [*in_namespace, str(script), SERVER_ADDRESS, str(PORT), dress, str(certificate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


def test_a_connection_that_only_we_believe_in(recorder: Recorder, sandbox: Sandbox, cable: Wire) -> None:
    """A kept connection whose packets vanish (a router forgot it) costs its time-out, not the recording."""
    rows = recorder.recorded(1)
    with recorder.daemon() as daemon:
        recorder.wait_delivered([rows[0]["id"]], 30)
        ports = cable.connections()
        assert ports
        cable.forget(ports)
        rows += recorder.recorded(1)
        began = time.monotonic()
        seconds = recorder.wait_delivered([rows[1]["id"]], 150)
        named = recorder.said("sync_offline")
        assert [line["kind"] for line in named][:1] == ["timeout"], named
        say(
            f"half-open: {named[0]['reason']} Delivered after {seconds:.1f} s ({time.monotonic() - began:.1f} s)"
        )
        assert daemon.status()["online"] is True
    check_one_copy_each(recorder, sandbox, rows)
