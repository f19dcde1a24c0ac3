"""The sandbox's API before a real S3 server: upload URLs lead there, and what counts is what lies there."""

import hashlib
from pathlib import Path

from s3_server import S3Server, forged
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.sandbox.server import SandboxServer
from agent.sandbox.storage import Presigner, Storage
from agent.sandbox.web.app import build_app


class S3Sandbox(SandboxServer):
    """A sandbox whose upload URLs are signed for an S3 server, reached under ``origin``."""

    def __init__(self, directory: Path, s3: S3Server, origin: str) -> None:
        super().__init__(directory)
        self._s3 = s3
        self._origin = origin
        self.spoiled = 0
        """So many upload URLs are handed out with a wrong signature."""

    def build(self) -> ASGIApp:
        """Return the application over the present state."""
        presigner = _S3Presigner(self)
        storage = Storage(self.objects, self.state.recordings, presigner)
        return self._looking(build_app(self.state, self.faults, storage, presigner, None))

    def upload_url(self, key: str, content_type: str, seconds: int) -> str:
        """Return the S3 server's own presigned URL."""
        url = self._s3.presign(key, content_type, seconds, self._origin)
        if self.spoiled:
            self.spoiled -= 1
            return forged(url)
        return url

    def _looking(self, app: ASGIApp) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope.get("path", "")
            if path.endswith("/upload-complete"):
                self._look(path.split("/")[-2])
            await app(scope, receive, send)

        return serve

    def _look(self, recording_id: str) -> None:
        """Note which objects of a recording lie in the S3 server."""
        for media in list(self.state.recordings.by_id[recording_id].media):
            body = self._s3.get(media.key)
            if body is not None:
                sha256, md5 = hashlib.sha256(body), hashlib.md5(body, usedforsecurity=False)
                self.state.recordings.stored(
                    media.key, sha256=sha256.hexdigest(), md5=md5.hexdigest(), size_bytes=len(body)
                )


class _S3Presigner(Presigner):
    """Hands out what an S3 sandbox signs."""

    def __init__(self, sandbox: S3Sandbox) -> None:
        super().__init__("", lambda: 0.0)
        self._sandbox = sandbox

    def url(self, base: str, key: str, content_type: str, seconds: int) -> str:  # noqa: ARG002 - not our storage
        """Return the URL that takes one object for so many seconds."""
        return self._sandbox.upload_url(key, content_type, seconds)
