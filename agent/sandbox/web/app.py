"""The routes of the sandbox: the recordings API under ``/v1``, the storage beside it."""

import contextlib
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any, TypeAlias

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.sandbox.faults import Call, Faults, Handler
from agent.sandbox.limits import Limiter
from agent.sandbox.model import Refusal, Token, utc_text
from agent.sandbox.state import State
from agent.sandbox.storage import Presigner, Storage
from agent.sandbox.web.answers import ApiError, NoAnswer
from agent.sandbox.web.control import control_routes

_BODY_BYTES = 1_048_576

Work: TypeAlias = Callable[[Request, Token], Awaitable[Response]]


def build_app(
    state: State, faults: Faults, storage: Storage, presigner: Presigner, storage_url: str | None
) -> ASGIApp:
    """Return the whole sandbox as one ASGI application; upload URLs begin with ``storage_url`` when given."""
    api = Api(state, faults, presigner, storage_url)
    put = Route("/storage/{key:path}", faults.scripted(Call.PUT, storage.put), methods=["PUT"])

    async def refused(_: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        return ApiError(error.status_code, "not_found", error.detail).response(state.switches.error_shape)

    app = Starlette(
        routes=[*api.routes(), put, *control_routes(state, faults)],
        exception_handlers={HTTPException: refused},
    )
    return Dated(app, state.now)


class Dated:
    """ASGI middleware that gives each answer its Date, by the sandbox's clock."""

    def __init__(self, app: ASGIApp, now: Callable[[], float]) -> None:
        self._app = app
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def dated_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = formatdate(self._now(), usegmt=True).encode()
                message = {**message, "headers": [*message["headers"], (b"date", date)]}
            await send(message)

        await self._app(scope, receive, dated_send)


class Api:
    """The endpoints a device token may call."""

    def __init__(self, state: State, faults: Faults, presigner: Presigner, storage_url: str | None) -> None:
        self._state = state
        self._faults = faults
        self._presigner = presigner
        self._storage_url = storage_url
        self._limiter = Limiter(state.switches, state.now)

    def routes(self) -> list[BaseRoute]:
        """Return the routes under ``/v1``."""
        calls: list[tuple[str, Call, Work]] = [
            ("/v1/recordings", Call.CREATE, self._create),
            ("/v1/recordings/{id}/upload-url", Call.UPLOAD_URL, self._upload_url),
            ("/v1/recordings/{id}/upload-complete", Call.COMPLETE, self._complete),
            ("/v1/devices/me/heartbeat", Call.HEARTBEAT, self._heartbeat),
            ("/v1/devices/{id}/token/refresh", Call.REFRESH, self._refresh),
        ]
        keeping = {Call.CREATE: self._keeping_refusals}
        probe = self._faults.scripted(Call.PROBE, _probe)
        return [
            *(Route(path, probe, methods=["GET"]) for path in ("/v1", "/v1/")),
            *(
                Route(
                    path,
                    keeping.get(call, _as_it_is)(self._faults.scripted(call, self._guarded(call, work))),
                    methods=["POST"],
                )
                for path, call, work in calls
            ),
        ]

    def _guarded(self, call: Call, work: Work) -> Handler:
        """Return the work behind bearer check and rate limit, its refusals written as answers."""

        async def handler(request: Request) -> Response:
            limits: dict[str, str] = {}
            try:
                token = self._state.devices.authenticate(request.headers.get("authorization"))
                limits = self._limiter.admit(call)
                answer = await work(request, token)
            except ApiError as error:
                answer = error.response(self._state.switches.error_shape)
            except ClientDisconnect:
                return NoAnswer()
            answer.headers.update(limits)
            return answer

        return handler

    async def _create(self, request: Request, token: Token) -> Response:
        recordings, key = self._state.recordings, request.headers.get("idempotency-key")
        body = await read_object(request)
        first = recordings.first_answer(key, body)
        if first is None:
            return JSONResponse(recordings.create(token, body, key), 201)
        if first.refusal is None:
            return JSONResponse(first.answer, 201)
        return Response(first.refusal.text, first.refusal.status, media_type=first.refusal.content_type)

    def _keeping_refusals(self, handler: Handler) -> Handler:
        """Return the handler with its refusals kept for their keys, scripted ones too."""

        async def keeping(request: Request) -> Response:
            body = b""
            if int(request.headers.get("content-length") or 0) <= _BODY_BYTES:
                with contextlib.suppress(ClientDisconnect):
                    body = await request.body()
            answer = await handler(request)
            with contextlib.suppress(msgspec.MsgspecError):
                text = bytes(answer.body).decode("utf-8", "replace") if hasattr(answer, "body") else ""
                refusal = Refusal(answer.status_code, text, answer.headers.get("content-type"))
                key = request.headers.get("idempotency-key")
                self._state.recordings.keep_refusal(key, msgspec.json.decode(body), refusal)
            return answer

        return keeping

    async def _upload_url(self, request: Request, _: Token) -> Response:
        media = self._state.recordings.add_media(request.path_params["id"], await read_object(request))
        switches = self._state.switches
        base = self._storage_url or f"{request.url.scheme}://{request.url.netloc}/storage"
        answer: dict[str, Any] = {
            "upload_url": self._presigner.url(base, media.key, media.mime_type, switches.url_seconds),
            "expires_at": utc_text(self._state.now() + switches.url_seconds),
        }
        if switches.upload_answer == "headers":
            answer["headers"] = {"Content-Type": media.mime_type}
        else:
            answer["content_type"] = media.mime_type
        if switches.media_id:
            answer["media_id"] = media.id
        return JSONResponse(answer)

    async def _complete(self, request: Request, _: Token) -> Response:
        return JSONResponse(
            self._state.recordings.complete(request.path_params["id"], await read_object(request))
        )

    async def _heartbeat(self, request: Request, token: Token) -> Response:
        return JSONResponse(self._state.devices.heartbeat(token, await read_object(request)))

    async def _refresh(self, request: Request, token: Token) -> Response:
        if await _read(request):
            raise ApiError(400, "invalid_request", "A token refresh has no body.")
        return JSONResponse(self._state.devices.refresh(token, request.path_params["id"]))


def _as_it_is(handler: Handler) -> Handler:
    return handler


async def _probe(_: Request) -> Response:
    return JSONResponse({"service": "recordings sandbox"})


async def read_object(request: Request) -> dict[str, Any]:
    """Return the body, a JSON object declared as such; ApiError 400 when it is not."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(400, "invalid_request", "Content-Type must be application/json.")
    with contextlib.suppress(msgspec.MsgspecError):
        body = msgspec.json.decode(await _read(request))
        if isinstance(body, dict):
            return body
    raise ApiError(400, "invalid_request", "The body must be a JSON object.")


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_BYTES:
            raise ApiError(413, "invalid_request", "The body is longer than 1 MiB.")
    return bytes(body)
