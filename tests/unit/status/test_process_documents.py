"""What one process says of itself, as the other takes it over."""

import msgspec

from agent.status.board import (
    CredentialState,
    NetworkNow,
    Quality,
    RecordingNow,
    Snapshot,
    State,
    Transfer,
    Waiting,
)
from agent.status.process_documents import (
    DELIVERY,
    NO_DELIVERY,
    NO_RECORDER,
    RECORDER,
    Queue,
    Written,
    delivery_document,
    delivery_fields,
    recorder_document,
    recorder_fields,
)
from agent.status.status_document import CredentialStatus

WRITTEN = Written(1, "boot", 2, 3)
FULL = Snapshot(
    state=State.RECORDING,
    fault="why",
    settings="wrong",
    recording=RecordingNow("id", 1, 2, 3),
    microphone_id="hw:1",
    microphone_name="one",
    microphone_state="open",
    microphone_quality=Quality.QUIET,
    microphone_reason="turned down",
    online=True,
    waiting=Waiting("off-peak", 4, "what to do"),
    transfer=Transfer("id", 5, 6),
    network=NetworkNow("wifi", True, False, 7, 8),
    credential=CredentialState.ACCEPTED,
    last_delivery_ms=9,
    delivered=10,
    delivered_bytes=11,
)
KEPT_OF_RECORDER = {"microphone_id", "microphone_name"}
"""Which microphone it was is still true when the recorder is gone."""
KEPT_OF_DELIVERY = {"last_delivery_ms", "delivered", "delivered_bytes"}
"""What was delivered is still true when the deliverer is gone."""


def _taken_over(fields: dict[str, object]) -> dict[str, object]:
    """Return how the writer's snapshot has the same."""
    return {"settings" if name == "settings_there" else name: value for name, value in fields.items()}


def test_a_recorder_is_taken_over_whole() -> None:
    """Every field arrives as it was told, and each has a value for when there is no recorder, or is kept."""
    document = recorder_document(FULL, WRITTEN, level_dbfs=-20.0, manual=True, recordings=1, missing_ms=2)
    fields = recorder_fields(RECORDER.decode(msgspec.json.encode(document)))
    for name, value in _taken_over(fields).items():
        assert value == getattr(FULL, name), name
        assert value != getattr(Snapshot(), name), f"{name} is not told apart from its default"
    assert fields.keys() == NO_RECORDER.keys() | KEPT_OF_RECORDER


def test_a_deliverer_is_taken_over_whole() -> None:
    """The same of the deliverer."""
    queue = Queue(last_delivery_ms=9)
    document = delivery_document(
        FULL, WRITTEN, queue, credential=CredentialStatus(CredentialState.ACCEPTED), failing=None
    )
    fields = delivery_fields(DELIVERY.decode(msgspec.json.encode(document)))
    for name, value in _taken_over(fields).items():
        assert value == getattr(FULL, name), name
        assert value != getattr(Snapshot(), name), f"{name} is not told apart from its default"
    assert fields.keys() == NO_DELIVERY.keys() | KEPT_OF_DELIVERY
