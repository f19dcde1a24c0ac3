"""Which connection is in use, and what NetworkManager and ModemManager say of it, if they say anything in time."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.host.net import bus
from agent.host.net.network import Network
from agent.host.net.uplink import Uplink, Uplinks

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
DEFAULT = "{}\t00000000\t0101A8C0\t0003\t0\t0\t{}\t00000000\t0\t0\t0\n"


class Machine:
    """A /proc and a /sys with interfaces, and default routes that change."""

    def __init__(self, root: Path) -> None:
        self._routes = root / "proc/net/route"
        self._sysfs = root / "sys"
        self._routes.parent.mkdir(parents=True)
        self.network = Network(root / "proc", self._sysfs)
        self.route()

    def route(self, *interfaces: str) -> None:
        """Prefer the first of these, then the next."""
        lines = [DEFAULT.format(name, 100 * number) for number, name in enumerate(interfaces)]
        self._routes.write_text(HEAD + "".join(lines))

    def interface(
        self, name: str, *, kind: str = "1", driver: str = "", vendor: str = "", wwan: bool = False
    ) -> None:
        """Add one; ``kind`` is its ARPHRD number, ``driver`` and ``vendor`` those of a USB device."""
        folder = self._sysfs / "class/net" / name
        folder.mkdir(parents=True)
        (folder / "type").write_text(f"{kind}\n")
        (folder / "uevent").write_text("DEVTYPE=wwan\n" if wwan else "")
        if driver:
            device = self._sysfs / f"devices/usb-{name}/1-1:1.0"
            drivers = self._sysfs / "bus/usb/drivers" / driver
            device.mkdir(parents=True)
            drivers.mkdir(parents=True, exist_ok=True)
            (device.parent / "idVendor").write_text(f"{vendor}\n")
            (device / "driver").symlink_to(drivers)
            (folder / "device").symlink_to(device)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("name", "keys", "kind"),
    [
        ("eth0", {}, "ethernet"),
        ("br0", {}, "ethernet"),
        ("enx00e04c680001", {"driver": "r8152", "vendor": "0bda"}, "ethernet"),
        ("enx00e04c680002", {"driver": "cdc_ncm", "vendor": "0bda"}, "ethernet"),
        ("wwan0", {"kind": "65534"}, "cellular"),
        ("rmnet0", {"wwan": True}, "cellular"),
        ("ppp0", {"kind": "512"}, "cellular"),
        ("enx0c5b8f279a64", {"driver": "cdc_ether", "vendor": "12d1"}, "cellular"),
        ("usb0", {"driver": "cdc_ether", "vendor": "0525"}, "cellular"),
        ("enp1s0u1", {"driver": "rndis_host", "vendor": "18d1"}, "cellular"),
        ("eth1", {"driver": "cdc_mbim", "vendor": "1199"}, "cellular"),
    ],
)
def test_the_kind_of_an_interface(machine: Machine, name: str, keys: dict[str, object], kind: str) -> None:
    """Cables, modems by name, by the kernel's word, by their driver, and by their maker where a driver is shared."""
    machine.interface(name, **keys)  # type: ignore[arg-type] # what the test means
    machine.route(name)
    assert machine.network.in_use(machine.network.default_routes()) == (name, kind)


def test_a_tunnel_leads_through_another_connection(machine: Machine) -> None:
    """A VPN that takes the default route is none of the kinds; what it goes through is the next route."""
    machine.interface("wg0", kind="65534")
    machine.interface("wwan0", kind="65534")
    machine.route("wg0", "wwan0")
    assert machine.network.in_use(machine.network.default_routes()) == ("wwan0", "cellular")
    machine.route("wg0")
    assert machine.network.in_use(machine.network.default_routes()) is None


class Hints:
    """NetworkManager and ModemManager: what they say, and when."""

    def __init__(self) -> None:
        self.metered: bool | None = None
        self.roaming: bool | None = None
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()

    def connections(self, machine: Machine, now: Callable[[], float]) -> Uplinks:
        """Return what asks them."""

        def ask() -> bool | None:
            self.asked += 1
            self.answers.wait(10)
            return self.metered

        return Uplinks(machine.network, now, metered=ask, roaming=lambda _interface: self.roaming)


def seen(connections: Uplinks, wanted: Uplink) -> Uplink:
    """Return what is known, as soon as it is what is wanted: hints are asked for in a thread."""
    end = time.monotonic() + 5
    while connections.now() != wanted and time.monotonic() < end:
        time.sleep(0.005)
    return connections.now()


def test_a_modem_costs_until_somebody_knows_better(machine: Machine) -> None:
    """Without a hint a mobile connection is metered and does not roam; a hint is believed, in both directions."""
    now, hints = [0.0], Hints()
    machine.interface("wwan0", kind="65534")
    machine.interface("eth0")
    connections = hints.connections(machine, lambda: now[0])
    assert connections.now() == Uplink()
    machine.route("wwan0")
    now[0] += 2
    assert connections.now() == Uplink("cellular", metered=True, interface="wwan0")
    hints.metered, hints.roaming = False, True
    now[0] += 31
    known = Uplink("cellular", metered=False, roaming=True, interface="wwan0")
    connections.now()
    now[0] += 2
    assert seen(connections, known) == known
    hints.metered = True
    machine.route("eth0", "wwan0")
    now[0] += 2
    assert connections.now().metered is False  # the word was another connection's
    assert seen(connections, Uplink("ethernet", metered=True, interface="eth0")).metered is True


def test_a_hint_that_never_comes_is_not_waited_for(machine: Machine) -> None:
    """NetworkManager hangs: the connection is told at once all the same, and it is asked by one thread, not by many."""
    now, hints = [0.0], Hints()
    hints.answers.clear()
    machine.interface("wwan0", kind="65534")
    machine.route("wwan0")
    connections = hints.connections(machine, lambda: now[0])
    for _ in range(20):
        began = time.monotonic()
        assert connections.now() == Uplink("cellular", metered=True, interface="wwan0")
        assert time.monotonic() - began < 1
        now[0] += 40
    assert hints.asked == 1
    hints.answers.set()


# the bus


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let busctl say something: a script in its place, run as it is."""
    script = tmp_path / "busctl"

    def say(body: str) -> None:
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)

    monkeypatch.setattr(bus, "BUSCTL", (str(script),))
    monkeypatch.setattr(bus, "SECONDS", 0.3)
    return say


@pytest.mark.parametrize(
    ("number", "metered"), [(0, None), (1, True), (2, False), (3, True), (4, None), (9, None)]
)
def test_what_network_manager_says(said: Callable[[str], None], number: int, metered: bool | None) -> None:
    """Yes, no, and its guess that it is; that it is not it guesses of every modem that looks like a cable."""
    said(f"""echo '{{"type":"u","data":{number}}}'""")
    assert bus.metered() is metered


def modem(state: int, port: str) -> dict[str, object]:
    """Return what ModemManager's object manager says of one modem."""
    manager = "org.freedesktop.ModemManager1"
    return {
        f"{manager}.Modem": {"Ports": {"type": "a(su)", "data": [[port, 2], ["ttyUSB2", 3]]}},
        f"{manager}.Modem.Modem3gpp": {"RegistrationState": {"type": "u", "data": state}},
    }


@pytest.mark.parametrize(
    ("modems", "roaming"),
    [
        ([], None),
        ([modem(1, "wwan0")], False),
        ([modem(5, "wwan0")], True),
        ([modem(5, "wwan1")], None),
        ([modem(1, "wwan0"), modem(5, "wwan1")], False),
        ([modem(2, "wwan0")], None),
    ],
)
def test_what_modem_manager_says(
    said: Callable[[str], None], modems: list[dict[str, object]], roaming: bool | None
) -> None:
    """Of the modem whose port the interface is; one that searches says nothing."""
    objects = {f"/org/freedesktop/ModemManager1/Modem/{number}": each for number, each in enumerate(modems)}
    said(f"echo '{json.dumps({'type': 'a{oa{sa{sv}}}', 'data': [objects]})}'")
    assert bus.roaming("wwan0") is roaming


@pytest.mark.parametrize(
    "body",
    [
        "exit 1",
        "echo nonsense",
        "echo '[[[[1]]]]'",
        'echo \'{"data": "1"}\'',
        "head -c 3000000 /dev/zero",
        "printf '%s' '{\"data\": '; exec sleep 30",
        "yes",
    ],
)
def test_a_bus_that_says_nothing_of_use(said: Callable[[str], None], body: str) -> None:
    """Absent, broken, endless or hanging: nothing is known, soon, and no process is left."""
    said(body)
    began = time.monotonic()
    assert bus.metered() is None
    assert bus.roaming("wwan0") is None
    assert time.monotonic() - began < 8


def test_a_machine_without_busctl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known."""
    monkeypatch.setattr(bus, "BUSCTL", ("/nowhere/busctl",))
    assert bus.metered() is None
