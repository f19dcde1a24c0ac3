"""The other side of a connection to a control socket, and who may be one."""

import contextlib
import grp
import os
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent import text
from agent.control.messages import SENTENCE_CHARS, Message, Request, encoded
from agent.errors import AgentError
from agent.log import get_logger

log = get_logger(__name__)

ROWS_AT_ONCE = 200
"""A row has metadata of at most 4 kB."""
_CREDENTIALS = struct.Struct("3i")
"""``struct ucred``: process, user, group (unix(7))."""


class Peer:
    """The asking side, as a handler sees it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def is_admin(self) -> bool:
        """Whether it is the user of this process, or root."""
        credentials = self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return _CREDENTIALS.unpack(credentials)[1] in {0, os.geteuid()}

    def tell(self, **event: Any) -> None:
        """Send an event; OSError when nobody listens any more, or nobody has read for a while."""
        self._connection.sendall(encoded(event))

    def tell_rows(self, rows: Sequence[dict[str, Any]], **event: Any) -> None:
        """Send rows, however many, in events that a line has room for."""
        for first in range(0, max(1, len(rows)), ROWS_AT_ONCE):
            self.tell(event="rows", rows=rows[first : first + ROWS_AT_ONCE], **event)

    def gone(self) -> bool:
        """Whether the other side has hung up."""
        try:
            return self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


Handler = Callable[[Request, Peer], Any]


def failed(message: str, exit_code: int, hint: str = "") -> Message:
    """Return the answer that ends a request which failed: what and why, and in ``hint`` what to do."""
    sentence = str(AgentError(message, hint))
    return {
        "error": text.cut(sentence, SENTENCE_CHARS),
        "hint": text.cut(hint, SENTENCE_CHARS),
        "exit_code": exit_code,
    }


def say_at_once(connection: socket.socket, message: Message) -> None:
    """Send an answer to somebody who is cut, if it can be taken at once."""
    with contextlib.suppress(OSError):
        connection.send(encoded(message), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def share_with(path: Path, group: str) -> None:
    """Let a group use the socket; where it cannot have it, only its owner and root may, and that is said."""
    try:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
        path.chmod(0o660)
    except KeyError:
        log.info(
            "only its owner and root may use the control socket: there is no such group",
            action="control_group_missing",
            group=group,
        )
    except OSError as error:
        log.warning(
            "only its owner and root may use the control socket: it cannot be given to the group",
            action="control_group_failed",
            group=group,
            error=error,
        )
