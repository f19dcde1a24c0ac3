"""From a WAV file of human speech to the object in storage, through the command line alone."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from acceptance import ALIKE, Json, Machine, calls, likeness, machine, server, stored, wait_for
from opusfile import complaints, decode
from speech import speech, write_wav

from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.server import SandboxServer


def lengths(sample_rate: int) -> tuple[int, int, int]:
    """Return half a second, fifty frames of 20 ms, and one sample more, in samples."""
    return sample_rate // 2, sample_rate, sample_rate + 1


@pytest.mark.parametrize("sample_rate", [8000, 12000, 16000, 24000, 48000])
def test_speech_arrives_byte_for_byte_and_sample_for_sample(
    machine: Machine, server: SandboxServer, tmp_path: Path, sample_rate: int
) -> None:
    """What storage holds is the local file, opusinfo has no warning, and opusdec gives the input's samples back."""
    spoken = {
        (channels, samples): speech(sample_rate, channels, samples)
        for channels in (1, 2)
        for samples in lengths(sample_rate)
    }

    def record(kind: tuple[int, int]) -> str:
        channels, samples = kind
        wav = write_wav(tmp_path / f"{channels}-{samples}.wav", sample_rate, channels, spoken[kind])
        (row,) = machine.record(wav)
        assert row["duration_ms"] == samples * 1000 // sample_rate
        return str(row["id"])

    with ThreadPoolExecutor(2) as two_at_a_time:
        inputs = dict(zip(two_at_a_time.map(record, spoken), spoken.items(), strict=True))

    answer = machine.ok("sync", "--json").json

    rows = machine.queue()
    assert answer["delivered"] == [row["id"] for row in rows]
    for row in rows:
        assert (row["status"], row["verified"]) == ("uploaded", True)
        (channels, _), pcm = inputs.pop(row["id"])
        (copy,) = stored(server, row["id"])
        assert copy.read_bytes() == Path(row["path"]).read_bytes()
        assert hashlib.sha256(copy.read_bytes()).hexdigest() == row["sha256"]
        assert complaints(copy) == ""
        decoded = decode(copy, sample_rate)
        assert len(decoded) == len(pcm)
        assert likeness(decoded, pcm, channels) > ALIKE
    assert not inputs


def test_the_api_is_told_what_was_recorded(machine: Machine, server: SandboxServer, tmp_path: Path) -> None:
    """Name, times and metadata of the recording are the file's own, and one recording takes four calls."""
    machine.configure(recording={"metadata": {"room": "12"}})
    wav = write_wav(tmp_path / "a.wav", 16000, 1, speech(16000, 1, 24_000))
    machine.record(wav, "--name", "Visit")

    machine.ok("sync")

    (row,) = machine.queue()
    assert calls(server) == [("create", 201), ("url", 200), ("put", 200), ("complete", 200)]
    (recording,) = server.state.recordings.by_id.values()
    assert recording.name == "Visit"
    assert (recording.started_at, recording.ended_at) == (row["started_at"], row["ended_at"])
    assert milliseconds(row) == row["duration_ms"] == 1500
    assert recording.metadata["client_recording_id"] == row["id"]
    assert recording.metadata["recorder_session_id"] == row["session_id"]
    assert (recording.metadata["recorder_segment"], recording.metadata["room"]) == (1, "12")
    assert recording.content_sha256 == row["sha256"]


def test_commands_at_the_same_time(machine: Machine, server: SandboxServer, tmp_path: Path) -> None:
    """On a state directory that is not there yet, four recordings and two ``sync`` at once disturb nobody."""
    wav = write_wav(tmp_path / "a.wav", 16000, 1, speech(16000, 1, 8000))
    record, sync = ("record", "--input", wav), ("sync",)
    with ThreadPoolExecutor(6) as at_once:
        list(
            at_once.map(
                lambda arguments: machine.ok(*arguments), (record, record, sync, record, record, sync)
            )
        )

    machine.ok("sync")

    rows = machine.queue()
    assert [row["seq"] for row in rows] == [1, 2, 3, 4]
    assert [len(stored(server, row["id"])) for row in rows] == [1] * 4


def test_the_way_a_new_customer_goes(tmp_path: Path, sandbox_process: tuple[str, Path]) -> None:
    """With ``sandbox`` as a process and a token from ``token set``, a recording is delivered, and it once only."""
    base_url, directory = sandbox_process
    machine = Machine(tmp_path / "machine")
    machine.configure(api={"base_url": base_url, "token_file": ""})
    machine.ok("token", "set", stdin=f"{DEFAULT_TOKEN}\n")
    wav = write_wav(tmp_path / "a.wav", 16000, 1, speech(16000, 1, 16_000))
    (row,) = machine.record(wav)

    assert machine.ok("sync", "--json").json["delivered"] == [row["id"]]
    assert machine.ok("sync", "--json").json["delivered"] == []

    (copy,) = (directory / "objects").glob("*/*")
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == row["sha256"]


@pytest.fixture
def sandbox_process(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Run ``recorder-agent sandbox``; yield its base URL and its directory."""
    directory, said = tmp_path / "sandbox-process", tmp_path / "said"
    arguments = ("sandbox", "--port", "0", "--directory", directory)
    with said.open("w") as out, Machine(tmp_path / "elsewhere").popen(*arguments, stdout=out) as process:
        try:
            wait_for(lambda: "Ctrl-C ends it" in said.read_text())
            found = re.search(r"http://127\.0\.0\.1:\d+/v1", said.read_text())
            assert found, said.read_text()
            yield found[0], directory
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()


def milliseconds(row: Json) -> float:
    """Return how long a row says that its recording lasted, by its two times."""
    started, ended = (datetime.fromisoformat(row[key]) for key in ("started_at", "ended_at"))
    return (ended - started).total_seconds() * 1000
