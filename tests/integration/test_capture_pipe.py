"""Sound that waits in memory while its reader writes, and a capture process with the installation's code only."""

import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from captured_sound import descriptors, program

from agent.capture import protocol
from agent.capture.pipe_buffer import PIPE_BYTES, PipeBuffer
from agent.capture.process import BUFFER_SECONDS, CaptureProcess, CaptureSettings

FRAMES = """
import sys, time
sys.path.insert(0, {root!r})
from agent.capture.child import pack, write
from agent.capture import protocol
for number in range({count}):
    write(1, pack(protocol.FRAME, number.to_bytes(4, "little") * {quarter}, 0, number))
open({done!r}, "w").close()
"""
BLOCK_MS = 120


def fast_capture(folder: Path, rate: int, channels: int, seconds: float) -> tuple[CaptureSettings, Path]:
    """Return a capture process that gives so many seconds of sound at once, and the file it leaves then."""
    block = rate * BLOCK_MS // 1000 * channels * 2
    count = int(seconds * 1000) // BLOCK_MS
    done = folder / "done"
    script = folder / "frames.py"
    script.write_text(
        FRAMES.format(
            root=str(Path(protocol.__file__).parents[2]), count=count, quarter=block // 4, done=str(done)
        )
    )
    settings = CaptureSettings(
        sample_rate=rate,
        channels=channels,
        channel="mix",
        block_ms=BLOCK_MS,
        runtime_directory=folder,
        environment=dict(os.environ),
        python=program(folder, f"exec {sys.executable} {script}"),
    )
    return settings, done


def appears(path: Path, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return path.exists()


def frames(capture: CaptureProcess) -> Iterator[tuple[int, bytes]]:
    """Yield sequence and samples of each block to the end."""
    while True:
        message = capture.receive()
        if message is not None:
            yield message.sequence, message.payload
        elif capture.ended:
            return
        else:
            assert capture.wait(20)


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (48000, 1), (48000, 2)])
def test_half_a_minute_of_sound_waits_at_every_setting(tmp_path: Path, rate: int, channels: int) -> None:
    """Nobody takes anything, and the capture process is not held up; then all of it is there, in order."""
    settings, done = fast_capture(tmp_path, rate, channels, 35)
    capture = settings.start("any", None)
    try:
        assert appears(done, 20)
        taken = list(frames(capture))
    finally:
        capture.kill()
    assert [sequence for sequence, _ in taken] == list(range(35_000 // BLOCK_MS))
    assert all(samples[:4] == sequence.to_bytes(4, "little") for sequence, samples in taken)
    assert {len(samples) for _, samples in taken} == {rate * BLOCK_MS // 1000 * channels * 2}


def test_without_the_memory_behind_the_pipe_the_capture_process_waits(tmp_path: Path) -> None:
    """The control: the pipe alone does not hold half a minute of 48 kHz stereo."""
    settings, done = fast_capture(tmp_path, 48000, 2, 35)
    capture = CaptureProcess([], os.environ, settings.python)
    try:
        assert not appears(done, 2)
        next(frames(capture))
    finally:
        capture.kill()


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    """When a minute and a half is given and nobody takes it, the capture process waits; nothing is lost in between."""
    settings, done = fast_capture(tmp_path, 48000, 2, 90)
    before = resident_bytes()
    capture = settings.start("any", None)
    try:
        assert not appears(done, 3)
        assert resident_bytes() - before < 2 * BUFFER_SECONDS * 48000 * 4
        assert [sequence for sequence, _ in frames(capture)] == list(range(90_000 // BLOCK_MS))
    finally:
        capture.kill()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_bytes_come_out_as_they_went_in() -> None:
    """In any pieces, with a reader that waits, and to the last one before the end."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    ours, theirs = os.pipe()
    buffer = PipeBuffer(ours, 4 * PIPE_BYTES)
    sent, got = bytearray(), bytearray()
    for _ in range(200):
        piece = rng.randbytes(rng.randrange(1, 9000))
        os.write(theirs, piece)
        sent += piece
        if rng.random() < 0.3:
            size = rng.randrange(1, len(sent) - len(got) + 1)
            assert buffer.wait(size, 10)
            part = buffer.peek(size)
            assert part is not None
            got += part
            buffer.drop(size)
    os.close(theirs)
    assert buffer.wait(1 << 30, 10)
    assert buffer.ended
    rest = buffer.peek(len(sent) - len(got))
    assert rest is not None
    assert got + rest == sent
    assert buffer.peek(len(rest) + 1) is None
    buffer.close()
    buffer.close()


def test_what_lies_in_the_pipe_is_there_at_once() -> None:
    """A reader that does not wait, as at the stop, misses nothing that was written before."""
    for _ in range(200):
        ours, theirs = os.pipe()
        buffer = PipeBuffer(ours, PIPE_BYTES)
        os.write(theirs, b"now")
        assert buffer.peek(3) == b"now"
        os.close(theirs)
        buffer.close()


def test_closing_leaves_nothing_behind() -> None:
    """Neither a descriptor nor a thread, whether the buffer is empty, full or at its end."""
    before = descriptors()
    for size in (0, 10, 5000):
        ours, theirs = os.pipe()
        buffer = PipeBuffer(ours, 10)
        os.write(theirs, b"x" * size)
        buffer.close()
        assert not buffer._thread.is_alive()
        os.close(theirs)
    assert descriptors() == before


def test_the_caller_s_folder_gives_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of the capture process's names in the folder somebody stands in are not run."""
    mark = tmp_path / "ran"
    for name in (
        "pyaudio.py",
        "json.py",
        "agent/__init__.py",
        "agent/audio/__init__.py",
        "agent/capture/child.py",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"open({str(mark)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    capture = CaptureProcess(["--list"], os.environ)
    try:
        assert capture.wait(20)
    finally:
        capture.kill()
    assert not mark.exists()
