"""A route that moves between a cable and a modem, by a real NetworkManager; what crosses which of them is measured."""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from acceptance import Daemon, Json, wait_for
from field import Recorder, Sandbox, check_one_copy_each, sandbox_at
from networkmanager import Networks, modem, networks_at
from test_network import HALF_A_MEGABYTE, say
from wire import Wire, wire

BEAT_SECONDS = 10
WATCHED_SECONDS = 25.0
"""Two heartbeats, or none."""
CUT_WITHIN = 4.0
"""Seconds from the route's move to the last byte of an upload: it is looked at once a second."""
KEPT = 66_000
"""Bytes that two heartbeats over TLS stay far below, and half a recording far above."""


@pytest.fixture(scope="module")
def cable() -> Iterator[Wire]:
    with wire() as laid:
        yield laid


@pytest.fixture(scope="module")
def networks(cable: Wire, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Networks]:
    with networks_at(cable, tmp_path_factory.mktemp("networks") / "nm") as running:
        yield running


@pytest.fixture(scope="module")
def sandbox(cable: Wire, networks: Networks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    del networks  # it gives the server its address
    with sandbox_at(cable, tmp_path_factory.mktemp("server") / "sandbox") as running:
        yield running


@pytest.fixture
def recorder(cable: Wire, networks: Networks, sandbox: Sandbox, tmp_path: Path) -> Iterator[Recorder]:
    machine = Recorder(tmp_path / "machine", cable, sandbox.ca_file)
    machine.environment |= networks.environment
    machine.configure(heartbeat={"interval_seconds": BEAT_SECONDS})
    for name in ("wwan0", "up0"):
        networks.up(name)
    yield machine
    cable.limit(0)


def network_of(daemon: Daemon) -> Json:
    """Return what ``status`` says of the network."""
    network: Json = daemon.status()["network"]
    return network


def paths_since(sandbox: Sandbox, unix: float) -> list[str]:
    """Return the last part of the path of each request that began after a moment."""
    later = [each for each in sandbox.requests() if datetime.fromisoformat(each["time"]).timestamp() > unix]
    return [each["path"].rpartition("/")[2] for each in later]


def test_the_route_moves_during_a_drain(
    recorder: Recorder, sandbox: Sandbox, cable: Wire, networks: Networks
) -> None:
    """WiFi, modem, none, WiFi: an upload ends with the move, heartbeats alone cross the modem, all arrives once."""
    recorder.has_wifi = True
    recorder.configure(sync={"enabled_connections": ["wifi"]})
    rows = recorder.recorded(HALF_A_MEGABYTE, 3)
    cable.limit(1000)
    with recorder.daemon() as daemon:
        wait_for(sandbox.put_in_progress)
        wait_for(lambda: network_of(daemon)["metered"] is False)  # NetworkManager's word
        assert network_of(daemon)["connection"] == "wifi"
        networks.down("up0")
        time.sleep(CUT_WITHIN)
        moved, before = time.time(), networks.payload("wwan0")
        said = network_of(daemon)
        assert (said["connection"], said["metered"]) == ("cellular", True)
        assert said["waits_for"] == ["wifi"]
        time.sleep(WATCHED_SECONDS)
        crossed = networks.payload("wwan0") - before
        assert set(paths_since(sandbox, moved)) == {"heartbeat"}
        assert crossed < KEPT
        run = recorder.run("sync")
        assert run.code == 75, run
        assert "--any-network" in run.err
        assert recorder.run("sync", "--any-network").code == 0
        later = recorder.recorded(HALF_A_MEGABYTE)
        networks.down("wwan0")
        wait_for(lambda: network_of(daemon)["connection"] is None)
        networks.up("up0")
        seconds = recorder.wait_delivered([row["id"] for row in later], 60)
    say(f"a forbidden modem: {crossed} bytes in {WATCHED_SECONDS:g} s, heartbeats alone")
    say(f"the WiFi is back: delivered after {seconds:.1f} s")
    check_one_copy_each(recorder, sandbox, rows + later)


def test_the_limit_is_kept_to_one_file(recorder: Recorder, sandbox: Sandbox, networks: Networks) -> None:
    """Of four recordings of 0.4 MB two fit into a metered MB; on the cable, which is not metered, the rest go."""
    recorder.configure(sync={"daily_data_limit_mb": 1})
    rows = recorder.recorded(HALF_A_MEGABYTE / 1.5, 4)
    networks.down("up0")
    with recorder.daemon() as daemon:
        wait_for(lambda: (daemon.status()["waiting"] or {}).get("reason") == "daily data limit", 60)
        sent = [row for row in recorder.queue() if row["status"] == "uploaded"]
        used = network_of(daemon)["used_today_mb"]
        assert len(sent) == 2
        assert 0.8 < used["metered"] <= 1.0
        assert recorder.run("sync", "--any-network").code == 75  # a limit is no network's
        networks.up("up0")
        recorder.wait_delivered([row["id"] for row in rows], 60)
        assert network_of(daemon)["used_today_mb"]["metered"] < 1.05
    check_one_copy_each(recorder, sandbox, rows)


def test_a_day_is_what_the_interfaces_counted(
    recorder: Recorder, sandbox: Sandbox, networks: Networks
) -> None:
    """Sixteen recordings over the cable, eight over the modem: the counters less the heads of packets, to 1 %."""
    networks.down("wwan0")
    before = {name: networks.payload(name) for name in ("up0", "wwan0")}
    with recorder.daemon() as daemon:
        wait_for(lambda: network_of(daemon)["metered"] is False)
        rows = recorder.recorded(HALF_A_MEGABYTE, 16)
        recorder.wait_delivered([row["id"] for row in rows], 120)
        networks.up("wwan0")
        networks.down("up0")
        wait_for(lambda: network_of(daemon)["metered"] is True)
        rows += recorder.recorded(HALF_A_MEGABYTE, 8)
        recorder.wait_delivered([row["id"] for row in rows], 120)
        wait_for(lambda: daemon.status()["transfer"] is None)
        time.sleep(2)
        used = network_of(daemon)["used_today_mb"]
        crossed = {name: (networks.payload(name) - before[name]) / 1e6 for name in before}
    say(f"crossed {crossed}, counted {used}")
    assert used["total"] == pytest.approx(sum(crossed.values()), rel=0.01)
    assert used["metered"] == pytest.approx(crossed["wwan0"], rel=0.01)
    check_one_copy_each(recorder, sandbox, rows)


def test_a_modem_that_roams_sends_nothing(recorder: Recorder, sandbox: Sandbox, networks: Networks) -> None:
    """ModemManager says so: not even a heartbeat goes, until the owner allows it."""
    (row,) = recorder.recorded(1)
    networks.down("up0")
    with modem(networks, 5):
        with recorder.daemon() as daemon:
            wait_for(lambda: network_of(daemon)["roaming"] is True, 30)
            time.sleep(1)
            since = time.time()
            time.sleep(WATCHED_SECONDS)
            assert paths_since(sandbox, since) == []
            assert "roam" in recorder.run("sync").err
        recorder.configure(sync={"allow_roaming": True})
        with recorder.daemon():
            recorder.wait_delivered([row["id"]], 60)
