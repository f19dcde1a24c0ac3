"""What the deliverer does with the network, in threads of their own: delivery, heartbeats, hearing that it is back."""

import sqlite3
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.deliverer.wiring import DelivererWiring
from agent.host.net.netlink import NetworkWatch
from agent.host.net.network import Network
from agent.log import get_logger

if TYPE_CHECKING:
    from agent.sync.remote.heartbeat import Heartbeat
    from agent.sync.remote.remote_recorder import RemoteRecorder
    from agent.sync.syncer import Syncer

log = get_logger(__name__)

DISK_RETRY_SECONDS = 10.0
"""How long a part waits when the disk or the index failed under it."""


class SyncThreads:
    """Delivery begins when ``reconciled`` is set; everything ends with ``stopping`` and ``stop``."""

    def __init__(
        self,
        wiring: DelivererWiring,
        recorder: "RemoteRecorder",
        reconciled: threading.Event,
        stopping: threading.Event,
    ) -> None:
        self._wiring = wiring
        self._recorder = recorder
        self._reconciled = reconciled
        self._stopping = stopping
        self._building = threading.RLock()
        """Held while parts are built, or looked for, that several threads use."""
        self._heartbeat: Heartbeat | None = None
        self._network = NetworkWatch(self._network_is_back, network=Network())

    @property
    def threads(self) -> dict[str, Callable[[], None]]:
        """What is to be run in threads, by name."""
        threads: dict[str, Callable[[], None]] = {"sync": self._deliver, "network": self._network.run}
        if self._wiring.config.heartbeat.enabled:
            threads["heartbeat"] = self._beat
        return threads

    @property
    def syncer(self) -> "Syncer":
        """The loop that delivers, built by whichever thread asks first."""
        with self._building:
            return self._wiring.syncer

    def stop(self) -> None:
        """Cut the calls under way and let the threads end; ``stopping`` is set already."""
        self._network.stop()
        with self._building:
            if "syncer" in vars(self._wiring):
                self._wiring.syncer.stop()
            if "api" in vars(self._wiring):
                self._wiring.api.abort()
            if self._heartbeat is not None:
                self._heartbeat.wake()

    def _deliver(self) -> None:
        """Deliver once files and index agree."""
        while not self._stopping.is_set():
            if self._reconciled.wait(1):
                self._whatever_the_disk_does("delivery", lambda: self.syncer.run(self._stopping))

    def _beat(self) -> None:
        """Send heartbeats, and obey the commands in their answers."""
        with self._building:
            heartbeat = self._heartbeat = self._wiring.heartbeat(self._recorder)
        while not self._stopping.is_set():
            self._whatever_the_disk_does("heartbeat", lambda: heartbeat.run(self._stopping))

    def _network_is_back(self) -> None:
        """Try at once what waits because it is offline, over connections that know the new network."""
        self._whatever_the_disk_does("network", self._try_at_once)

    def _try_at_once(self) -> None:
        syncer = self.syncer
        self._wiring.api.wake()
        waits = self._wiring.outbox.store.oldest_waiting() is not None
        syncer.network_is_back()
        if self._heartbeat is not None:
            self._heartbeat.network_is_back(something_waits=waits)

    def _whatever_the_disk_does(self, part: str, work: Callable[[], None]) -> None:
        """Do network work; when the disk or the index fails, say so and let it wait a little."""
        try:
            work()
        except (OSError, sqlite3.Error) as error:
            log.error(
                "network work waits: the disk or the index failed",
                action="sync_failed",
                part=part,
                error=error,
            )
            self._wiring.outbox.store.needs_reconcile.set()
            self._stopping.wait(DISK_RETRY_SECONDS)
