"""Faults scripted per call: a delay, another answer, or none at all."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct, field
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from agent.sandbox.web.answers import NoAnswer

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class Call(StrEnum):
    """What a client can ask the sandbox for."""

    CREATE = "create"
    UPLOAD_URL = "upload_url"
    PUT = "put"
    COMPLETE = "complete"
    HEARTBEAT = "heartbeat"
    REFRESH = "refresh"
    PROBE = "probe"
    """HEAD or GET of the base URL."""
    ANY = "any"
    """In a fault: whatever is called next."""


class Fault(Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to the next ``times`` calls of a kind; a fault with only these two lets them pass."""

    call: Call
    times: Annotated[int, Meta(ge=1)] | None = 1
    """None is for ever."""
    status: Annotated[int, Meta(ge=200, le=599)] | None = None
    """Answer with this status; None is the regular answer."""
    body: Any = None
    """With a status: a text is sent as it is (HTML), anything else as JSON, None as nothing."""
    headers: dict[str, str] = field(default_factory=dict)
    """With a status: headers of the answer; a Content-Type wins over the one of the body."""
    work: bool = False
    """True: the work is done before the scripted answer is given, as behind a proxy that gave up."""
    drop: Literal["before", "after"] | None = None
    """Close the connection without an answer, instead of the work or after it."""
    delay_seconds: Annotated[float, Meta(ge=0)] = 0.0
    """Wait before anything else."""

    async def play(self, request: Request, handler: Handler) -> Response:
        """Return the answer that the script asks for."""
        await asyncio.sleep(self.delay_seconds)
        if self.drop == "before":
            return NoAnswer()
        if self.status is not None and not self.work and self.drop is None:
            return self._answer(self.status)
        regular = await handler(request)
        if self.drop == "after":
            return NoAnswer()
        return regular if self.status is None else self._answer(self.status)

    def _answer(self, status: int) -> Response:
        if self.body is None:
            return Response(None, status, self.headers)
        if isinstance(self.body, str):
            return HTMLResponse(self.body, status, self.headers)
        return JSONResponse(self.body, status, self.headers)


class Faults:
    """The script: each call takes the first fault that fits. May be changed from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._script: list[Fault] = []

    def add(self, *faults: Fault) -> None:
        """Append to the script."""
        with self._lock:
            self._script.extend(faults)

    def clear(self) -> None:
        """Forget the script."""
        with self._lock:
            self._script.clear()

    def pending(self) -> list[Fault]:
        """Return what has not happened yet."""
        with self._lock:
            return list(self._script)

    def take(self, call: Call) -> Fault | None:
        """Return the fault for this call and count it down, None when the call goes its regular way."""
        with self._lock:
            for index, fault in enumerate(self._script):
                if fault.call not in {call, Call.ANY}:
                    continue
                if fault.times == 1:
                    del self._script[index]
                elif fault.times is not None:
                    self._script[index] = msgspec.structs.replace(fault, times=fault.times - 1)
                return fault
        return None

    def scripted(self, call: Call, handler: Handler) -> Handler:
        """Return the handler with the script in front of it."""

        async def endpoint(request: Request) -> Response:
            fault = self.take(call)
            return await (handler(request) if fault is None else fault.play(request, handler))

        return endpoint
