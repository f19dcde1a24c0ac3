"""Fills in the document of ``status --json``: board, queue, settings, disk and clock put together."""

from collections.abc import Sequence
from pathlib import Path

from agent import __version__
from agent.clock import rfc3339, rfc3339_or_none
from agent.config.schema import Config
from agent.host.medium import in_memory
from agent.host.storage import disk_usage, space_problem
from agent.host.time_sync import clock_state
from agent.status.board import NetworkNow, Snapshot, Waiting
from agent.status.process_documents import Queue
from agent.status.status_document import (
    ClockStatus,
    CredentialStatus,
    LimitStatus,
    MarkStatus,
    MegabytesStatus,
    MicrophoneStatus,
    NetworkStatus,
    RecordingStatus,
    StatusDocument,
    StorageStatus,
    VoiceStatus,
    WaitingStatus,
    WindowStatus,
)
from agent.status.words import HELD


def status_now(
    snapshot: Snapshot,
    queue: Queue,
    config: Config,
    folder: Path,
    *,
    credential: CredentialStatus,
    level_dbfs: float | None = None,
    windows: Sequence[WindowStatus] = (),
    marks: Sequence[MarkStatus] = (),
) -> StatusDocument:
    """Return the status of now; ``folder`` is the state directory, what is unknown is None.

    ``windows`` are the next ones of the schedule, ``marks`` those of the recording that runs, oldest first.
    """
    synchronized = clock_state()
    return StatusDocument(
        state=snapshot.state,
        recording=_recording(snapshot, marks),
        pending=queue.pending,
        parked=queue.parked,
        held=queue.held,
        held_reason=HELD if queue.held else None,
        oldest_pending_at=rfc3339_or_none(queue.oldest_pending_ms),
        drain_seconds=queue.drain_seconds if queue.pending else 0.0,
        last_delivery_at=rfc3339_or_none(snapshot.last_delivery_ms or queue.last_delivery_ms),
        online=snapshot.online,
        waiting=waiting_status(snapshot.waiting),
        transfer=snapshot.transfer,
        microphone=MicrophoneStatus(
            id=snapshot.microphone_id,
            name=snapshot.microphone_name or config.audio.input,
            state=snapshot.microphone_state,
            level_dbfs=None if level_dbfs is None else round(level_dbfs, 1),
            quality=snapshot.microphone_quality,
            reason=snapshot.microphone_reason,
        ),
        voice=None
        if snapshot.voice_trigger is None
        else VoiceStatus(snapshot.voice_trigger, snapshot.voice_problem),
        storage=_storage(config, folder),
        clock=ClockStatus(None if synchronized is None else synchronized == "ntp", synchronized),
        network=_network(snapshot, config, is_waiting=queue.pending > 0),
        credential=credential,
        next_windows=list(windows),
        delivery=snapshot.delivery,
        fault=snapshot.fault or snapshot.settings_problem,
        fault_hint=snapshot.fault_hint if snapshot.fault else "",
        version=__version__,
    )


def waiting_status(waiting: Waiting | None) -> WaitingStatus | None:
    """Return why nothing is delivered as ``status`` tells it."""
    if waiting is None:
        return None
    return WaitingStatus(waiting.reason, rfc3339_or_none(waiting.until_ms), waiting.hint)


def _recording(snapshot: Snapshot, marks: Sequence[MarkStatus]) -> RecordingStatus | None:
    now = snapshot.recording
    return (
        None
        if now is None
        else RecordingStatus(now.id, rfc3339(now.started_ms), now.duration_ms, list(marks))
    )


def _network(snapshot: Snapshot, config: Config, *, is_waiting: bool) -> NetworkStatus:
    """Return the connection in use, what waits for another one, and what crossed it today."""
    now, settings = snapshot.network or NetworkNow(), config.sync
    is_allowed = now.connection is None or now.connection in settings.enabled_connections
    is_known = snapshot.network is not None
    return NetworkStatus(
        now.connection,
        now.metered,
        now.roaming,
        waits_for=list(settings.enabled_connections) if is_waiting and not is_allowed else None,
        used_today_mb=MegabytesStatus(round(now.metered_bytes / 1e6, 3), round(now.total_bytes / 1e6, 3))
        if is_known
        else MegabytesStatus(),
        daily_limit_mb=LimitStatus(
            settings.daily_data_limit_mb or None, settings.daily_total_limit_mb or None
        ),
    )


def _storage(config: Config, folder: Path) -> StorageStatus:
    try:
        free = disk_usage(folder).free_mb
    except OSError:
        return StorageStatus()
    is_full = space_problem(folder, config.storage.min_free_mb) is not None
    return StorageStatus(free, is_full, in_memory(folder))
