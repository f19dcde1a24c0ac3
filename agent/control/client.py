"""The asking side of a socket: how a command, or the other process, speaks with a process that runs."""

import contextlib
import errno
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent import text
from agent.control.messages import ANSWER_BYTES, SENTENCE_CHARS, Message, encoded, lines, message_of
from agent.errors import AgentError, sentence_of
from agent.hints import journal, reach, start
from agent.process.state_directory import connect

CONNECT_SECONDS = 10.0
"""How long a process whose connections are all taken is waited for."""
_RETRY_SECONDS = 0.05
_NOBODY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED, errno.ENOTSOCK, errno.ELOOP})
_MOST_CODE = 255


class NotRunning(AgentError):  # noqa: N818 - a state, asked for by many commands
    """Nobody answers on this state directory."""


def ask(
    path: Path,
    request: Message,
    on_event: Callable[[Message], None] = lambda _: None,
    *,
    timeout: float | None = None,
) -> Any:
    """Send a command to a process and return its result; ``timeout`` is for each word of the answer, in seconds.

    Raises:
        NotRunning: nobody listens.
        TimeoutError: it is silent for longer than ``timeout``, or takes no connection.
        AgentError: the sentence of the process, with its exit code.
    """
    deadline = time.monotonic() + (CONNECT_SECONDS if timeout is None else timeout)
    while True:
        answer = _ask_once(path, request, on_event, timeout, deadline)
        if "error" not in answer:
            return answer.get("result")
        if answer.get("busy") is not True or time.monotonic() >= deadline:
            raise as_failed(answer)
        time.sleep(_RETRY_SECONDS)


def _ask_once(
    path: Path,
    request: Message,
    on_event: Callable[[Message], None],
    timeout: float | None,
    deadline: float,
) -> Message:
    """Return the answer that ends the request."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        _connect(connection, path, deadline)
        connection.settimeout(timeout)
        # One that was cut before it was heard finds the reason in what it can still read.
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(encoded(request))
        with contextlib.suppress(ConnectionResetError):
            for line in lines(iter(lambda: connection.recv(1 << 16), b""), ANSWER_BYTES):
                answer = message_of(line)
                if "event" not in answer:
                    return answer
                on_event(answer)
    raise AgentError("recorder-agent went away before it answered", f"see {journal()}")


def _connect(connection: socket.socket, path: Path, deadline: float) -> None:
    """Connect; a backlog that is full is a process that runs, and is waited for."""
    connection.setblocking(False)  # blocking, the kernel would wait for ever
    while True:
        try:
            connect(connection, path)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError("recorder-agent takes no connection: all are in use") from None
            time.sleep(_RETRY_SECONDS)
        except PermissionError as error:
            raise AgentError(f"you may not speak with recorder-agent ({path})", reach(path.parent)) from error
        except OSError as error:
            if error.errno in _NOBODY:
                raise NotRunning("recorder-agent is not running", f"start it with {start()}") from error
            raise AgentError(
                f"recorder-agent cannot be asked at {path} ({error.strerror or error})", f"see {journal()}"
            ) from error
        else:
            return


def as_failed(answer: Message) -> AgentError:
    """Return the error of the process as one of ours, with its exit code."""
    hint = text.cut(str(answer.get("hint") or ""), SENTENCE_CHARS)
    error = sentence_of(text.cut(str(answer["error"]), SENTENCE_CHARS), hint)
    code = answer.get("exit_code")
    error.exit_code = code if isinstance(code, int) and 0 < code <= _MOST_CODE else 1
    return error
