"""The PUT of a file to storage: sent, judged, and where there is no answer, whose outage that is (api.md section 3)."""

from collections.abc import Callable
from http import HTTPStatus

from agent.api import headers, verdicts
from agent.api.admission import Admission
from agent.api.answers import Answer, Call, UploadUrl
from agent.api.errors import Offline, StorageUnreachable
from agent.api.transport.http import HttpConnection
from agent.api.transport.upload_body import Sending, TooSlow
from agent.api.urls import host_of
from agent.clock import Clock
from agent.log import get_logger

log = get_logger(__name__)


class Uploads:
    """Sends files over a connection of its own, which never knows the token; ``is_reachable`` asks the API's host."""

    def __init__(
        self,
        connection: HttpConnection,
        admission: Admission,
        clock: Clock,
        is_reachable: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._admission = admission
        self._clock = clock
        self._is_reachable = is_reachable

    def put(self, upload_url: UploadUrl, sending: Sending) -> None:
        """Send a body; return when storage has taken it.

        Raises:
            StorageUnreachable: storage cannot be reached or is too slow, and the API can be reached.
            ApiFailure: storage has not taken the file.
        """
        host = host_of(upload_url.url)
        answer = self._answer(upload_url, sending, host)
        log.debug(
            "storage answered", action="storage_answer", host=host, status=answer.status, bytes=sending.size
        )
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            asked = headers.pause(answer.headers, self._clock.wall())
            self._admission.answered("upload", answer.status, None, asked)
        verdicts.stored(answer, Call("upload", host, self._clock.wall()))

    def _answer(self, upload_url: UploadUrl, sending: Sending, host: str) -> Answer:
        """Return storage's answer; where there is none, it is asked whether the API can be reached at all."""
        failure: Offline
        given = {**upload_url.headers, "Content-Length": str(sending.size)}
        try:
            return self._connection.send("PUT", upload_url.url, given, sending)
        except TooSlow as error:
            raise StorageUnreachable(error.message, "the file is sent again later.", connected=True) from None
        except Offline as error:
            failure = error
        if not self._is_reachable():
            raise failure
        log.info("the api can be reached, storage cannot", action="storage_unreachable", host=host)
        raise StorageUnreachable(
            f"Storage did not take the upload, although the API can be reached ({failure.message})",
            "it is sent again later.",
            connected=failure.connected,
        )
