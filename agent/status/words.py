"""The one line a person wants to read: what the recorder does, and what waits."""

from agent.status.board import CredentialState, Snapshot, State

_STATES = {
    State.RECORDING: "recording",
    State.IDLE: "idle",
    State.MUTED: "muted",
    State.NO_MICROPHONE: "no microphone",
    State.STORAGE_FULL: "storage full",
    State.FAULT: "fault",
    State.STOPPED: "stopped",
}


def sentence(snapshot: Snapshot, counts: dict[str, int]) -> str:
    """Return the state, the queue and what stands in its way, comma-separated, without a full stop."""
    parts = [_STATES[snapshot.state]]
    if snapshot.state in {State.STORAGE_FULL, State.FAULT} and snapshot.fault:
        parts = [f"{parts[0]}: {snapshot.fault}"]
    if snapshot.state is State.NO_MICROPHONE:
        parts.append(f"waiting for {snapshot.microphone_name or 'one'}")
    transfer = snapshot.transfer
    if transfer is not None:
        parts.append(f"uploading {100 * transfer.sent_bytes // max(1, transfer.total_bytes)} %")
    if counts["pending"]:
        parts.append(
            f"{counts['pending']} waiting" + (f" ({snapshot.waiting.reason})" if snapshot.waiting else "")
        )
    parts += [f"{counts[name]} {name}" for name in ("parked", "held") if counts[name]]
    if snapshot.credential in {CredentialState.MISSING, CredentialState.REFUSED}:
        parts.append(f"device token {snapshot.credential.value}")
    return ", ".join(parts)
