"""Work that belongs to the owner of a state directory, for a process that stays root."""

import os
import pwd
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.errors import AgentError
from agent.hints import journal
from agent.process.state_directory import StateDirectory, become_owner

ACCOUNT = "recorder-agent"
_LONGEST = 65_536


class _Answer(msgspec.Struct):
    """What the process that became the owner sends back."""

    result: str | None = None
    error: str | None = None
    hint: str = ""


_ANSWER = msgspec.json.Decoder(_Answer)


def make_state(state: StateDirectory) -> None:
    """As root, make a state directory that is not there yet for the service's account, where there is that account.

    Raises:
        AgentError: it cannot be made.
    """
    if os.geteuid() != 0 or state.path.exists():
        return
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        return
    if not state.path.parent.is_dir():
        raise AgentError(
            f"storage.directory: {state.path.parent} is not there, so nothing can be recorded into {state.path}",
            "mount or make it first",
        )
    state.path.mkdir(mode=0o700)
    os.chown(state.path, entry.pw_uid, entry.pw_gid)


def as_owner(state: StateDirectory, work: Callable[[], str | None]) -> str | None:
    """Return what ``work`` returns when the owner of a state directory does it; AgentError as it raises it.

    Root has a process of its own become the owner for good; everybody else does it here.
    """
    if os.geteuid() != 0:
        become_owner(state, os.environ)
        return work()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _be_owner(state, work, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read(_LONGEST)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise AgentError(f"what belongs to the owner of {state.path} failed", f"see {journal()}")
    answer = _ANSWER.decode(data)
    if answer.error is not None:
        raise AgentError(answer.error, answer.hint)
    return answer.result


def _be_owner(state: StateDirectory, work: Callable[[], str | None], writing: int) -> None:
    code = 1
    try:
        try:
            become_owner(state, os.environ)
            answer = _Answer(result=work())
        except AgentError as error:
            answer = _Answer(error=error.message, hint=error.hint)
        except OSError as error:
            answer = _Answer(
                error=f"{error.filename or state.path}: {error.strerror}", hint="free or repair it"
            )
        os.write(writing, msgspec.json.encode(answer))
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def is_writable(folder: Path) -> bool:
    """Return whether files of a folder can be changed: not where a stick is write-protected."""
    try:
        flags = os.statvfs(folder).f_flag
    except OSError:
        return False
    return not flags & os.ST_RDONLY and os.access(folder, os.W_OK, effective_ids=True)
