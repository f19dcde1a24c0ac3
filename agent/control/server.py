"""The local socket: where a process is asked, by people, by members of a group, and by the other process.

One thread takes connections and reads requests, whoever sends what; a request that is whole is answered in a thread
of its own. Whoever connects can hold up neither: connections are few, one that asks nothing is cut, and makes room
before that for one that comes; lines are short; and what is read passes ``messages``.
"""

import contextlib
import os
import queue
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from agent.control.client import NotRunning, ask
from agent.control.messages import REQUEST_BYTES, USAGE, Message, Request, encoded, request_of
from agent.control.peer import Handler, Peer, failed, say_at_once, share_with
from agent.errors import AgentError
from agent.hints import restart
from agent.log import Failures, get_logger
from agent.process.state_directory import bind

__all__ = ["ControlServer", "Handler", "Message", "NotRunning", "Peer", "Request", "ask"]

log = get_logger(__name__)

CONNECTIONS = 32
CONNECTIONS_OF_OTHERS = 24
"""Of those, so many may be of other users than our own and root: the owner is always heard."""
IDLE_SECONDS = 10.0
"""Without a whole request for so long a connection is cut."""
SEND_SECONDS = 5
"""An asking side that has not read for so long is taken for gone."""
BACKLOG = 16
RETRY_SECONDS = 5.0
"""When it can have no socket it is tried again so much later."""
SHORT_SECONDS = 0.5
"""When there is no descriptor for a connection it waits so long in the backlog."""
_BUSY = 75
_TOO_MANY = failed("recorder-agent is busy with too many others", _BUSY, "try again later") | {"busy": True}
"""For those that were not listened to: they may try again."""
_TIME = struct.Struct("@ll")
"""``struct timeval``."""


class _Connection:
    """One connection; while ``is_busy`` it belongs to the thread that answers."""

    def __init__(self, peer_socket: socket.socket, idle_since: float) -> None:
        self.socket = peer_socket
        self.peer = Peer(peer_socket)
        self.is_owner = self.peer.is_admin()
        self.buffer = bytearray()
        self.idle_since = idle_since
        self.is_busy = False


class ControlServer:
    """Answers commands until ``close``; its owner, root and a group may ask.

    A socket that cannot be had now (a foreign thing at its path, no right to the folder) is said, and tried again:
    whoever is served here does not depend on being asked.
    """

    def __init__(
        self,
        path: Path,
        handlers: dict[str, Handler],
        *,
        group: str = "",
        admin_commands: Collection[str] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._handlers = handlers
        self._group = group
        self._admin_commands = admin_commands
        self._monotonic = monotonic
        self._connections: dict[int, _Connection] = {}
        self._answered: queue.SimpleQueue[_Connection] = queue.SimpleQueue()
        self._accepts_at = 0.0
        self._is_closed = False
        self._shortage = Failures(log)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.epoll()
        self._poll.register(self._wake, select.EPOLLIN)
        self._listener: socket.socket | None = None
        self._listen()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and remove the socket; what is being answered goes on."""
        self._is_closed = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()

    # the thread that takes connections and reads

    def _run(self) -> None:
        try:
            while not self._is_closed:
                try:
                    self._turn()
                except Exception:  # one connection's, whatever it was: the others can still ask
                    log.exception("asking failed", action="control_failed")
                    time.sleep(SHORT_SECONDS)
        finally:
            if self._listener is not None:
                self._listener.close()
                with contextlib.suppress(OSError):
                    self.path.unlink()
            for connection in self._idle():
                self._drop(connection)
            self._poll.close()

    def _turn(self) -> None:
        """Wait for something, and do it."""
        for descriptor, _ in self._poll.poll(self._seconds()):
            connection = self._connections.get(descriptor)
            if descriptor == self._wake:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._wake)
            elif self._listener is not None and descriptor == self._listener.fileno():
                self._accept(self._listener)
            elif connection is not None and not connection.is_busy:
                self._read(connection)
        with contextlib.suppress(queue.Empty):
            while True:
                self._resume(self._answered.get_nowait())
        now = self._monotonic()
        for connection in self._idle():
            if now - connection.idle_since >= IDLE_SECONDS:
                self._drop(connection)
        if self._accepts_at and now >= self._accepts_at:
            self._accepts_at = 0.0
            if self._listener is None:
                self._listen()
            else:
                self._poll.register(self._listener, select.EPOLLIN)

    def _idle(self) -> list[_Connection]:
        """Return the connections that are not being answered, the one that has been idle longest first."""
        idle = [each for each in self._connections.values() if not each.is_busy]
        return sorted(idle, key=lambda each: each.idle_since)

    def _seconds(self) -> float | None:
        """Return how long nothing has to be done; None: until something comes."""
        due = [each.idle_since + IDLE_SECONDS for each in self._idle()[:1]]
        if self._accepts_at:
            due.append(self._accepts_at)
        return max(0.0, min(due) - self._monotonic()) + 0.001 if due else None

    def _listen(self) -> None:
        listener = None
        try:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            bind(listener, self.path)
            if self._group:
                share_with(self.path, self._group)
            listener.listen(BACKLOG)
            listener.setblocking(False)
            self._poll.register(listener, select.EPOLLIN)
            self._listener = listener
        except OSError as error:
            if listener is not None:
                listener.close()
            self._accepts_at = self._monotonic() + RETRY_SECONDS
            log.error(
                "nobody can ask this process: it can have no socket; tried again",
                action="control_unavailable",
                path=str(self.path),
                error=error,
            )

    def _accept(self, listener: socket.socket) -> None:
        try:
            peer_socket, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # no descriptor, no memory: what waits in the backlog goes on waiting
            self._rest(error)
            return
        self._shortage.ended()
        try:
            peer_socket.setblocking(True)
            peer_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIME.pack(SEND_SECONDS, 0))
            connection = _Connection(peer_socket, self._monotonic())
        except OSError:
            peer_socket.close()
            return
        if not self._make_room(connection):
            say_at_once(peer_socket, _TOO_MANY)
            peer_socket.close()
            return
        self._connections[peer_socket.fileno()] = connection
        self._poll.register(peer_socket, select.EPOLLIN)
        self._read(connection)

    def _rest(self, error: OSError) -> None:
        self._shortage.failed("no connection can be taken", action="control_busy", error=error)
        if self._listener is not None:
            self._poll.unregister(self._listener)
        self._accepts_at = self._monotonic() + SHORT_SECONDS

    def _make_room(self, new: _Connection) -> bool:
        """See that a connection may be taken in, if need be in the place of the one that has been idle longest."""
        others = sum(not each.is_owner for each in self._connections.values())
        if new.is_owner:
            if len(self._connections) < CONNECTIONS:
                return True
            idle = self._idle()
            idle.sort(key=lambda each: each.is_owner)  # strangers first
        else:
            if others < CONNECTIONS_OF_OTHERS and len(self._connections) < CONNECTIONS:
                return True
            idle = [each for each in self._idle() if not each.is_owner]
        if idle:
            say_at_once(idle[0].socket, _TOO_MANY)
            self._drop(idle[0])
        return bool(idle)

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(REQUEST_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        connection.buffer += data
        self._answer_next(connection)

    def _answer_next(self, connection: _Connection) -> None:
        """Have the next whole request answered."""
        buffer = connection.buffer
        end = buffer.find(b"\n", 0, REQUEST_BYTES)
        if end < 0:
            if len(buffer) >= REQUEST_BYTES:
                say_at_once(
                    connection.socket,
                    failed(f"a request has at most {REQUEST_BYTES} bytes", USAGE, "send less"),
                )
                self._drop(connection)
            return
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        connection.is_busy = True
        self._poll.unregister(connection.socket)
        thread = threading.Thread(
            target=self._serve, args=(connection, line), name="control-peer", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            connection.is_busy = False
            self._poll.register(connection.socket, select.EPOLLIN)
            say_at_once(
                connection.socket,
                failed("recorder-agent has no thread to answer with", _BUSY, "try again later"),
            )
            self._drop(connection)

    def _resume(self, connection: _Connection) -> None:
        """Listen again to a connection that was answered."""
        connection.is_busy = False
        connection.idle_since = self._monotonic()
        self._poll.register(connection.socket, select.EPOLLIN)
        self._answer_next(connection)

    def _drop(self, connection: _Connection) -> None:
        descriptor = connection.socket.fileno()
        self._connections.pop(descriptor, None)
        with contextlib.suppress(OSError, ValueError):
            self._poll.unregister(descriptor)
        connection.socket.close()

    # the threads that answer

    def _serve(self, connection: _Connection, line: bytes) -> None:
        try:
            connection.socket.sendall(self._answer(line, connection.peer))
        except OSError:  # nobody reads: the thread above finds it closed
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        finally:
            if self._is_closed:
                connection.socket.close()
            else:
                self._answered.put(connection)
                os.eventfd_write(self._wake, 1)

    def _answer(self, line: bytes, peer: Peer) -> bytes:
        command = ""
        try:
            request = request_of(line)
            command = request.command
            handler = self._handlers.get(request.command)
            if handler is None:
                raise AgentError(
                    f"this recorder-agent does not know the command {request.command!r}", restart()
                )
            if request.command in self._admin_commands and not peer.is_admin():
                raise AgentError(
                    "this decides over recordings or the token, which the group may not", "use sudo"
                )
            return encoded({"result": handler(request, peer)})
        except AgentError as error:
            return encoded(failed(error.message, error.exit_code, error.hint))
        except Exception as error:  # whatever it was, it is this command's, and the process goes on
            log.exception("a command failed", action="control_failed", command=command)
            return encoded(failed(f"recorder-agent failed at this command ({error})", 1, "its log says more"))
