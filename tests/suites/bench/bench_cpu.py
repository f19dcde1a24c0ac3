"""What encoding costs: processor seconds of whole processes, start-up included, in interleaved rounds."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench_device import FOLDER, Device, environment, run
from bench_spread import Spread, spread
from speech import speech, write_wav

RATE = 16000
KBITS = 32
COMPLEXITY = 5
HIGH_COMPLEXITY = 10
FRAME_MS = 20
START_UP_SECONDS = 0.5
"""Length of the file whose recording costs hardly more than starting."""
CONTROL_ROUNDS = 3
"""The control is dear, and far from its bound."""
_SET_VOIP = "4000=2048"  # OPUS_SET_APPLICATION_REQUEST = OPUS_APPLICATION_VOIP
_WAV_HEADER = 44

AGENT, LOOP, FFMPEG, OPUSENC = "agent", "C loop", "ffmpeg", "opusenc"
START_UP, DEARER = "agent, start-up", "agent, complexity 10"


class Costs:
    """CPU seconds of each contender, one figure a round."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.sizes: dict[str, int] = {}
        """Bytes that a contender has written."""

    def ratios(self, above: str, below: str, *, without_start_up: bool = False) -> Spread:
        """Return one contender's cost in terms of another's, round by round."""
        start_up = min(self.seconds[START_UP]) if without_start_up else 0.0
        pairs = zip(self.seconds[above], self.seconds[below], strict=False)
        return spread([(mine - start_up) / others for mine, others in pairs])


def measure(device: Device, audio_seconds: int, rounds: int) -> Costs:
    """Encode so much speech with each contender in turn, ``rounds`` times; the control in the first of them."""
    wav, short = _speech_files(audio_seconds)
    costs = Costs()
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        folder = Path(name)
        contenders = _contenders(device, folder, wav, short)
        contenders[START_UP](folder / "warm-up")
        for number in range(rounds):
            for contender, encode in contenders.items():
                if contender != DEARER or number < CONTROL_ROUNDS:
                    output = folder / f"{number} {contender}"
                    costs.seconds.setdefault(contender, []).append(encode(output))
                    costs.sizes[contender] = _size(output)
    return costs


def cpu_seconds(command: Sequence[str]) -> float:
    """Run a command and return user and system time of the process and of the children it has waited for."""
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            command, env=environment(), stdin=subprocess.DEVNULL, stdout=words, stderr=words
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            words.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{words.read().decode(errors='replace')}")
    return used.ru_utime + used.ru_stime


def _contenders(device: Device, folder: Path, wav: Path, short: Path) -> dict[str, Callable[[Path], float]]:
    """Return, by name and in the order of a round, what encodes into a path and says how long it took."""
    loop, pcm = folder / "encode", folder / "speech.pcm"
    run("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(loop), str(_source()), "-lopus")
    pcm.write_bytes(wav.read_bytes()[_WAV_HEADER:])
    bits, complexity, frame = str(KBITS * 1000), str(COMPLEXITY), str(FRAME_MS)

    def agent(input_file: Path, complexity: int) -> Callable[[Path], float]:
        def encode(output: Path) -> float:
            config = output.with_suffix(".toml")
            config.write_text(
                f'[storage]\ndirectory = "{output}"\n[opus]\nbitrate_kbps = {KBITS}\nframe_ms = {FRAME_MS}\n'
                f'complexity = {complexity}\napplication = "voip"\n'
            )
            return cpu_seconds(device.agent(config, "record", "--input", str(input_file)))

        return encode

    def with_ffmpeg(output: Path) -> float:
        settings = ["-application", "voip", "-compression_level", complexity, "-b:a", bits, "-vbr", "on"]
        command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-i", str(wav), "-c:a", "libopus", *settings]
        return cpu_seconds([*command, "-frame_duration", frame, "-f", "ogg", str(output)])

    def with_opusenc(output: Path) -> float:
        settings = ["--bitrate", str(KBITS), "--comp", complexity, "--framesize", frame]
        return cpu_seconds(
            ["opusenc", "--quiet", *settings, "--set-ctl-int", _SET_VOIP, str(wav), str(output)]
        )

    def with_loop(output: Path) -> float:
        return cpu_seconds([str(loop), str(pcm), str(output), bits, complexity, frame])

    return {
        AGENT: agent(wav, COMPLEXITY),
        LOOP: with_loop,
        FFMPEG: with_ffmpeg,
        OPUSENC: with_opusenc,
        START_UP: agent(short, COMPLEXITY),
        DEARER: agent(wav, HIGH_COMPLEXITY),
    }


def _source() -> Path:
    return Path(__file__).with_name("encode.c")


def _speech_files(audio_seconds: int) -> tuple[Path, Path]:
    """Write so much recorded speech, and its first half second."""
    pcm = speech(RATE, 1, audio_seconds * RATE)
    wav = write_wav(FOLDER / "speech.wav", RATE, 1, pcm)
    return wav, write_wav(FOLDER / "start-up.wav", RATE, 1, pcm[: round(START_UP_SECONDS * RATE) * 2])


def _size(output: Path) -> int:
    """Return the bytes of a file, or of the recordings in a state directory."""
    if output.is_file():
        return output.stat().st_size
    return sum(file.stat().st_size for file in output.glob("outbox/*.opus"))
