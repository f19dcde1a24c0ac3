"""The one table by which LED, heartbeat and log derive what is shown from the board.

Conditions stand worst first, and the first that holds is what is shown. A condition without a ``device_state`` leaves
that to the recorder: the first one below it that has one.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

from agent.status.board import CredentialState, Delivery, Quality, Snapshot, State


class DeviceState(StrEnum):
    """What the API calls the device's state; the ones that the table gives (api.md section 6)."""

    IDLE = "idle"
    RECORDING = "recording"
    UPLOADING = "uploading"
    STORAGE_FULL = "storageFull"
    ERROR = "error"


class Condition(StrEnum):
    """What there is to show."""

    FAULT = "fault"
    """It cannot record and cannot heal; or, seen by the deliverer, no recorder runs."""
    STORAGE_FULL = "storage_full"
    NO_MICROPHONE = "no_microphone"
    """None, or a wedged one."""
    MUTED = "muted"
    NO_CREDENTIAL = "no_credential"
    """Missing or refused; or the last good settings are in use."""
    RECORDING_SILENT = "recording_silent"
    """The microphone has given nothing but zeros for a minute, or is too quiet, or clips; or it is listened to such."""
    RECORDING_OFFLINE = "recording_offline"
    """And a backlog waits."""
    RECORDING = "recording"
    LISTENING = "listening"
    """For a voice, or to keep the last minutes."""
    UPLOADING = "uploading"
    IDLE_WAITING = "idle_waiting"
    """A backlog waits: offline, or by a rule of the owner or the API."""
    STARTING = "starting"
    """The microphone is being opened."""
    IDLE = "idle"


class Row(NamedTuple):
    """One line of the table."""

    condition: Condition
    holds: Callable[[Snapshot, int], bool]
    """Given the snapshot and how many recordings are pending."""
    device_state: DeviceState | None
    """None: as the recorder, that is, as the first row below that holds and has one."""


def _recording(now: Snapshot) -> bool:
    return now.state is State.RECORDING


def _hears(now: Snapshot) -> bool:
    return now.state in {State.RECORDING, State.LISTENING}


def _no_credential(now: Snapshot, _pending: int) -> bool:
    is_useless = now.credential in {CredentialState.MISSING, CredentialState.REFUSED}
    return is_useless or now.settings_problem is not None


def _no_way(now: Snapshot) -> bool:
    return now.online is False or now.delivery is not Delivery.RUNNING


def _backlog_waits(now: Snapshot, pending: int) -> bool:
    return bool(pending) and (_no_way(now) or now.waiting is not None)


TABLE = (
    Row(Condition.FAULT, lambda now, _: now.state is State.FAULT or now.gone, DeviceState.ERROR),
    Row(Condition.STORAGE_FULL, lambda now, _: now.state is State.STORAGE_FULL, DeviceState.STORAGE_FULL),
    Row(Condition.NO_MICROPHONE, lambda now, _: now.state is State.NO_MICROPHONE, DeviceState.ERROR),
    Row(Condition.MUTED, lambda now, _: now.state is State.MUTED, DeviceState.IDLE),
    Row(Condition.NO_CREDENTIAL, _no_credential, None),
    Row(
        Condition.RECORDING_SILENT,
        lambda now, _: _hears(now) and now.microphone_quality not in {None, Quality.OK},
        None,
    ),
    Row(
        Condition.RECORDING_OFFLINE,
        lambda now, pending: _recording(now) and _no_way(now) and bool(pending),
        DeviceState.RECORDING,
    ),
    Row(Condition.RECORDING, lambda now, _: _recording(now), DeviceState.RECORDING),
    Row(Condition.LISTENING, lambda now, _: now.state is State.LISTENING, DeviceState.IDLE),
    Row(Condition.UPLOADING, lambda now, _: now.transfer is not None, DeviceState.UPLOADING),
    Row(Condition.IDLE_WAITING, _backlog_waits, DeviceState.IDLE),
    Row(Condition.STARTING, lambda now, _: now.microphone_state == "opening", DeviceState.IDLE),
    Row(Condition.IDLE, lambda _now, _: True, DeviceState.IDLE),
)
"""Worst first; the last always holds."""


def condition(snapshot: Snapshot, counts: Mapping[str, int]) -> Condition:
    """Return what is to be shown; ``counts`` needs ``pending``."""
    return next(row.condition for row in TABLE if row.holds(snapshot, counts["pending"]))


def device_state(snapshot: Snapshot, counts: Mapping[str, int]) -> DeviceState:
    """Return what the API is told; ``counts`` needs ``pending``."""
    return next(
        row.device_state
        for row in TABLE
        if row.device_state is not None and row.holds(snapshot, counts["pending"])
    )
