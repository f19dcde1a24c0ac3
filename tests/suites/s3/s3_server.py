"""A real S3 server that verifies signatures (SeaweedFS), and what a project's backend does with it."""

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "recordings"
_KEY, _SECRET = "AKIAOFATEST", "kept-by-the-backend"
_START_SECONDS = 30.0
_WEED = Path(sys.executable).with_name("weed")


class S3Server:
    """The server in a process of its own; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._port = _free_port()
        self._client = self.client_for(self.origin)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._port}"

    @staticmethod
    def client_for(origin: str) -> Any:
        """Return a client that signs for a host: the server's own, or one that passes on to it."""
        return botocore.session.Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=origin,
            aws_access_key_id=_KEY,
            aws_secret_access_key=_SECRET,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    def presign(self, key: str, content_type: str, seconds: int = 3600, origin: str | None = None) -> str:
        """Return the URL that takes one object of this type, as a backend hands it out."""
        client = self._client if origin is None else self.client_for(origin)
        what = {"Bucket": BUCKET, "Key": key, "ContentType": content_type}
        return str(client.generate_presigned_url("put_object", what, seconds))

    def get(self, key: str) -> bytes | None:
        """Return an object, or None."""
        try:
            found: bytes = self._client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        except self._client.exceptions.NoSuchKey:
            return None
        return found

    def head(self, key: str) -> dict[str, Any]:
        """Return what the server says about an object."""
        said: dict[str, Any] = self._client.head_object(Bucket=BUCKET, Key=key)
        return said

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        self._folder.mkdir(parents=True)
        identities = self._folder / "identities.json"
        credentials = [{"accessKey": _KEY, "secretKey": _SECRET}]
        backend = {
            "name": "backend",
            "credentials": credentials,
            "actions": ["Admin", "Read", "Write", "List"],
        }
        identities.write_text(json.dumps({"identities": [backend]}))
        ports = [f"-s3.port={self._port}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        ports += [f"-s3.port.grpc={_free_port()}"]
        for part in ("master", "volume", "filer"):
            ports += [f"-{part}.port={_free_port()}", f"-{part}.port.grpc={_free_port()}"]
        command = [
            str(_WEED),
            "server",
            f"-dir={self._folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            *ports,
        ]
        command += ["-s3", "-s3.autoCreateBucket=false", f"-s3.config={identities}"]
        # Smaller volumes have no room for an object of 200 MB.
        command += ["-master.volumeSizeLimitMB=64", "-volume.max=16", "-master.telemetry=false"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder
            )
        self._wait_until_it_takes_a_bucket()

    def _wait_until_it_takes_a_bucket(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self._client.create_bucket(Bucket=BUCKET)
            except (BotoCoreError, ClientError):
                late = time.monotonic() > deadline
                if late or self._process.poll() is not None:
                    raise RuntimeError((self._folder / "log").read_text(errors="replace")) from None
                time.sleep(0.1)
            else:
                return


def forged(url: str) -> str:
    """Return a URL with another signature of the same length."""
    before, mark, signature = url.partition("X-Amz-Signature=")
    assert mark
    first = "1" if signature.startswith("0") else "0"
    return f"{before}{mark}{first}{signature[1:]}"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
