"""A machine whose device is bound to one person and then to another, for the tests of whose audio is sent."""

from pathlib import Path

from acceptance import Json, Machine
from speech import speech, write_wav

from agent.sandbox.devices import DEFAULT_DEVICE, DEFAULT_TOKEN
from agent.sandbox.server import SandboxServer

OLD, NEW, LATER = DEFAULT_TOKEN, "dtok_second-owner", "dtok_third-owner"
ANNA, BERT = "eu_anna", "eu_bert"


def bind(server: SandboxServer, token: str, end_user_id: str | None, device_id: str = DEFAULT_DEVICE) -> None:
    """Bind the device anew; the token it had is dead."""
    server.state.devices.bind(token, device_id, end_user_id)


def recorded(machine: Machine, *arguments: str) -> Json:
    """Record half a second and return its row."""
    wav = machine.folder / "half.wav"
    if not wav.exists():
        write_wav(wav, 16000, 1, speech(16000, 1, 8000))
    (row,) = machine.record(wav, *arguments)
    return row


def statuses(machine: Machine) -> dict[str, str]:
    """Return the status of each recording, by its id."""
    return {row["id"]: row["status"] for row in machine.queue()}


def owners(server: SandboxServer) -> dict[str, str | None]:
    """Return under whom each recording was filed, by its local id; fails for one that was filed twice."""
    filed: dict[str, str | None] = {}
    for recording in server.state.recordings.by_id.values():
        local = recording.metadata["client_recording_id"]
        assert local not in filed, "filed twice"
        filed[local] = recording.end_user_id
    return filed


def bindings_file(machine: Machine) -> Path:
    """Return where the bindings are kept."""
    return machine.state / "lineages.json"
