"""The upload against a real S3 server that verifies signatures (api.md section 3)."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from acceptance import Machine
from api_bench import TOKEN, Secret, StillClock
from s3_sandbox import S3Sandbox
from s3_server import S3Server, forged
from speech import speech, write_wav
from tap import Tap

from agent.api.client import RecordingsApi, UploadUrl
from agent.api.errors import RequestRejected, UploadRefused
from agent.config.schema import ApiConfig
from agent.sandbox.devices import DEFAULT_TOKEN

TYPE = "audio/opus"
MIB = 1 << 20
SMALL, LARGE = MIB, 200 * MIB
FLAT_KIB = 8 * 1024
"""How much more memory the large upload may take than the small one."""


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3") / "weed") as server:
        yield server


@pytest.fixture
def tap(s3: S3Server) -> Iterator[Tap]:
    with Tap(s3.origin) as listening:
        yield listening


@pytest.fixture
def api() -> Iterator[RecordingsApi]:
    client = RecordingsApi(ApiConfig(base_url="http://127.0.0.1:1/v1"), Secret, StillClock())
    yield client
    client.close()


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Three MiB and a byte of what no server can guess: more than one of its chunks, and no round number."""
    path = tmp_path / "audio.opus"
    path.write_bytes(hashlib.shake_256(b"audio").digest(3 * MIB + 1))
    return path


def put(api: RecordingsApi, url: str, file: Path, content_type: str = TYPE, **headers: str) -> None:
    """PUT a file to a URL with these headers."""
    with file.open("rb") as opened:
        api.put(UploadUrl(url, {"Content-Type": content_type, **headers}), opened, file.stat().st_size)


def test_stores_the_same_bytes(s3: S3Server, api: RecordingsApi, audio: Path) -> None:
    """A PUT is taken, and the object is the file: bytes, length, type, and the MD5 as its ETag."""
    put(api, s3.presign("same.opus", TYPE), audio)

    assert s3.get("same.opus") == audio.read_bytes()
    said = s3.head("same.opus")
    assert said["ContentLength"] == audio.stat().st_size
    assert said["ContentType"] == TYPE
    assert said["ETag"].strip('"') == hashlib.md5(audio.read_bytes(), usedforsecurity=False).hexdigest()


def test_a_repeated_upload_takes_the_place_of_the_first(
    s3: S3Server, api: RecordingsApi, audio: Path
) -> None:
    """The same URL works twice, and one object is left: what an upload whose answer was lost leads to."""
    url = s3.presign("twice.opus", TYPE)
    put(api, url, audio)
    audio.write_bytes(b"OggS once more")
    put(api, url, audio)
    assert s3.get("twice.opus") == b"OggS once more"


def test_sends_length_type_and_nothing_that_storage_refuses(
    s3: S3Server, tap: Tap, api: RecordingsApi, audio: Path
) -> None:
    """On the wire there are a Content-Length and the signed type, no chunked body, and nowhere the token."""
    put(api, s3.presign("wire.opus", TYPE, origin=tap.origin), audio)

    head = tap.head()
    assert head[""].startswith("PUT /recordings/wire.opus?")
    assert head["content-length"] == str(audio.stat().st_size)
    assert head["content-type"] == TYPE
    assert {"transfer-encoding", "authorization", "cookie", "expect"}.isdisjoint(head)
    assert TOKEN.encode() not in tap.sent
    assert tap.sent.endswith(audio.read_bytes())


def test_the_wire_shows_what_must_not_be_sent(s3: S3Server, tap: Tap) -> None:
    """Control: a careless client's chunked body and token are seen on the wire."""
    url = s3.presign("careless.opus", TYPE, origin=tap.origin)
    headers = {"Content-Type": TYPE, "Authorization": f"Bearer {TOKEN}"}
    httpx.put(url, content=iter([b"Ogg", b"S"]), headers=headers, trust_env=False)

    head = tap.head()
    assert head["transfer-encoding"] == "chunked"
    assert head["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN.encode() in tap.sent


def test_another_type_than_the_signed_one_is_refused(s3: S3Server, api: RecordingsApi, audio: Path) -> None:
    """A wrong Content-Type asks for a fresh URL; the signed one is taken."""
    url = s3.presign("type.opus", TYPE)
    with pytest.raises(UploadRefused):
        put(api, url, audio, "audio/ogg")
    assert s3.get("type.opus") is None
    put(api, url, audio)


def test_a_forged_signature_is_refused(s3: S3Server, api: RecordingsApi, audio: Path) -> None:
    """One digit of the signature changed asks for a fresh URL; the true one is taken."""
    url = s3.presign("forged.opus", TYPE)
    with pytest.raises(UploadRefused):
        put(api, forged(url), audio)
    assert s3.get("forged.opus") is None
    put(api, url, audio)


def test_an_expired_url_is_refused(s3: S3Server, api: RecordingsApi, audio: Path) -> None:
    """A URL that was good asks for a fresh one after its end."""
    url = s3.presign("expired.opus", TYPE, seconds=2)
    put(api, url, audio)
    time.sleep(3.1)  # the server's clock is the machine's, and counts whole seconds
    with pytest.raises(UploadRefused, match="fresh one"):
        put(api, url, audio)


def test_a_bucket_that_is_gone_is_no_success(s3: S3Server, api: RecordingsApi, audio: Path) -> None:
    """A 404 of storage parks the recording with the server's code."""
    url = s3.client_for(s3.origin).generate_presigned_url(
        "put_object", {"Bucket": "elsewhere", "Key": "lost.opus", "ContentType": TYPE}, 60
    )
    with pytest.raises(RequestRejected) as caught:
        put(api, url, audio)
    assert caught.value.code == "NoSuchBucket"


def high_water_kib(s3: S3Server, folder: Path, size: int, how: str) -> int:
    """Upload so many bytes in a process of its own and return the most memory it has had."""
    file, key = folder / "sparse.opus", f"{how}-{size}.opus"
    with file.open("wb") as opened:
        opened.truncate(size)
    script = str(Path(__file__).with_name("put_once.py"))
    command = [sys.executable, script, s3.presign(key, TYPE), TYPE, str(file), how]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0, said.stderr
    assert s3.head(key)["ContentLength"] == size
    return int(said.stdout)


def test_memory_stays_flat_however_large_the_file(s3: S3Server, tmp_path: Path) -> None:
    """200 MiB take at most 8 MiB more than 1 MiB; control: read into memory first, they take more than that."""
    small = high_water_kib(s3, tmp_path, SMALL, "stream")
    large = high_water_kib(s3, tmp_path, LARGE, "stream")
    careless = high_water_kib(s3, tmp_path, LARGE, "whole")
    print(f"VmHWM: 1 MiB {small} KiB, 200 MiB {large} KiB, 200 MiB read first {careless} KiB")

    assert large - small <= FLAT_KIB
    assert careless - small > FLAT_KIB


def test_sync_delivers_to_s3(s3: S3Server, tap: Tap, tmp_path: Path) -> None:
    """`record` and `sync` bring speech into the bucket byte for byte, and the token stays with the API."""
    wav = write_wav(tmp_path / "speech.wav", 16000, 1, speech(16000, 1, 48000))
    with S3Sandbox(tmp_path / "sandbox", s3, tap.origin) as sandbox:
        machine = Machine(tmp_path / "machine", sandbox)
        (row,) = machine.record(wav)
        answer = machine.ok("sync", "--json").json
        (recording,) = sandbox.state.recordings.by_id.values()

    assert answer["delivered"] == [row["id"]]
    stored = s3.get(recording.media[0].key)
    assert stored is not None
    assert hashlib.sha256(stored).hexdigest() == row["sha256"] == recording.content_sha256
    assert tap.sent.endswith(stored)
    assert DEFAULT_TOKEN.encode() not in tap.sent


def test_sync_asks_for_a_fresh_url_when_the_first_is_refused(s3: S3Server, tmp_path: Path) -> None:
    """A URL that the server refuses is not tried again: the next one is, and the recording is delivered."""
    wav = write_wav(tmp_path / "speech.wav", 16000, 1, speech(16000, 1, 16000))
    with S3Sandbox(tmp_path / "sandbox", s3, s3.origin) as sandbox:
        machine = Machine(tmp_path / "machine", sandbox)
        machine.record(wav)
        sandbox.spoiled = 1
        assert machine.ok("sync", "--json").json["pending"] == 0
        (recording,) = sandbox.state.recordings.by_id.values()

    refused, taken = recording.media
    assert s3.get(refused.key) is None
    assert s3.get(taken.key) is not None
