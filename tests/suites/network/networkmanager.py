"""A real NetworkManager in the agent's namespace, on a bus of its own, and a ModemManager that says what it is told.

Two cables lead to the server: ``up0`` and ``wwan0``, which is a mobile connection by its name. NetworkManager has a
profile for each; the server's address is one of its loopback, so that it is reached over either.
"""

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from acceptance import wait_for
from jeepney import HeaderFields, MessageType, new_error, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection
from wire import NAME, Wire, run

ADDRESS = "10.213.9.9"
CABLES = {"up0": ("10.213.7.1", "10.213.7.2", 100, 2), "wwan0": ("10.213.8.1", "10.213.8.2", 700, 0)}
"""Address, gateway, metric of the route, and whether the profile says it is metered (2: no, 0: not said)."""
HEADERS = 14 + 20 + 32
"""Bytes of Ethernet, IP and TCP (with its timestamps) in each packet."""
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth><policy context="default">
<allow user="*"/><allow own="*"/><allow send_type="method_call"/>
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
</policy></busconfig>"""
SETTINGS = """[main]
plugins=keyfile
dhcp=internal
dns=none
rc-manager=unmanaged
auth-polkit=false
[device]
match-device=*
managed=1
"""
PROFILE = """[connection]
id={name}
uuid=6f1c6e0a-7d31-4c5a-9a1e-{number:012d}
type=ethernet
interface-name={name}
metered={metered}
[ipv4]
method=manual
address1={address}/24,{gateway}
route-metric={metric}
[ipv6]
method=disabled
"""
MODEMS = "org.freedesktop.ModemManager1"


class Networks:
    """The two connections of a machine, as NetworkManager has them."""

    def __init__(self, wire: Wire, folder: Path) -> None:
        self._wire = wire
        self._folder = folder
        self.environment = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={folder / 'bus'}"}
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Lay the second cable, and start bus and NetworkManager; both connections come up."""
        wire, folder = self._wire, self._folder
        ends = ("netns", wire.agent, "type", "veth", "peer", "wwan0", "netns", wire.server)
        run("ip", "link", "add", "wwan0", *ends)
        for name, (_, gateway, _, _) in CABLES.items():
            run("ip", "-n", wire.agent, "address", "flush", "dev", name)
            run("ip", "-n", wire.server, "address", "replace", f"{gateway}/24", "dev", name)
            run("ip", "-n", wire.server, "link", "set", name, "up")
        run("ip", "-n", wire.server, "address", "replace", f"{ADDRESS}/32", "dev", "lo")
        for namespace in (wire.agent, wire.server):
            wire._know(namespace, f"{ADDRESS} {NAME}")
            run("ip", "netns", "exec", namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        profiles = folder / "profiles"
        profiles.mkdir(mode=0o700)
        for number, (name, (address, gateway, metric, metered)) in enumerate(CABLES.items()):
            file = profiles / f"{name}.nmconnection"
            file.write_text(
                PROFILE.format(
                    name=name, number=number, metered=metered, address=address, gateway=gateway, metric=metric
                )
            )
            file.chmod(0o600)
        (folder / "bus.conf").write_text(BUS.format(path=folder / "bus"))
        (folder / "nm.conf").write_text(SETTINGS)
        self._run("dbus-daemon", f"--config-file={folder / 'bus.conf'}", "--nofork", "--nopidfile")
        wait_for((folder / "bus").exists)
        # A /sys that cannot be written is how it sees that there is no udev to wait for.
        script = (
            "mount -o remount,ro /sys && mkdir -p /run/NetworkManager /var/lib/NetworkManager && "
            "mount -t tmpfs run /run/NetworkManager && mount -t tmpfs lib /var/lib/NetworkManager && "
            f"mount --bind {profiles} /etc/NetworkManager/system-connections && "
            f"exec NetworkManager --no-daemon --config {folder / 'nm.conf'}"
        )
        self._run("ip", "netns", "exec", wire.agent, "unshare", "-m", "sh", "-c", script)
        wait_for(lambda: self.default() == "up0", 30)

    def _run(self, *command: str) -> None:
        log = (self._folder / f"{Path(command[0]).name}{len(self._processes)}.log").open("wb")
        environment = {**os.environ, **self.environment}
        self._processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        log.close()

    def end(self) -> None:
        """End what was started."""
        for process in reversed(self._processes):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()

    def nmcli(self, *words: str) -> str:
        """Ask NetworkManager."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(
            ["nmcli", "--wait", "15", *words], capture_output=True, text=True, check=True, env=environment
        )
        return done.stdout

    def up(self, name: str) -> None:
        """Connect."""
        self.nmcli("connection", "up", name)
        wait_for(lambda: name in self._routes(), 20)

    def down(self, name: str) -> None:
        """Disconnect, as a person does by hand."""
        self.nmcli("device", "disconnect", name)
        wait_for(lambda: name not in self._routes(), 20)

    def _routes(self) -> list[str]:
        """Return the interfaces of the default routes, the preferred one first."""
        said = json.loads(run("ip", "-n", self._wire.agent, "-j", "route", "show", "default") or "[]")
        return [each["dev"] for each in sorted(said, key=lambda each: each.get("metric", 0))]

    def default(self) -> str | None:
        """Return the interface that leads to the network."""
        routes = self._routes()
        return routes[0] if routes else None

    def payload(self, name: str) -> int:
        """Return what has crossed an interface in both directions, in bytes without the heads of packets."""
        (said,) = json.loads(run("ip", "-n", self._wire.agent, "-j", "-s", "link", "show", name))
        sides: list[dict[str, int]] = list(said["stats64"].values())
        return sum(side["bytes"] - HEADERS * side["packets"] for side in sides)


@contextlib.contextmanager
def modem(networks: Networks, registration: int) -> Iterator[None]:
    """Let a ModemManager say how ``wwan0`` is registered (5: roaming)."""
    connection = open_dbus_connection(networks.environment["DBUS_SYSTEM_BUS_ADDRESS"])
    connection.send_and_get_reply(message_bus.RequestName(MODEMS))
    objects: dict[str, Any] = {
        f"/{MODEMS.replace('.', '/')}/Modem/0": {
            f"{MODEMS}.Modem": {"Ports": ("a(su)", [("wwan0", 2)])},
            f"{MODEMS}.Modem.Modem3gpp": {"RegistrationState": ("u", registration)},
        }
    }
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                asked = connection.receive(timeout=0.2)
                if asked.header.message_type is not MessageType.method_call:
                    continue
                if asked.header.fields.get(HeaderFields.member) == "GetManagedObjects":
                    connection.send(new_method_return(asked, "a{oa{sa{sv}}}", (objects,)))
                else:
                    connection.send(new_error(asked, "org.freedesktop.DBus.Error.UnknownMethod"))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(5)
        connection.close()


@contextlib.contextmanager
def networks_at(wire: Wire, folder: Path) -> Iterator[Networks]:
    """Give a machine's two connections, up."""
    folder.mkdir()
    networks = Networks(wire, folder)
    try:
        networks.start()
        yield networks
    finally:
        networks.end()
