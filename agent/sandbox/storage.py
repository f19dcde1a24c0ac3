"""The storage of the sandbox: presigned PUTs that are refused as S3 refuses them (api.md 3)."""

import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from agent.sandbox.recordings import Recordings
from agent.sandbox.web.answers import NoAnswer

_ALGORITHM = "AWS4-HMAC-SHA256"
_DATE = "%Y%m%dT%H%M%SZ"


class StorageError(Exception):
    """A refusal of the storage: status, code and words, written as XML."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def response(self) -> Response:
        """Return the answer."""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{self.code}</Code><Message>{self.message}</Message>"
            f"<RequestId>{secrets.token_hex(8).upper()}</RequestId></Error>"
        )
        return Response(body, self.status, media_type="application/xml")


class Presigner:
    """Signs upload URLs and checks them: the signature binds method, key, Content-Type, date and life."""

    def __init__(self, secret: str, now: Callable[[], float]) -> None:
        self._secret = secret.encode()
        self._now = now

    def url(self, base: str, key: str, content_type: str, seconds: int) -> str:
        """Return the URL under ``base`` that takes one object for so many seconds."""
        date = datetime.fromtimestamp(self._now(), UTC).strftime(_DATE)
        query = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"sandbox/{date[:8]}/us-east-1/s3/aws4_request",
            "X-Amz-Date": date,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": "content-type;host",
            "X-Amz-Signature": self._signature(key, content_type, date, str(seconds)),
        }
        return f"{base}/{quote(key)}?{urlencode(query)}"

    def check(self, key: str, content_type: str, query: Mapping[str, str]) -> None:
        """Return when the URL is good; StorageError 403 when it is forged, expired or used otherwise."""
        date, seconds = query.get("X-Amz-Date", ""), query.get("X-Amz-Expires", "")
        given = query.get("X-Amz-Signature")
        if given is None:
            raise StorageError(403, "AccessDenied", "Access Denied")
        expected = self._signature(key, content_type, date, seconds)
        if not hmac.compare_digest(given.encode(), expected.encode()):
            raise StorageError(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the one you provided.",
            )
        signed_at = datetime.strptime(date, _DATE).replace(tzinfo=UTC).timestamp()
        if self._now() >= signed_at + int(seconds):
            raise StorageError(403, "AccessDenied", "Request has expired")

    def _signature(self, *signed: str) -> str:
        text = "\n".join(("PUT", *signed))
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


class Written(NamedTuple):
    """What a stream left on the disk."""

    sha256: str
    md5: str
    size_bytes: int


class Storage:
    """Objects as files under a folder."""

    def __init__(self, folder: Path, recordings: Recordings, presigner: Presigner) -> None:
        self._folder = folder
        self._recordings = recordings
        self._presigner = presigner
        for torn in folder.glob("*/*.part"):
            torn.unlink()

    async def put(self, request: Request) -> Response:
        """Take one object; nothing is stored of a body that stops short."""
        try:
            self._admit(request)
        except StorageError as error:
            return error.response()
        key = request.path_params["key"]
        try:
            written = await self._write(key, request.stream())
        except ClientDisconnect:
            return NoAnswer()
        self._recordings.stored(key, sha256=written.sha256, md5=written.md5, size_bytes=written.size_bytes)
        return Response(None, 200, {"ETag": f'"{written.md5}"'})

    def _admit(self, request: Request) -> None:
        headers = request.headers
        if "authorization" in headers and request.query_params:
            raise StorageError(400, "InvalidArgument", "Only one auth mechanism allowed")
        content_type = headers.get("content-type", "")
        self._presigner.check(request.path_params["key"], content_type, request.query_params)
        if "transfer-encoding" in headers:
            raise StorageError(
                501, "NotImplemented", "A header you provided implies functionality that is not implemented."
            )
        if "content-length" not in headers:
            raise StorageError(
                411, "MissingContentLength", "You must provide the Content-Length HTTP header."
            )

    async def _write(self, key: str, stream: AsyncIterator[bytes]) -> Written:
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
        try:
            with part.open("wb") as file:
                async for chunk in stream:
                    file.write(chunk)
                    sha256.update(chunk)
                    md5.update(chunk)
                    size += len(chunk)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return Written(sha256.hexdigest(), md5.hexdigest(), size)
