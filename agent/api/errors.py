"""Why a call to the recordings API or its storage brought nothing: the classes of api.md sections 4 and 5.

    ApiFailure                  exit 1
    ├── Offline                 exit 75   nothing of the API was reached; ``kind`` says what stood in the way
    ├── Aborted                 exit 75   this agent cut the call itself, because it stops
    ├── Busy                    exit 75   408, 425, 429, 5xx: later
    │   ├── RateLimited                   429: no call at all until ``retry_after`` has passed
    │   ├── StorageBusy                   the same from storage (RequestTimeout, SlowDown, …)
    │   │   └── StorageUnreachable        storage cannot be reached, or is too slow, while the API can
    │   └── UnusableAnswer                an answer whose fields are absurd, or that cannot be read
    ├── StillVerifying          exit 75   425 on complete: repeat the identical request
    ├── Unauthorized                 exit 77   401, 403 of the API: the device token is not accepted
    ├── UploadRefused                     storage refused the upload URL: a fresh one is needed
    ├── InvalidResponse                         an answer that contradicts what was asked
    ├── NotSent                           the request could not be built or made: this call only
    ├── UnreadableFile                    the file on disk is shorter than recorded, or cannot be read
    └── RequestRejected                          other 4xx: this recording only
        ├── NotFound                      404: deleted, or of another project
        └── Conflict                      409 on complete: the server holds other bytes

``str()`` is one sentence for a person. No failure holds the device token, the query of a URL, or the request
it belongs to.
"""

from enum import StrEnum

from agent.errors import AgentError, CredentialError, StillWaiting


class OfflineKind(StrEnum):
    """What stood between the agent and the API."""

    DNS = "dns"
    """The name could not be resolved."""
    CONNECT = "connect"
    """No route, connection refused, network down."""
    TLS = "tls"
    """The certificate or the handshake is not acceptable."""
    CLOCK = "clock"
    """The certificate is not valid at the time this machine believes it to be."""
    TIMEOUT = "timeout"
    """No progress within the time allowed."""
    RESET = "reset"
    """The connection broke, or the answer was cut short or garbled."""
    PROXY = "proxy"
    """The proxy of the environment refused."""
    PORTAL = "portal"
    """Something else answered in the API's place: a captive portal, a proxy, a wrong base URL."""


_CONNECTED = frozenset({OfflineKind.TIMEOUT, OfflineKind.RESET, OfflineKind.PORTAL})


AGAIN = "it is made anew at the next start."
NOT_USED = "nothing is sent there, and another is asked for later."


class ApiFailure(AgentError):  # noqa: N818 - classes of outcomes, most of them no error of anybody
    """Base of all failures of a call; ``str()`` is the sentence for a person."""


class Offline(ApiFailure, StillWaiting):
    """The API could not be reached; uses up no recording's attempts."""

    def __init__(
        self, message: str, hint: str = "", *, kind: OfflineKind, connected: bool | None = None
    ) -> None:
        super().__init__(message, hint)
        self.kind = kind
        self.connected = kind in _CONNECTED if connected is None else connected
        """Whether the host was reached at all."""


class Aborted(ApiFailure, StillWaiting):
    """The call was cut by ``abort()`` or ``close()`` of this agent."""


class Busy(ApiFailure, StillWaiting):
    """The server asks to wait; ``retry_after`` is in seconds from now, None when it did not say."""

    def __init__(
        self, message: str, hint: str = "", *, status: int | None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        """None: there was no answer."""
        self.retry_after = retry_after


class RateLimited(Busy):
    """429: ALL calls pause until ``retry_after`` seconds from now (None: until the backoff says so)."""


class StorageBusy(Busy):
    """Storage is overloaded, or lost the upload half-way: the whole file again, later."""


class StorageUnreachable(StorageBusy):
    """The upload ended without an answer while the API can be reached: it concerns this recording alone."""

    def __init__(self, message: str, hint: str = "", *, connected: bool) -> None:
        super().__init__(message, hint, status=None)
        self.connected = connected
        """Whether the host was reached at all; else another upload URL may name a better one."""


class UnusableAnswer(Busy):
    """A 2xx that lacks what the call cannot do without; what was asked may have been done."""


class NotSent(ApiFailure):
    """A request that could not be built or made, for a reason that is neither the network's nor the API's."""


class StillVerifying(ApiFailure, StillWaiting):
    """The server is still verifying the upload: repeat the identical complete, no new PUT."""

    def __init__(self, message: str, hint: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class Unauthorized(ApiFailure, CredentialError):  # noqa: N818 - as above
    """The API does not accept the device token; ``status`` is 401 or 403, None when it was never sent."""

    def __init__(self, message: str, hint: str = "", *, status: int | None) -> None:
        super().__init__(message, hint)
        self.status = status


class UploadRefused(ApiFailure):
    """The upload URL cannot be used (expired, wrong headers, never could): a fresh one is needed."""

    def __init__(self, message: str, hint: str = "", *, status: int | None) -> None:
        super().__init__(message, hint)
        self.status = status


class InvalidResponse(ApiFailure):
    """The answer contradicts what was asked for: keep the file and say so."""


class UnreadableFile(ApiFailure):
    """The file on disk ended too early or could not be read."""


class RequestRejected(ApiFailure):
    """A 4xx that concerns this recording; ``code`` and ``words`` are the server's, cleaned and shortened."""

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        status: int,
        code: str | None = None,
        words: str = "",
        step: str = "",
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.code = code
        self.words = words
        self.step = step
        """The call that was refused, in the words of ``Call.what``."""


class NotFound(RequestRejected):
    """404: the recording was deleted in the portal, or belongs to another project."""


class Conflict(RequestRejected):
    """409 on complete: the server holds other bytes under this recording."""
