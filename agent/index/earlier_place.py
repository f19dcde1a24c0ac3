"""What an earlier state directory holds after ``storage.directory`` was changed, and bringing it over.

Recordings keep their names and sidecars, and are adopted where they arrive; the index is not brought. Each file is
whole at its new place and durable before the old one goes, in the order of a Finish: the sidecar under its temporary
name, the audio, the sidecar's name. A crash at any point costs nothing, and the next call goes on. What is at the
present place already stays as it is.
"""

import contextlib
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from agent.disk import Disk
from agent.errors import AgentError
from agent.hints import typed
from agent.outbox.files import AUDIO, SIDECAR, TEMPORARY, digest
from agent.process.places import noted_places
from agent.process.state_directory import Process, StateDirectory
from agent.recording.segment import PART
from agent.small_file import is_regular
from agent.text import counted

TOKEN, TOKEN_NAME = "token", "device-token"
SMALL = (
    *("recorder.json", "boots.json", "clock.json", "binding", "muted", "marks.json", "commands.json"),
    *("data-usage.json", "gaps.jsonl", "gaps.1.jsonl", "gaps-delivery.jsonl", "gaps-delivery.1.jsonl"),
    *(
        "days.jsonl",
        "days-delivery.jsonl",
        "device-token",
        "device-token.json",
        "lineages.json",
        "device.json",
    ),
    "report.json",
)
"""What both processes remember; brought only while neither of them runs."""
UNDELIVERED = ("recording", "outbox", "damaged")


class Left(NamedTuple):
    """What waits at an earlier place."""

    path: Path
    recordings: int
    """That were not delivered."""
    has_token: bool

    def sentence(self) -> str:
        """Return it for a person."""
        told = counted(self.recordings, "recording that was", "recordings that were")
        parts = [f"{told} not delivered"] if self.recordings else []
        parts += ["a device token"] if self.has_token else []
        return f"{self.path} still holds {' and '.join(parts)}"


def bring_hint(left: Left) -> str:
    """Return the command that brings it over."""
    return f"{typed(f'repair --from {shlex.quote(str(left.path))}')} brings them over"


def left_in(path: Path) -> Left | None:
    """Return what waits at a place; None when there is nothing, or nothing that may be looked at."""
    count = 0
    with contextlib.suppress(OSError):
        for folder in UNDELIVERED:
            count += sum(name.endswith((AUDIO, AUDIO + PART)) for name in _names(path / folder))
        has_token = any(is_regular(path / name) for name in (f"{TOKEN}/device-token", "device-token"))
        return Left(path, count, has_token) if count or has_token else None
    return None


def left_elsewhere(state: StateDirectory, folder: Path | None) -> list[Left]:
    """Return what waits where the state of the service with this state directory of systemd's lay before."""
    if folder is None:
        return []
    here = state.path.resolve()
    found = (left_in(path) for path in noted_places(folder) if path.resolve() != here)
    return [left for left in found if left is not None]


def bring_over(
    source: Path, state: StateDirectory, disk: Disk, *, say: Callable[[str], object] | None = None
) -> int:
    """Bring over what another state directory holds; return how many recordings, which come only with ``say``.

    Raises:
        AgentError: a recorder works there, or is the same directory, or there is none.
        OSError: a file cannot be read or written; what was brought is whole.
    """
    if not source.is_dir():
        raise AgentError(f"{source} is no folder", "name the earlier state directory")
    if source.resolve() == state.path.resolve():
        raise AgentError(f"{source} is the state directory in use", "name an earlier one")
    if not any((source / name).exists() for name in (*_FOLDERS, TOKEN, *SMALL)):
        raise AgentError(f"{source} is no state directory", "name the earlier state directory")
    other = StateDirectory(source, source)
    with contextlib.ExitStack() as stack:
        for process in Process:
            stack.enter_context(other.command_lock(process))
        if _are_free(state, stack):
            for name in SMALL:
                _bring_small(source / name, state.path / name, disk)
        _bring_token(source / TOKEN, state.token, disk)
        if say is None:
            return 0
        return sum(_bring_recordings(source / folder, state.path / folder, disk, say) for folder in _FOLDERS)


_FOLDERS = (*UNDELIVERED, "sent")


def _are_free(state: StateDirectory, stack: contextlib.ExitStack) -> bool:
    """Take both locks of the present place; False where a process works, which has memories of its own."""
    try:
        for process in Process:
            stack.enter_context(state.command_lock(process))
    except AgentError:
        return False
    return True


def _bring_token(source: Path, target: Path, disk: Disk) -> None:
    """Bring a token and what belongs to it, the token itself last; not where a person has set another since."""
    token = source / TOKEN_NAME
    if not is_regular(token) or (
        (target / TOKEN_NAME).exists() and not _is_alike(token, target / TOKEN_NAME)
    ):
        return
    target.mkdir(mode=0o700, exist_ok=True)
    for name in sorted(_names(source), key=lambda name: name == TOKEN_NAME):
        if name.endswith(".lock"):
            continue
        if (target / name).exists() and name != TOKEN_NAME:  # of a time without a token: nothing hangs on it
            disk.unlink(target / name, "bring.unlink_old")
        _bring_small(source / name, target / name, disk)


def _bring_small(source: Path, target: Path, disk: Disk) -> None:
    """Move a small file to where there is none; one that is there alike was moved before."""
    if not is_regular(source):
        return
    if not target.exists():
        _move(source, target, disk)
    elif _is_alike(source, target):
        disk.unlink(source, "bring.unlink")


def _bring_recordings(source: Path, target: Path, disk: Disk, say: Callable[[str], object]) -> int:
    names = [*_names(source)]
    stems = {name.removesuffix(end) for name in names for end in (AUDIO, SIDECAR) if name.endswith(end)}
    count = sum(_bring_recording(source, target, stem, disk, say) for stem in sorted(stems))
    for name in names:
        if name.endswith(AUDIO + PART) and is_regular(source / name) and not (target / name).exists():
            _move(source / name, target / name, disk)
            say(f"brought {target / name}")
            count += 1
    return count


def _bring_recording(source: Path, target: Path, stem: str, disk: Disk, say: Callable[[str], object]) -> bool:
    """Bring one, or what an earlier call has left of it; return whether it is at its new place now, by this call."""
    audio, sidecar = stem + AUDIO, stem + SIDECAR
    has_audio, has_sidecar = is_regular(source / audio), is_regular(source / sidecar)
    if has_audio and (target / audio).exists():
        if not _is_alike(source / audio, target / audio):
            say(f"{source / audio} stays: {target / audio} is there already, and is another file")
            return False
    elif not has_audio and not is_regular(target / audio):
        return False
    if has_sidecar and not (target / sidecar).exists():
        _copy(source / sidecar, target / (sidecar + TEMPORARY))
    if has_audio and (target / audio).exists():
        disk.unlink(source / audio, "bring.unlink")
    elif has_audio:
        _move(source / audio, target / audio, disk)
    if (target / (sidecar + TEMPORARY)).exists():
        disk.rename(target / (sidecar + TEMPORARY), target / sidecar, "bring.rename_sidecar")
        disk.sync_folder(target, "bring.sync_target")
    disk.unlink(source / sidecar, "bring.unlink_sidecar")
    say(f"brought {target / audio}")
    return True


def _is_alike(one: Path, other: Path) -> bool:
    return is_regular(other) and digest(one) == digest(other)


def _move(source: Path, target: Path, disk: Disk) -> None:
    """Move a file durably, to another file system too."""
    temporary = target.with_name(f"{target.name}.bringing")
    _copy(source, temporary)
    disk.rename(temporary, target, "bring.rename")
    disk.sync_folder(target.parent, "bring.sync_target")
    disk.unlink(source, "bring.unlink")
    disk.sync_folder(source.parent, "bring.sync_source")


def _copy(source: Path, target: Path) -> None:
    """Copy a file, durable but for its name."""
    with source.open("rb") as old, open(target, "wb", opener=_private) as new:
        shutil.copyfileobj(old, new, 1 << 20)
        new.flush()
        os.fsync(new.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _names(folder: Path) -> Iterator[str]:
    try:
        yield from sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return
