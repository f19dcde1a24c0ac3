"""What a person asks of the queue: retry, release, delete, export. The deliverer does it for them while it runs."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.errors import AgentError
from agent.hints import typed
from agent.host.target_folder import TargetFolder
from agent.index.outbox import Outbox
from agent.index.reading import Recordings, find
from agent.outbox import sidecar
from agent.outbox.entry import Entry, Status
from agent.outbox.files import is_damaged


def retry(outbox: Outbox, ids: Sequence[str] | None) -> list[str]:
    """Make parked recordings, and those that back off, due now; None: all of them. Returns the ids.

    One that is parked as damaged goes on where its file is what was recorded after all.

    Raises:
        AgentError: no such recording, or one that was named is damaged.
    """
    if ids is None:
        tried = (_retried(outbox, entry) for entry in outbox.store.all())
        return [entry.id for entry in tried if entry is not None]
    done = []
    for entry in [find(outbox.store, recording_id) for recording_id in ids]:
        retried = _retried(outbox, entry)
        if retried is not None:
            done.append(retried.id)
        elif is_damaged(entry):
            raise AgentError(
                f"{entry.id} is damaged and cannot be sent as if it were whole",
                f"{typed(f'queue export . {entry.id}')} copies it",
            )
    return done


def _retried(outbox: Outbox, entry: Entry) -> Entry | None:
    """Make one due now; None where there is nothing to try again, or nothing whole."""
    if is_damaged(entry):
        return outbox.recover(entry)
    backs_off = entry.next_attempt is not None and entry.status is not Status.UPLOADED
    return outbox.retry(entry) if entry.status is Status.PARKED or backs_off else None


def release(outbox: Outbox, ids: Sequence[str] | None) -> list[str]:
    """Let held recordings go to whoever the device is bound to now; None: all of them. Returns the ids.

    Raises:
        AgentError: no such recording.
    """
    held = outbox.store.held() if ids is None else [find(outbox.store, one) for one in ids]
    owner = outbox.owners.current()
    return [outbox.release(entry, to=owner).id for entry in held if entry.status is Status.HELD]


def delete(outbox: Outbox, ids: Sequence[str] | None) -> list[str]:
    """Forget recordings and delete their files, delivered or not. Returns the ids.

    Raises:
        AgentError: no such recording.
    """
    entries = [find(outbox.store, recording_id) for recording_id in ids or ()]
    for entry in entries:
        outbox.delete(entry)
    return [entry.id for entry in entries]


ACTIONS: dict[str, Callable[[Outbox, Sequence[str] | None], list[str]]] = {
    "retry": retry,
    "release": release,
    "delete": delete,
}
"""By the name of their command."""


def export(recordings: Recordings, folder: TargetFolder, ids: Sequence[str]) -> list[Path]:
    """Copy audio and sidecars into a folder; without ids all that is not delivered. Returns the audio's paths.

    Raises:
        AgentError: no such recording, its audio is missing, or the folder does not take it.
    """
    audio = recordings.files.audio
    entries = [recordings.find(one) for one in ids] or [
        entry for entry in recordings.all() if entry.status is not Status.UPLOADED and audio(entry).exists()
    ]
    copies = []
    for entry in entries:
        try:
            source = os.open(audio(entry), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise AgentError(
                f"the audio of {entry.id} is missing",
                f"{typed(f'queue delete {entry.id}')} takes it off the list",
            ) from None
        try:
            folder.copy(entry.audio_name, source)
        finally:
            os.close(source)
        folder.replace(entry.sidecar_name, sidecar.encode(entry))
        copies.append(folder.path / entry.audio_name)
    return copies
