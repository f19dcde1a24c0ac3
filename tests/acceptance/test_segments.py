"""Where recordings are cut, no sample is lost and none is repeated; whatever ends one leaves valid files."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from acceptance import ALIKE, Json, Machine, likeness, machine, server, wait_for
from opusfile import complaints, decode
from speech import speech, write_wav

RATE = 16_000
CUT_SECONDS = 2
SPEECH_RMS = 500
"""What is quieter than this is a pause between words."""


def test_continuous_recording_is_cut_without_loss(machine: Machine, tmp_path: Path) -> None:
    """A file in real time becomes four of one session that are together the input to the sample; then all is idle."""
    pcm = speech(RATE, 1, 6 * RATE + 4801)
    wav = write_wav(tmp_path / "day.wav", RATE, 1, pcm)
    machine.configure(audio={"input": f"file:{wav}"}, recording={"segment_seconds": CUT_SECONDS})

    with machine.daemon() as daemon:
        wait_for(lambda: daemon.status()["state"] == "recording")
        wait_for(lambda: daemon.status()["state"] == "idle")
        wait_for(lambda: {row["status"] for row in machine.queue()} == {"uploaded"})
        rows = machine.queue()
        assert daemon.status()["recording"] is None
        assert daemon.stop() == 0

    assert [row["segment"] for row in rows] == [1, 2, 3, 4]
    assert len({row["session_id"] for row in rows}) == 1
    assert {row["status"] for row in rows} == {"uploaded"}
    assert_same(decoded(rows), pcm)


def test_a_manual_recording_goes_on_in_the_next_file(machine: Machine, tmp_path: Path) -> None:
    """Beyond ``max_seconds``, and with ``--seconds`` inside a frame, the files hold exactly what was asked for."""
    pcm = speech(RATE, 2, 4 * RATE)
    wav = write_wav(tmp_path / "long.wav", RATE, 2, pcm)
    machine.configure(recording={"max_seconds": 1})

    whole = machine.record(wav)
    part = machine.record(wav, "--seconds", "1.2345")

    assert [row["segment"] for row in whole] == [1, 2, 3, 4]
    assert_same(decoded(whole, channels=2), pcm, channels=2)
    assert [row["segment"] for row in part] == [1, 2]
    assert part[0]["session_id"] == part[1]["session_id"] != whole[0]["session_id"]
    assert_same(decoded(part, channels=2), pcm[: round(1.2345 * RATE) * 4], channels=2)


def test_a_manual_recording_inside_continuous_recording(machine: Machine, tmp_path: Path) -> None:
    """``record --seconds`` cuts a session of its own out of the daemon's stream; no sample is lost around it."""
    pcm = speech(RATE, 1, 5 * RATE + 333)
    wav = write_wav(tmp_path / "day.wav", RATE, 1, pcm)
    machine.configure(audio={"input": f"file:{wav}"}, recording={"segment_seconds": CUT_SECONDS})

    with machine.daemon() as daemon:
        wait_for(lambda: daemon.status()["state"] == "recording")
        (asked,) = machine.ok("record", "--seconds", "1.3", "--name", "Visit", "--json").rows
        wait_for(lambda: daemon.status()["state"] == "idle")
        rows = machine.queue()
        assert daemon.stop() == 0

    assert asked["duration_ms"] == 1300
    sessions = list(dict.fromkeys(row["session_id"] for row in rows))
    assert len(sessions) == 3
    assert sessions[1] == asked["session_id"]
    assert [row["id"] for row in rows if row["session_id"] == asked["session_id"]] == [asked["id"]]
    assert_same(decoded(rows), pcm)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_daemon_with_a_valid_file(
    machine: Machine, tmp_path: Path, number: signal.Signals
) -> None:
    """In the middle of a recording it ends within 10 s with exit 0, and what was captured until then is queued."""
    pcm = speech(RATE, 1, 20 * RATE)
    wav = write_wav(tmp_path / "loop.wav", RATE, 1, pcm)
    machine.configure(audio={"input": f"file:{wav}?loop"})

    with machine.daemon() as daemon:
        wait_for(lambda: recorded_ms(daemon.status()) > 800)
        known = recorded_ms(daemon.status())
        assert daemon.stop(number) == 0

    (row,) = machine.queue()
    assert (row["status"], row["recovered"]) == ("ready", False)
    assert row["duration_ms"] >= known
    assert not list((machine.state / "recording").iterdir())
    (piece,) = decoded([row])
    assert_same([piece], pcm[: len(piece)])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_single_recording(machine: Machine, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM are the regular end of ``record`` without a length: exit 0, its row, a valid file."""
    pcm = speech(RATE, 1, 20 * RATE)
    wav = write_wav(tmp_path / "loop.wav", RATE, 1, pcm)
    machine.configure(audio={"input": f"file:{wav}?loop"})

    with machine.popen("record", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_for(lambda: any((machine.state / "recording").glob("*.opus.part")))
        time.sleep(0.7)  # sound is recorded in real time here
        process.send_signal(number)
        out, err = process.communicate(timeout=10)

    assert (process.returncode, err) == (0, "")
    (row,) = machine.queue()
    assert out.startswith(f"recorded {row['id']}: ")
    assert row["duration_ms"] > 300
    (piece,) = decoded([row])
    assert_same([piece], pcm[: len(piece)])


def test_ctrl_c_ends_a_recording_of_the_daemon_and_not_the_daemon(machine: Machine, tmp_path: Path) -> None:
    """``record`` without a length beside a daemon that waits: Ctrl-C ends the recording, and its row is shown."""
    wav = write_wav(tmp_path / "loop.wav", RATE, 1, speech(RATE, 1, 5 * RATE))
    machine.configure(audio={"input": f"file:{wav}?loop"}, recording={"mode": "manual"})

    with machine.daemon() as daemon:
        with machine.popen("record", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            wait_for(lambda: recorded_ms(daemon.status()) > 500)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
        assert (process.returncode, err) == (0, "")
        wait_for(lambda: daemon.status()["state"] == "idle")
        (row,) = machine.queue()
        assert row["id"] in out
        assert daemon.stop() == 0


def recorded_ms(status: Json) -> int:
    """Return how much of a recording there is by a status; 0 while nothing is recorded."""
    return int(status["recording"]["duration_ms"]) if status["recording"] else 0


def decoded(rows: list[Json], channels: int = 1) -> list[bytes]:
    """Return what each row's file plays, each by itself; the file is valid and as long as its row says."""
    pieces = []
    for row in rows:
        path = Path(row["path"])
        assert complaints(path) == ""
        piece = decode(path, RATE)
        assert row["duration_ms"] == len(piece) // (2 * channels) * 1000 // RATE
        pieces.append(piece)
    return pieces


def assert_same(pieces: list[bytes], pcm: bytes, channels: int = 1) -> None:
    """Assert that the pieces, one behind the other, are ``pcm``: as many samples, all that is spoken in its place."""
    assert sum(map(len, pieces)) == len(pcm)
    assert likeness(b"".join(pieces), pcm, channels) > ALIKE
    position = 0
    for piece in pieces:
        spoken = pcm[position : position + len(piece)]
        if loudness(spoken) > SPEECH_RMS:  # a pause is noise, and no codec keeps that
            assert likeness(piece, spoken, channels) > ALIKE
        position += len(piece)


def loudness(pcm: bytes) -> float:
    """Return the root mean square of 16-bit samples."""
    return float(np.sqrt(np.mean(np.square(np.frombuffer(pcm, "<i2").astype(float)))))
