"""One line to one kind of host: HTTP/1.1, one kept-alive connection, one call at a time, cut from any thread.

Whatever stalls a call ends by itself: connecting and the TLS handshake by the connect time-out, each read
and write by its own, a dribbled answer by the ``answer`` deadline, a huge one by the cap. ``abort`` ends all
of them at once, except a name being resolved and a TCP connection being made, which no thread can interrupt:
the thread that calls must be one that the end of the process does not wait for.

No request is repeated here: a complete whose answer was lost must be known to who asked (api.md section 4).
"""

import contextlib
import logging
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import httpcore
import httpx

from agent import bounds
from agent.api.answers import Answer
from agent.api.errors import AGAIN, Aborted, ApiFailure, NotSent, Offline, OfflineKind
from agent.api.responses import coding_of, headers_of, uncompressed
from agent.api.transport.alarms import Alarms
from agent.api.transport.dual_stack import PatientBackend
from agent.api.transport.inside_httpx import errors_of_httpx, has_leftovers, pool_for, use_backend
from agent.api.transport.outage import outage
from agent.api.transport.socket_tracker import SocketTracker
from agent.api.transport.upload_body import Sending
from agent.api.urls import host_of, parse
from agent.errors import AgentError, ConfigError

_CLOSE_SECONDS = 5.0


class Timeouts(NamedTuple):
    """All in seconds."""

    connect: float = 10.0
    """For each address of a host."""
    read: float = 60.0
    write: float = 60.0
    answer: float = 120.0
    """From the request's last byte to the answer's last byte."""
    keepalive: float = 45.0
    """An idle connection is given up before usual load balancers (60 s) close it under a request."""
    other_family: float = 2.0
    """For the addresses of one family (IPv6, IPv4), when the host has addresses of the other too."""
    least_rate: float = 1000.0
    """Bytes a second that an upload must make, the owner's own limit aside."""
    rate_window: float = 30.0
    """Over so long the rate is judged."""

    @property
    def of_httpx(self) -> httpx.Timeout:
        """What httpx itself keeps of them."""
        return httpx.Timeout(connect=self.connect, read=self.read, write=self.write, pool=self.connect)


class HttpConnection:
    """Sends requests one after another and reads each answer whole; thread-safe."""

    def __init__(
        self,
        tls: ssl.SSLContext,
        timeouts: Timeouts,
        user_agent: str,
        *,
        send_buffer: int | None = None,
        meter: Callable[[int], object] = lambda _bytes: None,
    ) -> None:
        for name in ("httpx", "httpcore"):  # they log URLs with their query, and headers
            logging.getLogger(name).setLevel(logging.WARNING)
        self._timeouts = timeouts
        self._alarms = Alarms("call watch")
        self._sockets = SocketTracker(timeouts.answer, send_buffer, self._alarms, meter)
        self._turn = threading.Lock()
        self._client = _client(tls, timeouts)
        self._headers = {"Connection": "keep-alive", "User-Agent": user_agent}
        self._extensions = {"timeout": timeouts.of_httpx.as_dict(), "trace": self._sockets.trace}
        use_backend(self._client, PatientBackend(timeouts.other_family))

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | Sending | None = None
    ) -> Answer:
        """Return the answer to one request; a ``Sending`` as body needs a ``Content-Length`` among the headers.

        Raises:
            Offline: no whole answer came.
            TooSlow: the body was not taken at the least rate, or not within its time.
            NotSent: the request could not be built.
            Aborted: the line was cut.
            AgentError, OSError, sqlite3.Error: what the ``Sending`` itself raised.
        """
        with self._turn:
            return self._send(method, url, headers, body)

    def wake(self) -> None:
        """Give up a connection that may lead nowhere: an idle one, or one whose own address is not used any more.

        A call under way on a connection that still leads to the other side goes on.
        """
        if self._turn.acquire(blocking=False):
            try:
                self._sockets.cut()
            finally:
                self._turn.release()
        else:
            self._sockets.cut_stranded()

    def abort(self) -> None:
        """End the call under way and refuse all later ones; may be called from any thread."""
        self._sockets.abort()

    def close(self) -> None:
        """Abort, and let go of the connection once the call under way has ended (at most 5 s)."""
        self.abort()
        if self._turn.acquire(timeout=_CLOSE_SECONDS):
            try:
                self._client.close()
            finally:
                self._turn.release()

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | Sending | None
    ) -> Answer:
        answer: Answer | None = None
        failure: AgentError | None = None
        sending = body if isinstance(body, Sending) else None
        if self._sockets.aborted:
            raise _aborted()
        self._sockets.begin()
        try:
            target = parse(url)
            request = self._request(method, target, headers, body)
            with sending.watched(self._alarms, self._sockets.cut) if sending else contextlib.nullcontext():
                answer = self._exchange(target, request)
        except (httpx.HTTPError, UnicodeError) as error:
            # Raised below, outside of this handler: the error's chain holds the request with its secrets.
            failure = outage(error, host_of(url), proxy=self._proxy_in_use(url))
        except Exception as error:
            # Whatever a library raises for a value from outside is a failure of this one call, never of a thread.
            if sending is not None and sending.raised is error:
                raise
            failure = _not_sent(error, url)
        finally:
            self._sockets.end()
        if self._sockets.aborted:
            raise _aborted()
        if sending is not None:
            sending.raise_why_it_was_cut(host_of(url))
        if self._sockets.expired:
            raise Offline(
                f"{host_of(url)} did not end its answer in {self._timeouts.answer:g} s",
                "check the network.",
                kind=OfflineKind.TIMEOUT,
            )
        if failure is not None:
            raise failure
        if answer is None:
            raise AssertionError("a call ends with an answer or a failure")
        return answer

    def _request(
        self, method: str, url: httpx.URL, headers: Mapping[str, str], body: bytes | Sending | None
    ) -> httpcore.Request:
        given = {"Host": url.netloc.decode("ascii"), **self._headers}
        if not isinstance(body, Sending) and method != "HEAD":
            given["Content-Length"] = str(len(body or b""))
        by_name = {name.lower(): (name, value) for name, value in (*given.items(), *headers.items())}
        return httpcore.Request(
            method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=[(name.encode("ascii"), value.encode("ascii")) for name, value in by_name.values()],
            content=body,
            extensions=self._extensions,
        )

    def _exchange(self, url: httpx.URL, request: httpcore.Request) -> Answer:
        with errors_of_httpx():
            response = pool_for(self._client, url).handle_request(request)
            try:
                return _read(response.status, response.headers, response.iter_stream())
            finally:
                response.close()
                if has_leftovers(self._client):
                    self._sockets.cut()

    def _proxy_in_use(self, url: str) -> str | None:
        peer = self._sockets.peer
        return None if peer is None or peer == parse(url).host else peer


def _read(status: int, given: list[tuple[bytes, bytes]], chunks: Iterable[bytes]) -> Answer:
    headers, body = headers_of(given), bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > bounds.ANSWER_BYTES:
            return Answer(status, headers, bytes(body[: bounds.ANSWER_BYTES]), truncated=True)
    plain = uncompressed(bytes(body), coding_of(given))
    return Answer(status, headers, bytes(body) if plain is None else plain, truncated=plain is None)


def _not_sent(error: Exception, url: str) -> ApiFailure:
    return NotSent(
        f"The request to {host_of(url)} could not be made ({type(error).__name__})",
        "it is tried again later.",
    )


def _aborted() -> Aborted:
    return Aborted("The call was cut short because the agent is stopping", AGAIN)


def _client(tls: ssl.SSLContext, timeouts: Timeouts) -> httpx.Client:
    try:
        return httpx.Client(
            verify=tls,
            limits=httpx.Limits(
                max_connections=1, max_keepalive_connections=1, keepalive_expiry=timeouts.keepalive
            ),
            mounts={"http://": None},  # plain http is loopback: never through the environment's proxy
        )
    except (ImportError, ValueError, httpx.InvalidURL):
        # Their words may hold the proxy's password.
        raise ConfigError(
            "A proxy of the environment (HTTPS_PROXY, ALL_PROXY) cannot be used",
            "give it as http://host:port.",
        ) from None
