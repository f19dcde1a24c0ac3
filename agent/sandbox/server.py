"""The sandbox as a running server, in a thread of its own."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp

from agent.config.values import is_loopback_host
from agent.errors import AgentError
from agent.sandbox.faults import Faults
from agent.sandbox.model import Switches
from agent.sandbox.state import State
from agent.sandbox.storage import Presigner, Storage
from agent.sandbox.web.app import build_app
from agent.sandbox.web.connection import DroppableConnection
from agent.sandbox.web.requestlog import RequestLog
from agent.sandbox.web.tls import Authority, reachable_name

START_SECONDS = 10.0
STOP_SECONDS = 10.0


class SandboxServer:
    """A sandbox over a directory; use it as a context manager, or ``start`` and ``stop`` it.

    ``port`` 0 takes a free one and keeps it over a restart. TLS is on where asked for and on every host that
    is not loopback, since an agent sends its token nowhere else in the clear. ``state`` and ``faults`` may be
    changed while it runs; both switches and faults outlive ``restart``, all else is then read again.

    Raises:
        AgentError: the directory cannot be used, its state cannot be read, or the port is taken.
    """

    def __init__(
        self,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: bool = False,
        now: Callable[[], float] = time.time,
        console: Callable[[str], None] | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self.host = host
        self.port = port
        self.tls = tls or not is_loopback_host(host)
        self.switches = Switches()
        self.faults = Faults()
        self._now = now
        self._console = console
        self.storage_url: str | None = None
        """Where upload URLs point instead of here, if set before it starts."""
        self._running: _Running | None = None
        try:
            self.objects.mkdir(parents=True, exist_ok=True)
            self.state = State(self.directory, self.switches, now)
        except OSError as error:
            raise AgentError(
                f"The sandbox cannot use {self.directory} ({error.strerror})", "choose another --directory."
            ) from error

    @property
    def objects(self) -> Path:
        """The folder of the stored objects."""
        return self.directory / "objects"

    @property
    def ca_file(self) -> Path | None:
        """The authority that a client has to trust, None without TLS."""
        return Authority(self.directory).ca_file if self.tls else None

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        name = reachable_name(self.host)
        return f"{'https' if self.tls else 'http'}://{f'[{name}]' if ':' in name else name}:{self.port}"

    @property
    def base_url(self) -> str:
        """What an agent is given as ``api.base_url``."""
        return f"{self.origin}/v1"

    def start(self) -> None:
        """Listen, and return when requests are answered."""
        listener = self._listen()
        self.port = listener.getsockname()[1]
        self._running = _Running(self._config(), listener)

    def stop(self) -> None:
        """End at once, as a power cut would: open connections are cut, half-done PUTs leave nothing."""
        running, self._running = self._running, None
        if running is not None:
            running.end()

    def restart(self) -> None:
        """Stop, read the state from the directory again, and listen on the same port."""
        self.stop()
        self.state = State(self.directory, self.switches, self._now)
        self.start()

    def requests(self) -> list[dict[str, Any]]:
        """Return the lines of ``requests.jsonl``, oldest first."""
        path = self.directory / "requests.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listener = socket.create_server((self.host, self.port), family=family)
        except OSError as error:
            raise AgentError(
                f"The sandbox cannot listen on {self.host} port {self.port} ({error.strerror})",
                "choose another --port or --host.",
            ) from error
        # Inherited by its connections: asyncio does not set it on those, and each answer would take 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener

    def build(self) -> ASGIApp:
        """Return the application over the present state."""
        presigner = Presigner(self.state.book.entries.secret, self._now)
        storage = Storage(self.objects, self.state.recordings, presigner)
        app = build_app(self.state, self.faults, storage, presigner, self.storage_url)
        return RequestLog(app, self.directory / "requests.jsonl", self._now, self._console)

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self.build(),
            http=DroppableConnection,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            date_header=False,
            ssl_certfile=Authority(self.directory).certify(self.host) if self.tls else None,
        )


class _Running(uvicorn.Server):
    """uvicorn in a thread: constructed when it is up, ended by ``end``."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config)
        self._listener = listener
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._serve_thread, name="sandbox", daemon=True)
        self._thread.start()
        if not self._up.wait(START_SECONDS) or not self.started:
            self.should_exit = True
            raise AgentError("The sandbox did not start", "its server reported the reason on stderr.")

    def end(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join(STOP_SECONDS)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        self._up.set()

    async def main_loop(self) -> None:
        # uvicorn's own looks ten times a second whether to end.
        await self._ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # An accept under way needs its asyncio server open, or its socket is left open for ever.
        self._loop.remove_reader(self._listener)
        await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()
        # Twice: a connection that is just being accepted turns up in the second round.
        for _ in range(2):
            await asyncio.sleep(0)
            for connection in list(self.server_state.connections):
                if isinstance(connection, DroppableConnection):
                    connection.drop()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    def _serve_thread(self) -> None:
        try:
            self.run(sockets=[self._listener])
        finally:
            self._listener.close()
            self._up.set()
