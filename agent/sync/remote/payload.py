"""What a heartbeat says of the device: the fields of api.md section 6 that are known now, and no other."""

import sqlite3
from collections.abc import Callable
from enum import IntFlag
from pathlib import Path
from typing import Any

from agent import __version__
from agent.environment import Environment
from agent.host.battery import Battery, battery
from agent.host.net.network import MOBILE, WIFI, Network
from agent.host.storage import MEGABYTE, DiskUsage, disk_usage
from agent.index.table.store import Store
from agent.log import get_logger
from agent.status.board import Snapshot, State
from agent.status.condition import device_state

log = get_logger(__name__)

FIRMWARE_LENGTH = 32
NAME_LENGTH = 64


class Flags(IntFlag):
    """The bits of ``flags``."""

    CHARGING = 1
    LOW_BATTERY = 2
    STORAGE_FULL = 4
    WIFI = 8
    LTE = 16
    SYNC_ACTIVE = 32


class HeartbeatPayload:
    """Gathers them; what cannot be read is left out."""

    def __init__(
        self,
        environment: Environment,
        store: Store,
        network: Network,
        *,
        battery: Callable[[], Battery | None] = battery,
        disk_usage: Callable[[Path], DiskUsage] = disk_usage,
    ) -> None:
        self._config = environment.config
        self._board = environment.board
        self._folder = environment.folder
        self._store = store
        self._network = network
        self._battery = battery
        self._disk_usage = disk_usage

    def body(self) -> dict[str, Any]:
        """Return the body of a heartbeat."""
        snapshot, pending = self._board.snapshot, self._pending()
        battery, room = self._battery(), self._room_or_none()
        kinds = self._network.connection_types()
        fields: dict[str, Any] = {
            "battery_percent": battery.percent if battery else None,
            **self._storage(room),
            "firmware_version": f"recorder-agent/{__version__}"[:FIRMWARE_LENGTH],
            "device_name": self._config.heartbeat.device_name[:NAME_LENGTH] or None,
            "device_state": device_state(snapshot, {"pending": pending or 0}).value,
            "pending_recordings": pending,
            "flags": int(self._flags(snapshot, battery, room, kinds)),
            "connection_type": kinds or None,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def _storage(self, room: DiskUsage | None) -> dict[str, int | None]:
        """Return the recorder's own share: what must stay, and how much that may become.

        What is delivered makes way whenever there is need, so it is no part of what is used.
        """
        used = self._undelivered_mb()
        if room is None or used is None:
            return {}
        storage = self._config.storage
        total = used + max(0, room.free_mb - storage.min_free_mb)
        return {
            "storage_used_mb": used,
            "storage_total_mb": min(total, storage.max_mb) if storage.max_mb else total,
        }

    def _undelivered_mb(self) -> int | None:
        try:
            return self._store.undelivered_bytes() // MEGABYTE
        except sqlite3.Error as error:
            log.debug("the queue cannot be measured", action="heartbeat_partial", error=error)
            return None

    def _flags(
        self, snapshot: Snapshot, battery: Battery | None, room: DiskUsage | None, kinds: list[str]
    ) -> Flags:
        full = snapshot.state is State.STORAGE_FULL or (
            room is not None and room.free_mb < self._config.storage.min_free_mb
        )
        holds = {
            Flags.CHARGING: battery is not None and battery.charging,
            Flags.LOW_BATTERY: battery is not None
            and battery.is_low(self._config.sync.low_battery_threshold_percent),
            Flags.STORAGE_FULL: full,
            Flags.WIFI: WIFI in kinds,
            Flags.LTE: MOBILE in kinds,
            Flags.SYNC_ACTIVE: snapshot.transfer is not None,
        }
        flags = Flags(0)
        for flag, is_set in holds.items():
            flags |= flag if is_set else Flags(0)
        return flags

    def _pending(self) -> int | None:
        try:
            return self._store.counts()["pending"]
        except sqlite3.Error as error:
            log.debug("the queue cannot be counted", action="heartbeat_partial", error=error)
            return None

    def _room_or_none(self) -> DiskUsage | None:
        try:
            return self._disk_usage(self._folder)
        except OSError as error:
            log.debug("the storage cannot be measured", action="heartbeat_partial", error=error)
            return None
