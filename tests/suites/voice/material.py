"""An hour of human speech in noise, and an hour of noise alone, made of Debian's prompts and of numpy; never kept.

The speech is recorded: the prompts of Asterisk in five languages, at 8 kHz, brought to 16 kHz. All noises and the music
are synthetic, and say so in the table.
"""

import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
LANGUAGES = {
    "English": "en_US*",
    "French": "fr_CA_*",
    "Spanish": "es_MX_*",
    "Italian": "it_IT_*",
    "Russian": "ru_RU_*",
}
SOUNDS = Path("/usr/share/asterisk/sounds")
LEVELS = (-20.0, -45.0)
RATIOS = (20, 10, 5)
SHORT_PAUSE, LONG_PAUSE = (1.0, 8.0), (1.0, 120.0)
LONG_SHARE = 0.12
"""So many of the pauses may be as long as two minutes."""

Sound = Any
"""Samples in floating point; numpy's own arithmetic gives no closer type."""


class Utterance(NamedTuple):
    """A prompt or a word, and where it stands in a stream."""

    language: str
    is_word: bool
    level: float
    """In dBFS, while it is spoken."""
    noise: str
    ratio: float
    begin: int
    """The sample of its first sound."""
    end: int


class Speech:
    """Prompts (1.5 to 8 s) and single words (digits, letters; up to 1.2 s) in five languages."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._files: dict[tuple[str, bool], list[Path]] = {}
        for language, pattern in LANGUAGES.items():
            folder = next(
                (path for path in SOUNDS.glob(pattern) if path.is_dir() and "_" in path.name[3:]), None
            )
            if folder is None:
                raise RuntimeError(f"no {language} prompts here: run `packaging/setup voice`")
            files = [
                path
                for path in folder.rglob("*.wav")
                if path.stat().st_size > 4000 and "beep" not in path.name
            ]
            words = [
                path for path in files if path.parent.name in {"digits", "letters"} and seconds(path) <= 1.2
            ]
            prompts = [
                path for path in files if path.parent.name == folder.name and 1.5 <= seconds(path) <= 8
            ]
            prompts = [
                path
                for path in prompts
                if not path.name.startswith(("ascending", "descending", "tt-", "silence"))
            ]
            self._files[language, True], self._files[language, False] = words, prompts

    def take(self, *, is_word: bool) -> tuple[str, Sound]:
        """Return a language and something that is said in it, at full scale."""
        language = str(self._rng.choice(list(LANGUAGES)))
        while True:
            path = self._rng.choice(np.array(self._files[language, is_word], dtype=object))
            sound = trimmed(upsampled(read(path)))
            if len(sound) > RATE // 8:
                return language, sound


def seconds(path: Path) -> float:
    """Return the length of a WAV file of 8 kHz."""
    return (path.stat().st_size - 44) / 16_000


def read(path: Path) -> Sound:
    """Return the samples of a mono WAV file of 8 kHz."""
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)


def upsampled(sound: Sound) -> Sound:
    """Return twice the samples, by zeros in the spectrum."""
    spectrum = np.fft.rfft(sound)
    return (
        np.fft.irfft(np.concatenate([spectrum, np.zeros(len(sound) - len(spectrum) + 1)]), 2 * len(sound)) * 2
    )


def loudness(sound: Sound) -> Sound:
    """Return the RMS of each 10 ms."""
    frames = sound[: len(sound) // 160 * 160].reshape(-1, 160)
    return np.sqrt((frames**2).mean(axis=1)) + 1e-9


def trimmed(sound: Sound) -> Sound:
    """Return a sound without the quiet before and behind it (30 dB below its loudest)."""
    loud = np.flatnonzero(loudness(sound) > loudness(sound).max() * 10 ** (-30 / 20))
    return sound[loud[0] * 160 : (loud[-1] + 1) * 160] if len(loud) else sound[:0]


def at_level(sound: Sound, dbfs: float) -> Sound:
    """Return a sound at a level while there is sound (within 20 dB of its loudest)."""
    frames = loudness(sound)
    active = frames[frames > frames.max() / 10]
    return sound * (10 ** (dbfs / 20) * 32768 / np.sqrt((active**2).mean()))


# noises, all synthetic: RMS of 1


def _coloured(
    rng: np.random.Generator, count: int, exponent: float, low: float = 20, high: float = 7900
) -> Sound:
    spectrum = np.fft.rfft(rng.normal(size=count))
    frequencies = np.fft.rfftfreq(count, 1 / RATE)
    shape = np.where((frequencies >= low) & (frequencies <= high), np.maximum(frequencies, 1) ** exponent, 0)
    return np.fft.irfft(spectrum * shape, count)


def _tones(count: int, base: float, partials: int, fall: float) -> Sound:
    time = np.arange(count) / RATE
    return np.sum([np.sin(2 * np.pi * base * n * time + n) / n**fall for n in range(1, partials + 1)], axis=0)


def _events(
    rng: np.random.Generator, count: int, every: float, event: Callable[[], Sound], floor: float = 0.02
) -> Sound:
    out = rng.normal(size=count) * floor
    at = 0.0
    while (at := at + rng.exponential(every)) * RATE < count:
        sound = event()
        begin = round(at * RATE)
        out[begin : begin + len(sound)] += sound[: count - begin]
    return out


def white(rng: np.random.Generator, count: int) -> Sound:
    return rng.normal(size=count)


def pink(rng: np.random.Generator, count: int) -> Sound:
    return _coloured(rng, count, -0.5)


def rumble(rng: np.random.Generator, count: int) -> Sound:
    return _coloured(rng, count, -1.5, low=25)


def fan(rng: np.random.Generator, count: int) -> Sound:
    noise = _coloured(rng, count, -0.4, 80, 2500)
    return noise / noise.std() + 0.4 * _tones(count, 97, 6, 1.2)


def mains(rng: np.random.Generator, count: int) -> Sound:
    return _tones(count, 50, 20, 1.0) + 0.05 * rng.normal(size=count)


def engine(rng: np.random.Generator, count: int) -> Sound:
    time = np.arange(count) / RATE
    turn = 2 * np.pi * np.cumsum(31 + 4 * np.sin(2 * np.pi * 0.07 * time)) / RATE
    sound = np.sum([np.sin(n * turn) / n**0.8 for n in range(1, 30)], axis=0)
    return np.asarray(sound + 0.6 * _coloured(rng, count, -0.5, 100, 4000) * 30)


def rain(rng: np.random.Generator, count: int) -> Sound:
    return _coloured(rng, count, 0.2, 400, 7900) * 0.2 + _events(
        rng, count, 0.01, lambda: rng.normal(size=60) * 0.6, 0
    )


def keyboard(rng: np.random.Generator, count: int) -> Sound:
    def key() -> Sound:
        decay = np.exp(-np.arange(900) / rng.uniform(60, 250))
        return rng.normal(size=900) * decay * rng.uniform(0.3, 1)

    return _events(rng, count, 0.22, key)


def bangs(rng: np.random.Generator, count: int) -> Sound:
    def bang() -> Sound:
        length = rng.integers(3000, 14_000)
        decay = np.exp(-np.arange(length) / rng.uniform(300, 2500))
        body = np.sin(2 * np.pi * rng.uniform(60, 400) * np.arange(length) / RATE)
        return (rng.normal(size=length) + 2 * body) * decay

    return _events(rng, count, 2.5, bang)


def barks(rng: np.random.Generator, count: int) -> Sound:
    def bark() -> Sound:
        length = rng.integers(2000, 5000)
        time = np.arange(length) / RATE
        pitch = rng.uniform(250, 600) * (1 - 0.4 * time / time[-1])
        turn = 2 * np.pi * np.cumsum(pitch) / RATE
        voice = np.sum([np.sin(n * turn) / n**0.7 for n in range(1, 12)], axis=0)
        return np.asarray((voice + rng.normal(size=length)) * np.hanning(length))

    return _events(rng, count, 1.5, bark)


def birds(rng: np.random.Generator, count: int) -> Sound:
    def chirp() -> Sound:
        length = rng.integers(800, 4000)
        sweep = np.linspace(rng.uniform(2000, 6500), rng.uniform(2000, 6500), length)
        return np.sin(2 * np.pi * np.cumsum(sweep) / RATE) * np.hanning(length)

    return _events(rng, count, 0.35, chirp)


def music(rng: np.random.Generator, count: int) -> Sound:
    def note() -> Sound:
        length = int(rng.integers(4000, 16_000))
        pitch = 220 * 2 ** (rng.choice([0, 2, 3, 5, 7, 9, 10, 12, 14, 15]) / 12)
        decay = np.exp(-np.arange(length) / rng.uniform(2000, 9000))
        return np.asarray(_tones(length, pitch, 8, 1.4) * decay)

    def drum() -> Sound:
        return np.asarray(rng.normal(size=2500) * np.exp(-np.arange(2500) / 400))

    return _events(rng, count, 0.12, note) + _events(rng, count, 0.5, drum)


Noise = Callable[[np.random.Generator, int], Sound]
STEADY: dict[str, Noise] = {
    noise.__name__: noise for noise in (white, pink, rumble, fan, mains, engine, rain)
}
IMPULSIVE: dict[str, Noise] = {noise.__name__: noise for noise in (keyboard, bangs, barks, birds)}
NOISES: dict[str, Noise] = STEADY | IMPULSIVE | {"music": music}


def made(noise: str, rng: np.random.Generator, count: int) -> Sound:
    """Return a noise of RMS 1."""
    sound = NOISES[noise](rng, count)
    return np.asarray(sound / sound.std())


class Stream(NamedTuple):
    """A stretch of sound, and what is said in it."""

    samples: NDArray[np.int16]
    utterances: list[Utterance]


def spoken(
    rng: np.random.Generator,
    speech: Speech,
    noise: str,
    ratio: float,
    length: float,
    levels: tuple[float, float] = LEVELS,
) -> Stream:
    """Return speech at many levels in a noise that is so many decibels below each thing that is said."""
    count = round(length * RATE)
    voice, gain = np.zeros(count), np.full(count, np.nan)
    utterances, at = [], rng.uniform(1, 4)
    while True:
        is_word = bool(rng.random() < 0.5)
        language, sound = speech.take(is_word=is_word)
        level = rng.uniform(min(levels), max(levels))
        begin = round(at * RATE)
        if begin + len(sound) + RATE > count:
            break
        voice[begin : begin + len(sound)] += at_level(sound, level)
        gain[begin + len(sound) // 2] = level - ratio
        utterances.append(Utterance(language, is_word, level, noise, ratio, begin, begin + len(sound)))
        pause = SHORT_PAUSE if rng.random() > LONG_SHARE else LONG_PAUSE
        at += len(sound) / RATE + float(np.exp(rng.uniform(np.log(pause[0]), np.log(pause[1]))))
    known = np.flatnonzero(~np.isnan(gain))
    # The noise follows the levels slowly, so that the ratio holds at each of them.
    curve = np.interp(np.arange(count), known, gain[known]) if len(known) else np.full(count, -60.0)
    mixed = voice + made(noise, rng, count) * 10 ** (curve / 20) * 32768
    return Stream(np.clip(np.round(mixed), -32768, 32767).astype("<i2"), utterances)


def alone(rng: np.random.Generator, noise: str, dbfs: float, length: float) -> Stream:
    """Return a noise without anybody."""
    sound = made(noise, rng, round(length * RATE)) * 10 ** (dbfs / 20) * 32768
    return Stream(np.clip(np.round(sound), -32768, 32767).astype("<i2"), [])


def blocks(samples: NDArray[np.int16], size: int) -> Iterator[bytes]:
    """Yield the samples in blocks."""
    for begin in range(0, len(samples), size):
        yield samples[begin : begin + size].tobytes()
