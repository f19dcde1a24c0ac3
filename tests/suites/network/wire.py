"""Two network namespaces with a cable between them, and what can happen to a cable. Needs root.

Nothing here touches the machine's own network: each namespace has its loopback and its end of the cable, no more.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

AGENT_ADDRESS, SERVER_ADDRESS = "10.213.7.1", "10.213.7.2"
NAME = "api.recorder.test"
KNOWN = f"{SERVER_ADDRESS} {NAME}"
INTERFACE = "up0"


class Wire:
    """The cable; ``agent`` and ``server`` are the names of the namespaces at its ends."""

    def __init__(self) -> None:
        self.agent, self.server = f"ra{os.getpid()}a", f"ra{os.getpid()}s"
        self._settings = {name: Path("/etc/netns") / name for name in (self.agent, self.server)}
        """What ``ip netns exec`` puts in the place of /etc/hosts and /etc/resolv.conf."""

    def lay(self) -> None:
        """Make both ends and connect them."""
        for name in (self.agent, self.server):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run(
            "ip",
            "link",
            "add",
            INTERFACE,
            "netns",
            self.agent,
            "type",
            "veth",
            "peer",
            INTERFACE,
            "netns",
            self.server,
        )
        run("ip", "-n", self.agent, "address", "add", f"{AGENT_ADDRESS}/24", "dev", INTERFACE)
        run("ip", "-n", self.server, "address", "add", f"{SERVER_ADDRESS}/24", "dev", INTERFACE)
        run("ip", "-n", self.server, "link", "set", INTERFACE, "up")
        for name, settings in self._settings.items():
            settings.mkdir(parents=True)
            (settings / "resolv.conf").write_text(f"nameserver {SERVER_ADDRESS}\n")
            self._know(name, KNOWN)
        self.plug()

    def tear_out(self) -> None:
        """Remove everything; what still runs in the namespaces must have been ended before."""
        for name in (self.agent, self.server):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
            shutil.rmtree(self._settings[name], ignore_errors=True)

    # the cable

    def unplug(self, end: str = "agent") -> None:
        """Take the cable out: the agent's interface goes down, or only loses its carrier (``end="server"``)."""
        run("ip", "-n", getattr(self, end), "link", "set", INTERFACE, "down")

    def plug(self, end: str = "agent") -> None:
        """Put the cable in, and give the agent its default route, as DHCP would."""
        run("ip", "-n", getattr(self, end), "link", "set", INTERFACE, "up")
        run("ip", "-n", self.agent, "route", "replace", "default", "via", SERVER_ADDRESS)

    def limit(self, kbit: int) -> None:
        """Make the line slow in both directions; 0: as fast as it is."""
        for name in (self.agent, self.server):
            clear = ["tc", "-n", name, "qdisc", "del", "dev", INTERFACE, "root"]
            subprocess.run(clear, check=False, capture_output=True)
            if kbit:
                shape = ("rate", f"{kbit}kbit", "burst", "4kb", "latency", "400ms")
                run("tc", "-n", name, "qdisc", "add", "dev", INTERFACE, "root", "tbf", *shape)

    # the wall

    def refuse(self, rule: str, leaving: str = "") -> None:
        """Let the server's end drop, or reject with a reset, what a rule of nft matches; ``leaving`` on its way out."""
        self.allow()
        self._nft("add table inet wall")
        for hook, matched in (("input", rule), ("output", leaving)):
            if matched:
                self._nft(f"add chain inet wall {hook} {{ type filter hook {hook} priority 0; }}")
                self._nft(f"add rule inet wall {hook} {matched}")

    def _nft(self, line: str) -> None:
        run("ip", "netns", "exec", self.server, "nft", line)

    def forget(self, ports: list[int]) -> None:
        """Lose all packets of these connections of the agent, as a router does that has forgotten them."""
        listed = "{ " + ", ".join(map(str, ports)) + " }"
        self.refuse(f"tcp sport {listed} drop", f"tcp dport {listed} drop")

    def allow(self) -> None:
        """Let everything through."""
        delete = ["ip", "netns", "exec", self.server, "nft", "delete", "table", "inet", "wall"]
        subprocess.run(delete, check=False, capture_output=True)

    # names

    def forget_names(self) -> None:
        """Let the agent know no name: it asks a resolver at the server's address, which says nothing."""
        self.refuse("udp dport 53 drop")
        self._know(self.agent, "")

    def know_names(self) -> None:
        """Let the agent know the server's name again."""
        self.allow()
        self._know(self.agent, KNOWN)

    def _know(self, namespace: str, hosts: str) -> None:
        """Write in place: the file is bound into the processes of the namespace."""
        (self._settings[namespace] / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}\n")

    def connections(self) -> list[int]:
        """Return the agent's local ports of its TCP connections to the server."""
        lines = run("ip", "netns", "exec", self.agent, "ss", "-Htn", "state", "established").splitlines()
        local = [line.split()[2] for line in lines if SERVER_ADDRESS in line.split()[3]]
        return [int(address.rpartition(":")[2]) for address in local]


def run(*command: str) -> str:
    """Run a command that must succeed, and return what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def wire() -> Iterator[Wire]:
    """Give a cable that is gone afterwards."""
    cable = Wire()
    try:
        cable.lay()
        yield cable
    finally:
        cable.tear_out()
