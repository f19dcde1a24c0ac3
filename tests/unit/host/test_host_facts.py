"""What the machine tells of battery and network, and that a network that comes back is heard of at once."""

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.host.battery import Battery, battery
from agent.host.net.netlink import Changes, NetworkWatch, netlink_socket
from agent.host.net.network import Network, Route

CLONE_NEWNET = 0x40000000
ROUTES = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
DEFAULT = "{name}\t00000000\t0101A8C0\t0003\t0\t0\t{metric}\t00000000\t0\t0\t0\n"
LOCAL = "eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
WIRELESS = """Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE
 face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22
 wlan0: 0000   54.  {level}  -256        0      0      0      0      0        0
"""


# battery


def supply(root: Path, name: str, **attributes: str) -> None:
    """Write one power supply into a sysfs."""
    folder = root / "class/power_supply" / name
    folder.mkdir(parents=True)
    for key, value in attributes.items():
        (folder / key).write_text(f"{value}\n")


def test_a_pi_on_the_mains_has_no_battery(tmp_path: Path) -> None:
    """Neither without any power supply nor with a mains adapter alone."""
    assert battery(tmp_path) is None
    supply(tmp_path, "AC", type="Mains", online="1")
    assert battery(tmp_path) is None


def test_a_battery_tells_its_charge(tmp_path: Path) -> None:
    """Capacity and status of a UPS hat; a mouse's battery beside it is none of ours."""
    supply(tmp_path, "bq27441", type="Battery", capacity="41", status="Charging", present="1")
    supply(tmp_path, "hid-mouse", type="Battery", capacity="3", status="Discharging", scope="Device")
    assert battery(tmp_path) == Battery(41, charging=True)


def test_energy_stands_in_for_capacity(tmp_path: Path) -> None:
    """A driver without capacity is asked for energy or charge, within 0 and 100; two batteries give their mean."""
    supply(tmp_path, "BAT0", type="Battery", energy_now="30", energy_full="40", status="Discharging")
    assert battery(tmp_path) == Battery(75, charging=False)
    supply(tmp_path, "BAT1", type="Battery", charge_now="130", charge_full="100", status="Full")
    assert battery(tmp_path) == Battery(88, charging=False)


@pytest.mark.parametrize(
    "attributes",
    [{}, {"capacity": ""}, {"capacity": "many"}, {"capacity": "50", "present": "0"}, {"energy_now": "1"}],
)
def test_a_battery_that_does_not_tell_is_none(tmp_path: Path, attributes: dict[str, str]) -> None:
    """Unknown is unknown, never 0."""
    supply(tmp_path, "BAT0", type="Battery", **attributes)
    assert battery(tmp_path) is None


def test_low_is_at_the_threshold_and_not_charging() -> None:
    """A charging battery is not low, however empty."""
    assert Battery(20, charging=False).is_low(20)
    assert not Battery(21, charging=False).is_low(20)
    assert not Battery(1, charging=True).is_low(20)


# network


def machine(
    root: Path,
    routes: str = "",
    *,
    wireless: str = "",
    routes_6: str = "",
    kinds: dict[str, str] | None = None,
) -> Network:
    """Build a /proc and a /sys, and return what reads them."""
    (root / "proc/net").mkdir(parents=True)
    (root / "proc/net/route").write_text(ROUTES + routes)
    (root / "proc/net/ipv6_route").write_text(routes_6)
    if wireless:
        (root / "proc/net/wireless").write_text(wireless)
    for name, kind in (kinds or {}).items():
        folder = root / "sys/class/net" / name
        folder.mkdir(parents=True)
        (folder / "uevent").write_text(f"INTERFACE={name}\n" + ("DEVTYPE=wwan\n" if kind == "wwan" else ""))
        if kind == "wifi":
            (folder / "phy80211").mkdir()
    return Network(root / "proc", root / "sys")


def test_the_default_route_tells_the_kind(tmp_path: Path) -> None:
    """WiFi and a modem are named in the order of their metrics, a cable is not, a route without gateway counts too."""
    routes = LOCAL + "".join(
        DEFAULT.format(name=name, metric=metric)
        for name, metric in (("wwan0", 700), ("eth0", 100), ("wlan0", 600))
    )
    network = machine(tmp_path, routes, kinds={"wwan0": "wwan", "eth0": "", "wlan0": "wifi"})
    assert [route.interface for route in network.default_routes()] == ["eth0", "wlan0", "wwan0"]
    assert network.connection_types() == ["wifi", "4g"]


def test_a_cable_alone_is_no_kind_the_api_knows(tmp_path: Path) -> None:
    """So the field is left out; the same without any network."""
    network = machine(tmp_path, DEFAULT.format(name="eth0", metric=0), kinds={"eth0": ""})
    assert network.connection_types() == []
    nothing = Network(tmp_path / "none", tmp_path / "none")
    assert (nothing.connection_types(), nothing.default_routes()) == ([], [])


def test_a_route_that_is_down_or_refuses_leads_nowhere(tmp_path: Path) -> None:
    """RTF_UP is asked for, RTF_REJECT is not wanted, and IPv6's own unreachable default on lo is no way out."""
    down = DEFAULT.format(name="wlan0", metric=1).replace("0003", "0002")
    refused = DEFAULT.format(name="wlan0", metric=1).replace("0003", "0203")
    zeros = "0" * 32
    routes_6 = f"{zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200       lo\n"
    assert machine(tmp_path, down + refused, routes_6=routes_6).default_routes() == []


def test_an_ipv6_default_route_counts(tmp_path: Path) -> None:
    """Its numbers are hexadecimal."""
    zeros, gateway = "0" * 32, "fe80" + "0" * 27 + "1"
    routes_6 = f"{zeros} 00 {zeros} 00 {gateway} 00000400 00000001 00000000 00450003    wlan0\n"
    network = machine(tmp_path, routes_6=routes_6, kinds={"wlan0": "wifi"})
    assert network.default_routes() == [Route("wlan0", gateway, 1024)]
    assert network.connection_types() == ["wifi"]


# hearing of it


@pytest.fixture
def heard() -> list[float]:
    """When the watch told that the network is better, on the monotonic clock."""
    return []


@contextlib.contextmanager
def watching(watch: NetworkWatch) -> Iterator[None]:
    """Run a watch in a thread; it must end in good time."""
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        watch.stop()
        thread.join(2)
        assert not thread.is_alive()


@pytest.fixture
def namespace() -> Iterator[Callable[[str], None]]:
    """A network namespace with one end of a veth pair; gives what runs an ``ip`` command in it."""
    name = f"agent-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)

    def ip(arguments: str) -> None:
        subprocess.run(["ip", "-n", name, *arguments.split()], check=True)

    try:
        ip("link add v0 type veth peer name v1")
        ip("link set v1 up")
        yield ip
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def socket_inside() -> socket.socket:
    """Open the netlink socket in the namespace: a thread's sockets belong to the namespace it is in."""
    libc = ctypes.CDLL(None, use_errno=True)
    opened: list[socket.socket] = []

    def enter() -> None:
        with Path(f"/run/netns/agent-{os.getpid()}").open() as file:
            assert libc.setns(file.fileno(), CLONE_NEWNET) == 0
            opened.append(netlink_socket())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return opened[0]


@pytest.mark.root
def test_each_thing_that_appears_is_heard_of(namespace: Callable[[str], None], heard: list[float]) -> None:
    """A carrier, an address, a route, a link that was down in between; what goes or is said again is no news."""
    watch = NetworkWatch(lambda: heard.append(time.monotonic()), network=Network(), open_socket=socket_inside)
    with watching(watch):
        time.sleep(0.2)
        better = ["link set v0 up", "addr add 10.9.0.2/24 dev v0", "route add default via 10.9.0.1"]
        worse = ["addr change 10.9.0.2/24 dev v0 valid_lft 500 preferred_lft 500", "link set v1 down"]
        for command in [*better, *worse, "link set v1 up"]:
            before, began = len(heard), time.monotonic()
            namespace(command)
            if command in worse:
                time.sleep(0.4)
                assert len(heard) == before, command
                continue
            while len(heard) == before:
                assert time.monotonic() - began < 1.5, command
                time.sleep(0.01)
            time.sleep(0.4)  # IPv6 finds its own addresses meanwhile
            assert heard[before] - began < 1.5


def test_without_netlink_the_routes_are_looked_at(tmp_path: Path, heard: list[float]) -> None:
    """A default route that appears is seen by polling; one that goes, or stays, is no news."""
    network = machine(tmp_path)
    routes = tmp_path / "proc/net/route"

    def refuse() -> socket.socket:
        raise PermissionError(1, "not here")

    watch = NetworkWatch(
        lambda: heard.append(time.monotonic()), network=network, open_socket=refuse, poll_seconds=0.02
    )
    with watching(watch):
        for _ in range(2):
            time.sleep(0.1)
            count = len(heard)
            routes.write_text(ROUTES + DEFAULT.format(name="wlan0", metric=1))
            time.sleep(0.2)
            assert len(heard) == count + 1
            routes.write_text(ROUTES)
    assert len(heard) == 2


def test_garbage_is_no_news() -> None:
    """Messages that are cut short, empty or of unknown kinds are passed over."""
    changes = Changes()
    assert not changes.take(b"")
    assert not changes.take(b"\x08\0\0\0\x14\0\0\0" + b"\0" * 8)
    assert not changes.take(b"\x14\0\0\0\x63\0\0\0" + b"\0" * 12)
    for kind in (16, 20, 24):
        assert not changes.take(bytes([20, 0, 0, 0, kind, 0, 0, 0]) + bytes(12))
        assert not changes.take(bytes([18, 0, 0, 0, kind, 0, 0, 0]) + bytes(12))
