"""The recordings API as a device with a token meets it: typed calls, each a result or one ``ApiFailure``.

The token goes to the API host alone: storage has a line of its own that never knows it. Plain http is refused
except to loopback, redirects are never followed, and no URL's query reaches a log or an error.
"""

import ssl
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, BinaryIO

import msgspec

from agent import __version__
from agent.api import headers, results, verdicts
from agent.api.admission import Admission, AdmitAll
from agent.api.answers import Answer, Call, Completion, Created, UploadUrl
from agent.api.device_token import Token
from agent.api.errors import (
    Aborted,
    ApiFailure,
    InvalidResponse,
    Offline,
    Unauthorized,
    UnusableAnswer,
    UploadRefused,
)
from agent.api.headers import ServerDate
from agent.api.responses import fields_of
from agent.api.transport.http import HttpConnection, Timeouts
from agent.api.transport.upload_body import PACED_CHUNK, Sending, Slowest
from agent.api.uploads import Uploads
from agent.api.urls import base_url, check_storage_url, host_of, is_loopback, segment
from agent.clock import Clock
from agent.config.schema import ApiConfig
from agent.errors import AgentError, ConfigError
from agent.hints import typed
from agent.log import get_logger

__all__ = [
    "PACED_CHUNK",
    "RecordingsApi",
    "ServerDate",
    "Timeouts",
    "UploadUrl",
]

log = get_logger(__name__)

USER_AGENT = f"recorder-agent/{__version__}"
REACHABLE = "question whether it can be reached"
"""The call that tells an outage of storage from one of the network."""
_SEND_BUFFER = 64 * 1024
_TOKEN_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class RecordingsApi:
    """The client. Thread-safe: one API call and one PUT at a time, each on its own kept-alive connection."""

    def __init__(
        self,
        settings: ApiConfig,
        token: Callable[[], Token],
        clock: Clock,
        *,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - immutable
        admission: Admission | None = None,
        meter: Callable[[int], object] = lambda _bytes: None,
    ) -> None:
        """Open nothing yet; the token is asked for with every call. ``meter`` gets the bytes that cross the network.

        Raises:
            ConfigError: the base URL, the CA file or a proxy of the environment cannot be used.
        """
        self._base = base_url(settings.base_url)
        self._is_here = is_loopback(self._base)
        self._content_type = settings.content_type
        self._token = token
        self._clock = clock
        self._admission = admission or AdmitAll()
        self._turn = threading.Lock()
        """Held from a call's admission to its answer: no call is admitted on what an answer is about to change."""
        self._seen = threading.Lock()
        self._last_date: ServerDate | None = None
        self._timeouts = timeouts
        tls = _trust(settings.ca_file)
        self._api = HttpConnection(tls, timeouts, USER_AGENT, meter=meter)
        # Without a small buffer a slow line swallows megabytes at once and then seems to stall for minutes.
        self._storage = HttpConnection(tls, timeouts, USER_AGENT, send_buffer=_SEND_BUFFER, meter=meter)
        self._uploads = Uploads(self._storage, self._admission, clock, self._is_reachable)

    @property
    def last_date(self) -> ServerDate | None:
        """The ``Date`` of the latest answer of the API host, None before there was one."""
        with self._seen:
            return self._last_date

    def create(self, key: str, body: Mapping[str, Any]) -> Created:
        """Create a recording; the same idempotency key and body again are the same recording (api.md section 1).

        Raises:
            ApiFailure: it was not created, or the answer was lost.
        """
        answer, call = self._post("create", "/recordings", body, {"Idempotency-Key": key})
        return results.created(answer, call)

    def upload_url(
        self, remote_id: str, *, content_type: str, size_bytes: int, captured_at: str | None
    ) -> UploadUrl:
        """Ask where to PUT a finished file (api.md section 2); each call makes a new media row.

        Raises:
            ApiFailure: there is no URL that can be used.
        """
        body: dict[str, Any] = {"type": "audio", "content_type": content_type, "file_size_bytes": size_bytes}
        if captured_at is not None:
            body["captured_at"] = captured_at
        answer, call = self._post("upload URL request", f"/recordings/{segment(remote_id)}/upload-url", body)
        upload_url = results.upload_url(answer, call, content_type or self._content_type)
        try:
            check_storage_url(upload_url.url, loopback=self._is_here)
        except InvalidResponse as error:
            raise UnusableAnswer(
                error.message, "it is asked for again later.", status=answer.status
            ) from None
        return upload_url

    def put(
        self,
        upload_url: UploadUrl,
        file: BinaryIO,
        size: int,
        on_progress: Callable[[int], None] | None = None,
        *,
        pace: Callable[[int], None] | None = None,
        life: float | None = None,
        may_not: Callable[[], AgentError | None] = lambda: None,
    ) -> None:
        """Upload ``size`` bytes of ``file`` from where it stands (api.md section 3).

        ``on_progress`` gets the bytes sent so far after each piece. ``pace`` gets the length of each piece
        before it is sent and may wait; it must itself end its wait when the agent stops. ``life`` is what is left
        of the URL's life in seconds, all of it by default: the upload ends with it, or below the least rate; and it
        ends with the error that ``may_not`` gives, once it gives one.

        Raises:
            UnreadableFile: the file is shorter than ``size``, or cannot be read.
            StorageUnreachable: storage cannot be reached or is too slow, and the API can be reached.
            ApiFailure: storage has not taken the file.
        """
        try:
            check_storage_url(upload_url.url, loopback=self._is_here)
        except InvalidResponse as error:
            raise UploadRefused(error.message, "a fresh one is needed.", status=None) from None
        sending = Sending(
            file,
            size,
            Slowest(
                life=upload_url.lifetime if life is None else life,
                least_rate=self._timeouts.least_rate,
                window=self._timeouts.rate_window,
            ),
            on_progress=on_progress,
            pace=pace,
            may_not=may_not,
        )
        self._uploads.put(upload_url, sending)

    def _is_reachable(self) -> bool:
        """Ask for the base URL's head: anything but a redirect or a proxy's word is an answer of the API."""
        try:
            answer = self._exchange(REACHABLE, "HEAD", self._base, {}, None, urgent=True)
        except Aborted:
            raise
        except Offline:
            return False
        except ApiFailure:
            return True  # it has asked for a pause, so it is there
        return verdicts.is_success(answer.status) or not verdicts.is_interception(answer.status)

    def complete(self, remote_id: str, sha256: str) -> Completion:
        """Say that the audio is uploaded; ``sha256`` is its 64 hex digits (api.md section 4).

        Raises:
            StillVerifying, Conflict, InvalidResponse, ApiFailure: see the verdict table.
        """
        path = f"/recordings/{segment(remote_id)}/upload-complete"
        answer, call = self._post("complete", path, {"content_sha256": sha256.lower()})
        return results.completion(answer, call, remote_id, sha256)

    def heartbeat(self, body: Mapping[str, Any], *, urgent: bool = False) -> dict[str, Any]:
        """Send a heartbeat and return the commands and firmware offers of its answer (api.md section 6).

        An ``urgent`` one does not wait for the budget.

        Raises:
            ApiFailure: the API did not take it.
        """
        answer, call = self._post("heartbeat", "/devices/me/heartbeat", body, urgent=urgent)
        verdicts.succeeded(answer, call)
        fields = None if answer.truncated else fields_of(answer.body)
        if fields is None:
            return {}
        status = fields.text("status")
        return fields.commands() | ({} if status is None else {"status": status})

    def refresh(self, device_id: str) -> str:
        """Exchange the token for a new one and return that; the old one is dead at once (api.md section 7).

        Raises:
            ApiFailure: no new token came; the old one may be dead when the answer was lost.
        """
        answer, call = self._post("token refresh", f"/devices/{segment(device_id)}/token/refresh", None)
        return results.device_token(answer, call)

    def ask_date(self) -> None:
        """Ask for the base URL's head, without the token: any answer sets ``last_date``.

        Raises:
            Offline: there was none.
        """
        self._exchange("question for the time", "HEAD", self._base, {}, None)

    def wake(self) -> None:
        """Give up idle and stranded connections: the network has changed, and they lead nowhere."""
        self._api.wake()
        self._storage.wake()

    def abort(self) -> None:
        """End all calls at once with ``Aborted``, for good; may be called from any thread."""
        self._admission.stop()
        self._api.abort()
        self._storage.abort()

    def close(self) -> None:
        """Abort, and let go of the connections."""
        self.abort()
        self._api.close()
        self._storage.close()

    def _post(
        self,
        what: str,
        path: str,
        body: Mapping[str, Any] | None,
        extra: Mapping[str, str] | None = None,
        *,
        urgent: bool = False,
    ) -> tuple[Answer, Call]:
        token = _sendable(self._token())
        given = {"Authorization": f"Bearer {token}", "Accept": "application/json", **(extra or {})}
        content = None
        if body is not None:
            given["Content-Type"] = "application/json"
            content = msgspec.json.encode(body)
        answer = self._exchange(what, "POST", self._base + path, given, content, urgent=urgent)
        if answer.status in _TOKEN_REFUSED and body is not None:
            fresh = _sendable(self._token())
            if fresh != token:  # it took the other's place while this call waited for its turn
                token, given["Authorization"] = fresh, f"Bearer {fresh}"
                answer = self._exchange(what, "POST", self._base + path, given, content, urgent=urgent)
        return answer, Call(what, host_of(self._base), self._clock.wall(), token)

    def _exchange(
        self,
        what: str,
        method: str,
        url: str,
        given: Mapping[str, str],
        content: bytes | None,
        *,
        urgent: bool = False,
    ) -> Answer:
        while True:
            with self._turn:
                wait = self._admission.admit(what, urgent=urgent)
                if wait <= 0:
                    return self._admitted(what, method, url, given, content)
            self._admission.wait(wait)

    def _admitted(
        self, what: str, method: str, url: str, given: Mapping[str, str], content: bytes | None
    ) -> Answer:
        began = self._clock.monotonic()
        answer = self._api.send(method, url, {**given, "Accept-Encoding": "identity"}, content)
        ended, wall = self._clock.monotonic(), self._clock.wall()
        log.debug(
            "the api answered",
            action="api_answer",
            method=method,
            path=url.removeprefix(self._base),
            status=answer.status,
            seconds=round(ended - began, 3),
        )
        server = headers.server_time(answer.headers)
        limit = headers.rate_limit(answer.headers, wall, ended)
        with self._seen:
            if server is not None:
                self._last_date = ServerDate(server, wall, ended, ended - began)
        self._admission.answered(what, answer.status, limit, headers.pause(answer.headers, wall))
        return answer


def _sendable(token: Token) -> str:
    text = token.reveal()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise Unauthorized(
            "The device token holds characters that cannot be sent",
            f"set it with {typed('token set')}.",
            status=None,
        )
    return text


def _trust(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(
            f"api.ca_file {ca_file} cannot be used ({why})", "give a readable PEM file."
        ) from error
