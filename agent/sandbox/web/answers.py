"""Answers of the API: errors in every shape servers give them, and no answer at all."""

import secrets
from enum import StrEnum
from typing import Any

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

DROP_EXTENSION = "sandbox.drop"
"""Key of the ASGI extension that closes the connection without an answer."""


class ErrorShape(StrEnum):
    """How an error body is written (api.md 5)."""

    CODE = "code"
    """{error: {code, message, details}}"""
    TYPE = "type"
    """{error: {type, message}}"""
    REQUEST = "request"
    """{error: {code, message, param, request_id}}"""
    TEXT = "text"
    """{error: "text"}"""
    MESSAGE = "message"
    """{message}"""
    HTML = "html"
    """A page, as a proxy would send it."""
    EMPTY = "empty"
    """Nothing."""


class ApiError(Exception):
    """A refusal of the API: status, code and words."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = headers or {}

    def response(self, shape: ErrorShape) -> Response:
        """Return the answer in the given shape."""
        if shape is ErrorShape.HTML:
            page = f"<html><body><h1>{self.status}</h1><p>{self.code}</p></body></html>"
            return HTMLResponse(page, self.status, self.headers)
        if shape is ErrorShape.EMPTY:
            return Response(None, self.status, self.headers)
        return JSONResponse(self._body(shape), self.status, self.headers)

    def _body(self, shape: ErrorShape) -> dict[str, Any]:
        match shape:
            case ErrorShape.TYPE:
                return {"error": {"type": self.code, "message": self.message}}
            case ErrorShape.REQUEST:
                request_id = f"req_{secrets.token_hex(8)}"
                error = {"code": self.code, "message": self.message, "param": self.param}
                return {"error": error | {"request_id": request_id}}
            case ErrorShape.TEXT:
                return {"error": self.message}
            case ErrorShape.MESSAGE:
                return {"message": self.message}
            case _:
                details = {"param": self.param} if self.param else {}
                return {"error": {"code": self.code, "message": self.message, "details": details}}


class NoAnswer(Response):
    """Sent by closing the connection: the client sees it end without an answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Close the connection at once."""
        scope["extensions"][DROP_EXTENSION]()
