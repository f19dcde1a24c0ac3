"""The one table from the board to what is shown: which condition wins, and what the API is told of it."""

from typing import Any

import pytest

from agent.status.board import CredentialState, Quality, RecordingNow, Snapshot, State, Transfer, Waiting
from agent.status.condition import TABLE, Condition, DeviceState, condition, device_state

RECORDING = {"state": State.RECORDING, "recording": RecordingNow("a", 0, 1000)}
OFFLINE = {"online": False}
REFUSED = {"credential": CredentialState.REFUSED}
SENDING = {"transfer": Transfer("a", 1, 2)}

CASES: list[tuple[dict[str, Any], int, Condition, str]] = [
    ({"state": State.FAULT}, 0, Condition.FAULT, "error"),
    ({"state": State.STORAGE_FULL}, 0, Condition.STORAGE_FULL, "storageFull"),
    ({"state": State.NO_MICROPHONE}, 0, Condition.NO_MICROPHONE, "error"),
    ({"state": State.MUTED}, 0, Condition.MUTED, "idle"),
    ({"credential": CredentialState.MISSING}, 0, Condition.NO_CREDENTIAL, "idle"),
    (RECORDING | REFUSED, 0, Condition.NO_CREDENTIAL, "recording"),
    (RECORDING | {"microphone_quality": Quality.SILENT}, 0, Condition.RECORDING_SILENT, "recording"),
    (RECORDING | {"microphone_quality": Quality.QUIET}, 0, Condition.RECORDING_SILENT, "recording"),
    (RECORDING | {"microphone_quality": Quality.CLIPPING}, 0, Condition.RECORDING_SILENT, "recording"),
    (RECORDING | {"microphone_quality": Quality.OK}, 0, Condition.RECORDING, "recording"),
    (RECORDING | OFFLINE, 1, Condition.RECORDING_OFFLINE, "recording"),
    (RECORDING | OFFLINE, 0, Condition.RECORDING, "recording"),
    (RECORDING | SENDING, 1, Condition.RECORDING, "recording"),
    ({"state": State.LISTENING} | SENDING, 1, Condition.LISTENING, "idle"),
    ({"state": State.LISTENING, "microphone_quality": Quality.QUIET}, 0, Condition.RECORDING_SILENT, "idle"),
    (SENDING, 1, Condition.UPLOADING, "uploading"),
    (OFFLINE, 1, Condition.IDLE_WAITING, "idle"),
    ({"waiting": Waiting("off-peak")}, 1, Condition.IDLE_WAITING, "idle"),
    ({"waiting": Waiting("off-peak")}, 0, Condition.IDLE, "idle"),
    ({"microphone_state": "opening"}, 0, Condition.STARTING, "idle"),
    ({}, 1, Condition.IDLE, "idle"),
    ({"state": State.STOPPED}, 0, Condition.IDLE, "idle"),
]


@pytest.mark.parametrize(("changes", "pending", "shown", "told"), CASES)
def test_each_condition(changes: dict[str, Any], pending: int, shown: Condition, told: str) -> None:
    """What holds is shown, and told the API in its own words."""
    snapshot = Snapshot(**changes)
    assert condition(snapshot, {"pending": pending}) is shown
    assert device_state(snapshot, {"pending": pending}) == told


def test_the_worst_wins() -> None:
    """With everything wrong at once the table's order decides, from the first row to the last."""
    worst_first = [
        Condition.FAULT,
        Condition.STORAGE_FULL,
        Condition.NO_MICROPHONE,
        Condition.MUTED,
        Condition.NO_CREDENTIAL,
        Condition.RECORDING_SILENT,
        Condition.RECORDING_OFFLINE,
        Condition.RECORDING,
        Condition.LISTENING,
        Condition.UPLOADING,
        Condition.IDLE_WAITING,
        Condition.STARTING,
        Condition.IDLE,
    ]
    assert [row.condition for row in TABLE] == worst_first == list(Condition)
    for state in (State.FAULT, State.STORAGE_FULL, State.NO_MICROPHONE, State.MUTED):
        everything = Snapshot(
            state=state,
            online=False,
            credential=CredentialState.REFUSED,
            transfer=Transfer("a", 1, 2),
            microphone_quality=Quality.SILENT,
        )
        assert condition(everything, {"pending": 9}) == state.value


def test_something_always_holds() -> None:
    """Every state of the recorder gives a condition and one of the API's words."""
    for state in State:
        for credential in CredentialState:
            for online in (None, False, True):
                snapshot = Snapshot(state=state, credential=credential, online=online)
                assert condition(snapshot, {"pending": 1}) in Condition
                assert device_state(snapshot, {"pending": 1}) in DeviceState
