"""How the machine is connected: default routes, the kinds of connection they lead through, the WiFi signal."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

WIFI, MOBILE = "wifi", "4g"
"""The kinds of connection that the API knows and this machine can tell (api.md section 6)."""
ETHERNET, CELLULAR = "ethernet", "cellular"
"""The other kinds, as ``sync.enabled_connections`` has them."""

_UP, _REJECT = 0x0001, 0x0200  # RTF_UP, RTF_REJECT of linux/route.h
_ANYWHERE = {"00000000", "0" * 32}
_MOBILE_NAMES = ("wwan", "ppp")
_MODEM_DRIVERS = {
    "qmi_wwan",
    "cdc_mbim",
    "huawei_cdc_ncm",
    "sierra_net",
    "hso",
    "GobiNet",
    "rndis_host",
    "ipheth",
}
"""Of USB: modems, and telephones that share their connection."""
_SHARED_DRIVERS = {"cdc_ether", "cdc_ncm"}
"""Of modems and of cable adapters alike."""
_MODEM_VENDORS = {
    "12d1",
    "19d2",
    "1bbb",
    "1199",
    "2c7c",
    "1e0e",
    "05c6",
    "1bc7",
    "2cb7",
    "2001",
    "1c9e",
    "2dee",
}
"""Huawei, ZTE, Alcatel, Sierra, Quectel, SimCom, Qualcomm, Telit, Fibocom, D-Link, Longsung, Meig."""
_LIKE_ETHERNET = "1"
"""ARPHRD_ETHER of linux/if_arp.h."""
_SIGNAL_COLUMN = 3
_WEAKEST_DBM, _BYTE = -127, 256


class Route(NamedTuple):
    """A default route."""

    interface: str
    gateway: str
    """In hexadecimal as the kernel writes it; all zeros for none."""
    metric: int


class Network:
    """Reads /proc/net and /sys/class/net; what cannot be read is not there."""

    def __init__(self, proc_root: Path = Path("/proc"), sysfs_root: Path = Path("/sys")) -> None:
        self._proc = proc_root / "net"
        self._interfaces = sysfs_root / "class/net"

    def default_routes(self) -> list[Route]:
        """Return the default routes of both families, the preferred ones first."""
        routes = [*self._routes_4(), *self._routes_6()]
        return sorted(routes, key=lambda route: route.metric)

    def connection_types(self) -> list[str]:
        """Return the kinds of connection that lead to the network, without repetition; a cable is none of them."""
        kinds = [self._kind(route.interface) for route in self.default_routes()]
        return list(dict.fromkeys(kind for kind in kinds if kind is not None))

    def in_use(self, routes: Iterable[Route]) -> tuple[str, str] | None:
        """Return interface and kind of the first default route whose kind can be told: a tunnel leads through another.

        The kinds are ``ethernet``, ``wifi`` and ``cellular``.
        """
        for route in routes:
            kind = self._kind(route.interface)
            if (
                kind is None
                and "".join(_lines(self._interfaces / route.interface / "type")) == _LIKE_ETHERNET
            ):
                kind = ETHERNET
            if kind is not None:
                return route.interface, CELLULAR if kind == MOBILE else kind
        return None

    def _is_usb_modem(self, folder: Path) -> bool:
        try:
            driver = (folder / "device/driver").readlink().name
        except OSError:
            return False
        if driver in _MODEM_DRIVERS:
            return True
        vendor = "".join(_lines(folder / "device/../idVendor"))
        return driver in _SHARED_DRIVERS and (folder.name.startswith("usb") or vendor in _MODEM_VENDORS)

    def _kind(self, interface: str) -> str | None:
        folder = self._interfaces / interface
        if (folder / "wireless").exists() or (folder / "phy80211").exists() or interface in self._signals():
            return WIFI
        if interface.startswith(_MOBILE_NAMES) or "DEVTYPE=wwan" in _lines(folder / "uevent"):
            return MOBILE
        if self._is_usb_modem(folder):
            return MOBILE
        return None

    def _signals(self) -> dict[str, int]:
        """Return dBm by interface, from `` wlan0: 0000   54.  -56.  -256 …``: status, quality, level, noise."""
        signals = {}
        for line in _lines(self._proc / "wireless"):
            name, colon, rest = line.partition(":")
            values = rest.split()
            if not colon or len(values) < _SIGNAL_COLUMN:
                continue
            level = _decimal(values[_SIGNAL_COLUMN - 1].rstrip("."))
            if level is not None and level > 0:  # some drivers give the byte without its sign
                level -= _BYTE
            if level is not None and _WEAKEST_DBM <= level < 0:
                signals[name.strip()] = level
        return signals

    def _routes_4(self) -> list[Route]:
        """Read ``Iface Destination Gateway Flags RefCnt Use Metric Mask …``."""
        routes = []
        for line in _lines(self._proc / "route")[1:]:
            match line.split():
                case [interface, target, gateway, flags, _, _, metric, mask, *_] if (
                    target in _ANYWHERE and mask in _ANYWHERE and _leads_on(flags)
                ):
                    routes.append(Route(interface, gateway, _decimal(metric) or 0))
        return routes

    def _routes_6(self) -> list[Route]:
        """Read ``target length source length gateway metric refcnt use flags interface``, numbers in hexadecimal."""
        routes = []
        for line in _lines(self._proc / "ipv6_route"):
            match line.split():
                case [target, "00", _, _, gateway, metric, _, _, flags, interface] if (
                    target in _ANYWHERE and interface != "lo" and _leads_on(flags)
                ):
                    routes.append(Route(interface, gateway, int(metric, 16)))
        return routes


def _leads_on(flags: str) -> bool:
    return int(flags, 16) & (_UP | _REJECT) == _UP


def _decimal(text: str) -> int | None:
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
