"""A WAV file as a source of sound: every sample once, in time, to the end or over and over."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speech import speech, write_wav

from agent.audio.opus import SAMPLE_RATES
from agent.audio.source import Block, EndOfSource, Source, SourceLost, SourceState
from agent.audio.wav_file import RealTime, WavFile, parse_file_input
from agent.errors import AgentError

RATE = 16000
PCM = speech(RATE, 1, RATE + 123)


@dataclass
class SimulatedTime:
    """A clock that only waiting moves."""

    now: float = 1000.0
    waited: float = 0.0

    def monotonic(self) -> float:
        """Return the simulated time."""
        return self.now

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        assert seconds >= 0
        self.now += seconds
        self.waited += seconds

    @property
    def pace(self) -> RealTime:
        """What paces a file."""
        return RealTime(self.monotonic, self.wait)


def read_all(source: WavFile) -> list[Block]:
    """Read until the end."""
    blocks = []
    try:
        while True:
            block = source.read(1.0)
            if block is not None:
                blocks.append(block)
    except EndOfSource:
        return blocks


def sound(blocks: list[Block]) -> bytes:
    """Join the samples of blocks."""
    return b"".join(block.samples for block in blocks)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", SAMPLE_RATES)
def test_every_sample_is_handed_out_once(tmp_path: Path, rate: int, channels: int) -> None:
    """All rates, mono and stereo: blocks of 60 ms, numbered, timed by their samples, and none missing."""
    pcm = speech(rate, channels, rate + 7)
    path = write_wav(tmp_path / "speech.wav", rate, channels, pcm)
    source = WavFile(path, start=50.0)
    protocol: Source = source
    assert (protocol.sample_rate, protocol.channels, source.total_samples) == (rate, channels, rate + 7)
    assert (protocol.identity, protocol.name) == (f"file:{path}", "speech.wav")
    states = [protocol.state]

    first = source.read(0)
    assert first is not None
    states.append(protocol.state)
    blocks = [first, *read_all(source)]
    assert [*states, protocol.state] == [SourceState.CLOSED, SourceState.LISTENING, SourceState.ENDED]
    assert sound(blocks) == pcm
    assert [block.sequence for block in blocks] == list(range(17))
    assert {len(block.samples) for block in blocks[:-1]} == {rate * 60 // 1000 * channels * 2}
    assert blocks[0].captured_at == pytest.approx(50.06)
    assert blocks[-1].captured_at == pytest.approx(50 + 1 + 7 / rate)
    assert not any(block.overflow for block in blocks)


def test_the_end_stays_the_end_until_closed(tmp_path: Path) -> None:
    """After the end each read says so again; closing makes the file readable from its start."""
    source = WavFile(write_wav(tmp_path / "a.wav", RATE, 1, PCM))
    blocks = read_all(source)
    assert read_all(source) == []
    states = [source.state]
    source.close()
    assert [*states, source.state] == [SourceState.ENDED, SourceState.CLOSED]
    assert read_all(source) == blocks


def test_closing_in_the_middle_starts_over(tmp_path: Path) -> None:
    """A block that was read ahead is not carried over to the next opening."""
    clock = SimulatedTime()
    source = WavFile(write_wav(tmp_path / "a.wav", RATE, 1, PCM), realtime=clock.pace)
    assert source.read(1) is not None
    assert source.read(0.01) is None
    source.close()
    assert sound(read_all(source)) == PCM


@given(st.integers(1, 3000), st.sampled_from([10, 60, 100]), st.integers(1, 60))
def test_a_loop_has_no_seam(
    tmp_path_factory: pytest.TempPathFactory, samples: int, block_ms: int, count: int
) -> None:
    """Looping, every block is full and the sound is the file's over and over, however short the file."""
    path = write_wav(tmp_path_factory.getbasetemp() / "loop.wav", RATE, 2, PCM[: samples * 4])
    source = WavFile(path, loop=True, block_ms=block_ms)
    assert source.total_samples is None
    blocks = [block for _ in range(count) if (block := source.read(0)) is not None]
    size = RATE * block_ms // 1000 * 4
    assert [len(block.samples) for block in blocks] == [size] * count
    pattern = PCM[: samples * 4]
    assert sound(blocks) == (pattern * (size * count // len(pattern) + 1))[: size * count]
    source.close()


def test_real_time_keeps_the_schedule_of_a_microphone(tmp_path: Path) -> None:
    """A block comes when its last sample would have been captured, and an hour brings no drift."""
    clock = SimulatedTime()
    source = WavFile(write_wav(tmp_path / "a.wav", RATE, 1, PCM), loop=True, realtime=clock.pace)
    clock.now = 2000.0
    for number in range(1, 60001):
        block = source.read(1.0)
        assert block is not None
        assert clock.now == pytest.approx(2000.0 + number * 0.06, abs=1e-5)
        assert block.captured_at == pytest.approx(2000.0 + number * 0.06, abs=1e-5)
    source.close()


def test_real_time_waits_no_longer_than_asked(tmp_path: Path) -> None:
    """A block that is not due within the timeout is None, and comes later with nothing lost."""
    clock = SimulatedTime()
    source = WavFile(write_wav(tmp_path / "a.wav", RATE, 1, PCM), realtime=clock.pace)
    assert [source.read(0.025), source.read(0.025)] == [None, None]
    assert clock.waited == pytest.approx(0.05)
    block = source.read(0.025)
    assert block is not None
    assert block.sequence == 0
    assert clock.waited == pytest.approx(0.06)
    assert block.samples + sound(read_all(source)) == PCM


def test_real_time_catches_up_after_a_stall(tmp_path: Path) -> None:
    """After half a second without a read all that is due comes without waiting, then the schedule goes on."""
    clock = SimulatedTime()
    source = WavFile(write_wav(tmp_path / "a.wav", RATE, 1, PCM), realtime=clock.pace)
    blocks = [source.read(1.0)]
    clock.now += 0.5
    waited = clock.waited
    blocks += [source.read(1.0) for _ in range(8)]
    assert clock.waited == waited
    blocks.append(source.read(1.0))
    assert clock.now == pytest.approx(1000.6)
    got = [block for block in blocks if block is not None]
    assert [block.captured_at for block in got] == [
        pytest.approx(1000 + 0.06 * number) for number in range(1, 11)
    ]
    assert sound(got + read_all(source)) == PCM


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    """No file, a folder, and a file without samples are each one sentence."""
    with pytest.raises(AgentError, match=r"none\.wav is not a file; name an existing WAV file"):
        WavFile(tmp_path / "none.wav")
    with pytest.raises(AgentError, match="is not a file"):
        WavFile(tmp_path)
    with pytest.raises(AgentError, match=r"empty\.wav holds no samples"):
        WavFile(write_wav(tmp_path / "empty.wav", RATE, 1, b""))


@pytest.mark.parametrize("loop", [False, True])
def test_a_file_that_goes_away_is_a_loss_and_then_the_end(tmp_path: Path, loop: bool) -> None:
    """A file that is gone or has become empty is said to be lost once; it does not come back by itself."""
    path = write_wav(tmp_path / "a.wav", RATE, 1, PCM)
    source = WavFile(path, loop=loop)
    if loop:
        assert source.read(0) is not None
        path.write_bytes(b"")
        with pytest.raises(SourceLost, match=r"a\.wav can no longer be read \(it has become empty"):
            read_all(source)
    else:
        path.unlink()
        with pytest.raises(SourceLost, match=r"a\.wav can no longer be read \(No such file"):
            source.read(0)
    with pytest.raises(EndOfSource):
        source.read(0)


def test_parse_file_input() -> None:
    """The input setting names a path, and ?loop at its end says to start again."""
    assert parse_file_input("file:/a/b.wav") == (Path("/a/b.wav"), False)
    assert parse_file_input("file:/a/what?.wav?loop") == (Path("/a/what?.wav"), True)
    for text in ("default", "/a/b.wav", "file:", "file:?loop"):
        with pytest.raises(ValueError, match="is not file:PATH"):
            parse_file_input(text)
