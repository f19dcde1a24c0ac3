"""The document of ``status --json``: its fields to the byte, what an earlier version leaves out, and the merge."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from agent.config.schema import Config, SyncConfig
from agent.control.messages import encoded
from agent.errors import AgentError
from agent.host.storage import DiskUsage
from agent.recording.calendar.lines import Window
from agent.recording.calendar.schedule import windows_shown
from agent.status import status_now as module
from agent.status.board import (
    CredentialState,
    Delivery,
    NetworkNow,
    Quality,
    RecordingNow,
    Snapshot,
    State,
    Transfer,
    Waiting,
)
from agent.status.process_documents import Queue
from agent.status.status_document import (
    OF_THE_DELIVERER,
    CredentialStatus,
    MarkStatus,
    StatusDocument,
    merged,
    status_document,
)
from agent.status.status_now import status_now

EVERYTHING = Snapshot(
    state=State.RECORDING,
    recording=RecordingNow("0189-x", 1_795_741_200_123, 61_000, 5),
    microphone_id="usb",
    microphone_name="USB é",
    microphone_state="listening",
    voice_trigger="sound",
    voice_problem="no speech",
    microphone_quality=Quality.QUIET,
    microphone_reason="its control is at 3 %",
    online=False,
    waiting=Waiting("offline", 1_795_741_300_000, "do"),
    transfer=Transfer("0189-y", 5, 10),
    network=NetworkNow(
        "cellular", metered=True, roaming=False, metered_bytes=1_234_567, total_bytes=2_345_678
    ),
    credential=CredentialState.ACCEPTED,
    last_delivery_ms=1_795_741_100_000,
    delivery=Delivery.HUNG,
    fault="f; h",
    fault_hint="h",
    settings="s",
)
QUEUE = Queue(
    pending=3,
    parked=1,
    held=2,
    pending_bytes=7,
    oldest_pending_ms=1_795_741_000_000,
    last_delivery_ms=1_795_741_050_000,
    drain_seconds=12.5,
)
SAID = (
    '{"state":"recording","recording":{"id":"0189-x","started_at":"2026-11-27T01:00:00.123Z","duration_ms":61000,'
    '"marks":[{"offset_ms":1000,"text":"cough"},{"offset_ms":2000}]},"pending":3,"parked":1,"held":2,'
    '"held_reason":"held: recorded under another device token; `recorder-agent queue release --all` sends it to the'
    ' present owner","oldest_pending_at":"2026-11-27T00:56:40.000Z","drain_seconds":12.5,'
    '"last_delivery_at":"2026-11-27T00:58:20.000Z","online":false,"waiting":{"reason":"offline",'
    '"until":"2026-11-27T01:01:40.000Z","hint":"do"},"transfer":{"id":"0189-y","sent_bytes":5,"total_bytes":10},'
    '"microphone":{"id":"usb","name":"USB é","state":"listening","level_dbfs":-31.3,"quality":"quiet",'
    '"reason":"its control is at 3 %"},"voice":{"trigger":"sound","problem":"no speech"},'
    '"storage":{"free_mb":24100,"full":false,"in_memory":false},"clock":{"synchronized":true,"source":"ntp"},'
    '"network":{"connection":"cellular","metered":true,"roaming":false,"waits_for":["ethernet"],'
    '"used_today_mb":{"metered":1.235,"total":2.346},"daily_limit_mb":{"metered":50,"total":null}},'
    '"credential":{"state":"accepted","fingerprint":"0123abcd"},"next_windows":[{"from":"2026-11-27T09:00:00.000Z",'
    '"until":"2026-11-27T10:00:00.000Z"}],"delivery":"hung","fault":"f; h","fault_hint":"h","version":"0.1.0"}'
)
SAID_OF_NOTHING = (
    '{"state":"idle","recording":null,"pending":0,"parked":0,"held":0,"held_reason":null,"oldest_pending_at":null,'
    '"drain_seconds":0.0,"last_delivery_at":null,"online":null,"waiting":null,"transfer":null,"microphone":{"id":null,'
    '"name":"default","state":"closed","level_dbfs":null,"quality":null,"reason":null},"voice":null,'
    '"storage":{"free_mb":24100,"full":false,"in_memory":false},"clock":{"synchronized":true,"source":"ntp"},'
    '"network":{"connection":null,"metered":null,"roaming":null,"waits_for":null,"used_today_mb":{"metered":null,'
    '"total":null},"daily_limit_mb":{"metered":null,"total":null}},"credential":{"state":"unknown","fingerprint":null},'
    '"next_windows":[],"delivery":"running","fault":null,"fault_hint":"","version":"0.1.0"}'
)
"""What programs of others read: a field may be added to these two, and nothing in them may change."""


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a clock that is right and a disk with room."""
    monkeypatch.setattr(module, "clock_state", lambda: "ntp")
    monkeypatch.setattr(module, "disk_usage", lambda _: DiskUsage(24_100_000_000, 32_000_000_000))
    monkeypatch.setattr(module, "space_problem", lambda _, __: None)
    monkeypatch.setattr(module, "in_memory", lambda _: False)
    monkeypatch.setattr(module, "__version__", "0.1.0")


def everything() -> StatusDocument:
    """Return a document with a value in each field."""
    hour = Window(datetime(2026, 11, 27, 9, tzinfo=UTC), datetime(2026, 11, 27, 10, tzinfo=UTC))
    sync = SyncConfig(enabled_connections=("ethernet",), daily_data_limit_mb=50)
    return status_now(
        EVERYTHING,
        QUEUE,
        msgspec.structs.replace(Config(), sync=sync),
        Path("/nowhere"),
        credential=CredentialStatus(CredentialState.ACCEPTED, "0123abcd"),
        level_dbfs=-31.26,
        windows=windows_shown([hour]),
        marks=[MarkStatus(1000, "cough"), MarkStatus(2000)],
    )


def nothing() -> StatusDocument:
    """Return a document of a recorder that has nothing to do."""
    return status_now(Snapshot(), Queue(), Config(), Path("/nowhere"), credential=CredentialStatus())


def test_the_contract_to_the_byte() -> None:
    """Names, order, types and forms of all fields."""
    assert msgspec.json.encode(everything()).decode() == SAID
    assert msgspec.json.encode(nothing()).decode() == SAID_OF_NOTHING


def test_the_file_says_when_it_was_written() -> None:
    """``status.json`` is the same document and one more field at its end."""
    written = msgspec.structs.replace(nothing(), written_at="2026-11-27T10:00:00.000Z")
    expected = SAID_OF_NOTHING[:-1] + ',"written_at":"2026-11-27T10:00:00.000Z"}'
    assert msgspec.json.encode(written).decode() == expected


@pytest.mark.parametrize("made", [everything, nothing])
def test_it_arrives_as_it_was_said(made: Callable[[], StatusDocument]) -> None:
    """What goes over a socket is the same document on the other side."""
    document = made()
    answer = msgspec.json.decode(encoded({"result": document}))["result"]
    assert status_document(answer) == document


def test_an_earlier_version_says_less() -> None:
    """Fields that it does not know are not known, and those that this one does not know are left out."""
    answer = {"state": "muted", "microphone": {"name": "USB", "state": "closed"}, "colour": "blue"}
    document = status_document(answer)
    assert (document.state, document.microphone.name, document.voice) == (State.MUTED, "USB", None)
    assert (document.pending, document.network.connection, document.fault_hint) == (0, None, "")


@pytest.mark.parametrize(
    "answer", [1, None, [], {"state": "dancing"}, {"pending": "many"}, {"recording": {}}]
)
def test_what_is_no_status_is_refused_with_a_hint(answer: object) -> None:
    """Whoever asks is told what to do, and is shown no traceback."""
    with pytest.raises(AgentError, match="what answers is no recorder-agent of this version") as caught:
        status_document(answer)
    assert caught.value.hint


def test_delivery_is_the_deliverers_to_tell() -> None:
    """Each of its fields is taken over, and no other; without a recorder its own answer stands."""
    one, other = nothing(), everything()
    both = merged(one, other)
    for name in StatusDocument.__struct_fields__:
        assert getattr(both, name) == getattr(other if name in OF_THE_DELIVERER else one, name), name
    assert merged(None, other) is other
