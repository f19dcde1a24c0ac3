"""The local socket: how a command speaks with the running daemon.

One JSON object a line. The asking side sends ``{"command": …, …}``; the daemon answers with any number of
``{"event": …, …}`` and ends with ``{"result": …}`` or ``{"error": sentence, "exit_code": n}``.
"""

import contextlib
import grp
import os
import socket
import struct
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from agent.errors import AgentError
from agent.log import get_logger
from agent.statedir import bind, connect

log = get_logger(__name__)

LONGEST_LINE = 1 << 20
SEND_SECONDS = 5
"""An asking side that has not read for so long is taken for gone."""
_CREDENTIALS = struct.Struct("3i")
"""``struct ucred``: process, user, group (unix(7))."""
_TIME = struct.Struct("@ll")
"""``struct timeval``."""
Message = dict[str, Any]
MESSAGE = msgspec.json.Decoder(Message)


class Peer:
    """The asking side, as a handler sees it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def may_own(self) -> bool:
        """Whether it is the daemon's own user, or root."""
        credentials = self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return _CREDENTIALS.unpack(credentials)[1] in {0, os.geteuid()}

    def tell(self, **event: Any) -> None:
        """Send an event; OSError when nobody listens any more, or nobody has read for a while."""
        self._connection.sendall(msgspec.json.encode(event) + b"\n")

    def gone(self) -> bool:
        """Whether the other side has hung up."""
        try:
            return self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


Handler = Callable[[Message, Peer], Any]


class ControlServer:
    """Answers commands, one thread a connection, until ``close``; its owner, root and a group may ask."""

    def __init__(
        self,
        path: Path,
        handlers: dict[str, Handler],
        *,
        group: str = "",
        owners_own: Collection[str] = (),
    ) -> None:
        self.path = path
        self._handlers = handlers
        self._owners_own = owners_own
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.path.unlink(missing_ok=True)
        bind(self._listener, path)
        self.path.chmod(0o600)
        if group:
            share_with(path, group)
        self._listener.listen(16)
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), name="control-peer", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIME.pack(SEND_SECONDS, 0))
            connection.settimeout(30)
            for line in lines(connection):
                connection.settimeout(None)
                self._answer(line, Peer(connection))

    def _answer(self, line: bytes, peer: Peer) -> None:
        try:
            request = MESSAGE.decode(line)
            handler = self._handlers.get(str(request.get("command")))
            if handler is None:
                raise AgentError(
                    f"this daemon does not know the command {request.get('command')!r}; upgrade it"
                )
            if request["command"] in self._owners_own and not peer.may_own():
                raise AgentError(
                    "this decides over recordings or the token, which the group may not; use sudo"
                )
            answer = {"result": handler(request, peer)}
        except msgspec.DecodeError:
            answer = {"error": "that was not a JSON object on one line; send one", "exit_code": 2}
        except AgentError as error:
            answer = {"error": str(error), "exit_code": error.exit_code}
        except Exception as error:
            log.exception(
                "a command failed", action="control_failed", command=line[:80].decode(errors="replace")
            )
            sentence = f"the daemon failed at this command ({error}); its log says more"
            answer = {"error": sentence, "exit_code": 1}
        peer.tell(**answer)


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


class NoDaemon(AgentError):  # noqa: N818 - a state, asked for by many commands
    """No daemon answers on this state directory."""


def ask(
    path: Path,
    request: Message,
    on_event: Callable[[Message], None] = lambda _: None,
    *,
    patience: float | None = None,
) -> Any:
    """Send a command to the daemon and return its result; ``patience`` is for each word of the answer, in seconds.

    Raises:
        NoDaemon: nobody listens.
        TimeoutError: it is silent for longer than ``patience``.
        AgentError: the daemon's sentence, with its exit code.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience)
        try:
            connect(connection, path)
        except TimeoutError:
            raise
        except PermissionError as error:
            raise AgentError(
                f"you may not speak with the daemon ({path}): join the group in control.group, or use sudo"
            ) from error
        except OSError as error:
            raise NoDaemon("no daemon is running; start it with `recorder-agent run` or systemctl") from error
        connection.sendall(msgspec.json.encode(request) + b"\n")
        for line in lines(connection):
            answer = MESSAGE.decode(line)
            if "event" in answer:
                on_event(answer)
            elif "error" in answer:
                raise as_failed(answer)
            else:
                return answer.get("result")
    raise AgentError("the daemon went away before it answered; look into its log")


def as_failed(answer: Message) -> AgentError:
    """Return the daemon's error as one of ours, with its exit code."""
    error = AgentError(str(answer["error"]))
    error.exit_code = int(answer.get("exit_code", 1))
    return error


def lines(connection: socket.socket) -> Iterator[bytes]:
    """Yield what arrives, a line at a time; ends with the connection or an overlong line."""
    buffer = b""
    while chunk := connection.recv(65536):
        buffer += chunk
        while b"\n" in buffer:
            line, buffer = buffer.split(b"\n", 1)
            yield line
        if len(buffer) > LONGEST_LINE:
            return
