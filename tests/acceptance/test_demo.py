"""The demo, in short form: what it prints against what the sandbox stored, and what it leaves behind."""

import hashlib
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opusfile import probe_seconds
from speech import write_wav
from virtual_microphone import VirtualMicrophone, virtual_microphone

from agent.audio.wav_format import read_wav_format
from agent.demo import sound as demosound
from agent.demo.process import command_line

__all__ = ["virtual_microphone"]

LIMIT = 60.0
PRE_SKIP = 312 / 48_000
"""Seconds, at any rate but 48 kHz; ffprobe counts them in."""


@pytest.fixture
def tones(tmp_path: Path) -> str:
    """Return tones without end as a value of audio.input."""
    path = tmp_path / "tones.wav"
    demosound.tones(path)
    return f"file:{path}?loop"


def run(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the demo with no terminal and no input."""
    return subprocess.run(
        command_line("demo", "--directory", folder, *arguments),
        env=os.environ if env is None else env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def said(output: str, label: str) -> list[str]:
    """Return what was printed behind a label."""
    return [line[len(label) :].strip() for line in output.splitlines() if line.startswith(f"{label} ")]


def stored_by(folder: Path) -> Path:
    """Return the one object that the sandbox of the one demo in a folder has stored."""
    (path,) = folder.glob("*/sandbox/objects/*/*")
    return path


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_listening(output: str) -> bool:
    """Whether the sandbox that was named in the output still answers."""
    port = int(re.findall(r"http://127\.0\.0\.1:(\d+)/v1", output)[0])
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_what_the_demo_prints_is_what_the_sandbox_stored(tmp_path: Path, tones: str) -> None:
    """Path, length and hash at the end are those of the stored object, and the API was told the same hash."""
    done = run(tmp_path / "demo", "--seconds", "2", "--input", tones)
    assert (done.returncode, done.stderr) == (0, "")
    stored = stored_by(tmp_path / "demo")
    digest = hashlib.sha256(stored.read_bytes()).hexdigest()
    assert said(done.stdout, "delivered") == [str(stored)]
    assert said(done.stdout, "sha256")[0].split()[0] == digest
    assert said(done.stdout, "duration")[0].startswith("2.000 s, ")
    assert probe_seconds(stored) == pytest.approx(2 + PRE_SKIP, abs=0.001)
    (sent,) = (tmp_path / "demo").glob("*/state/sent/*.opus")
    assert sent.read_bytes() == stored.read_bytes()
    assert "the API has confirmed its hash" in said(done.stdout, "compared")[0]


def test_the_demo_shows_level_queue_and_delivery_as_they_happen(tmp_path: Path, tones: str) -> None:
    """Levels come first, then states of the queue behind the calls that led to them, in the order of the API."""
    done = run(tmp_path / "demo", "--seconds", "3", "--input", tones)
    assert any("dBFS" in line for line in said(done.stdout, "level"))
    lines = [line for line in done.stdout.splitlines() if re.match(r"(queue|sandbox) .*(: |answered)", line)]
    steps = [re.sub(r".*?(\w+): .*|.*?(POST|PUT|HEAD) .*", r"\1\2", line) for line in lines]
    seen = [step for step in steps if step != "HEAD"]
    # On a busy machine some states have passed before anybody looks; none is shown twice or in another order.
    order = ["ready", "created", "stored", "uploaded"]
    states = [step for step in seen if step.islower()]
    assert states == sorted(set(states), key=order.index)
    assert seen[-1] == "uploaded"
    assert seen.index("POST") < seen.index("PUT")
    (log,) = (tmp_path / "demo").glob("*/sandbox/requests.jsonl")
    requests = [json.loads(line) for line in log.read_text().splitlines()]
    shown = [step for step in steps if step.isupper()]
    assert shown == [request["method"] for request in requests[: len(shown)]]
    # A heartbeat may still be under way when the recording has arrived and the demo ends.
    assert all(request["path"].endswith("/heartbeat") for request in requests[len(shown) :])


def test_the_demo_ends_what_it_has_started(tmp_path: Path, tones: str) -> None:
    """Neither sandbox nor recorder outlives a demo that has come to its end."""
    done = run(tmp_path / "demo", "--seconds", "1", "--input", tones)
    assert not is_alive(int(re.findall(r"process (\d+)", done.stdout)[0]))
    assert not is_listening(done.stdout)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_ends_what_it_has_started(
    tmp_path: Path, tones: str, number: signal.Signals, code: int
) -> None:
    """Ctrl-C and SIGTERM in the midst of the recording end all processes, without a traceback."""
    with demo_process(tmp_path / "demo", tones) as process:
        output = ""
        assert process.stdout is not None
        while "dBFS" not in output:
            line = process.stdout.readline()
            assert line, output
            output += line
        process.send_signal(number)
        rest, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert "delivered" not in rest
    assert not is_alive(int(re.findall(r"process (\d+)", output)[0]))
    assert not is_listening(output)


@contextmanager
def demo_process(folder: Path, tones: str) -> Iterator[subprocess.Popen[str]]:
    """Give a demo of half a minute that is under way."""
    process = subprocess.Popen(
        command_line("demo", "--directory", folder, "--seconds", "30", "--input", tones),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_the_demo_records_a_microphone_where_there_is_one(
    virtual_microphone: VirtualMicrophone, tmp_path: Path
) -> None:
    """With a microphone that gives sound nothing else is recorded, and its sound is in the level."""
    env = virtual_microphone.env | {"TMPDIR": str(tmp_path)}
    tone = array("h", (round(12_000 * math.sin(math.tau * 0.02 * t)) for t in range(16_000 * 60)))
    play = f"paplay -d vmic {write_wav(tmp_path / 'tone.wav', 16_000, 1, tone.tobytes())}"
    with subprocess.Popen(["sh", "-c", play], env=env, start_new_session=True) as player:
        try:
            done = run(tmp_path / "demo", "--seconds", "3", env=env)
        finally:
            os.killpg(player.pid, signal.SIGKILL)
    assert (done.returncode, done.stderr) == (0, "")
    assert said(done.stdout, "sound") == ["the microphone default is recorded: say something"]
    levels = [float(level) for level in re.findall(r"(-?\d+\.\d) dBFS", done.stdout)]
    assert max(levels) > -40
    assert probe_seconds(stored_by(tmp_path / "demo")) == pytest.approx(3 + PRE_SKIP, abs=0.001)


def test_each_sound_of_its_own_is_one_that_can_be_recorded(tmp_path: Path) -> None:
    """The voice of espeak-ng, the recorded voice and the tones are WAV files that Opus takes, and not silent."""
    made = [tmp_path / name for name in ("spoken.wav", "joined.wav", "tones.wav")]
    assert demosound.spoken(made[0])
    assert demosound.joined(made[1], demosound.ALSA_SOUNDS)
    demosound.tones(made[2])
    for path in made:
        form = read_wav_format(path)
        assert form.samples > 5 * form.sample_rate
        assert len(set(path.read_bytes()[form.offset :])) > 200
    assert sorted(tmp_path.iterdir()) == sorted(made)


def test_without_voices_the_sound_is_tones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither espeak-ng nor alsa-utils is installed there are tones, and the reason is said."""
    monkeypatch.setenv("PATH", str(tmp_path))
    sound = demosound.instead(tmp_path, "there is no microphone here", voices=tmp_path)
    assert sound.what == "there is no microphone here, so tones are played, in real time"
    assert sound.input == f"file:{tmp_path}/sound.wav?loop"
    assert read_wav_format(tmp_path / "sound.wav").samples == 160_000


def test_without_the_extra_the_demo_says_what_to_install(tmp_path: Path, tones: str) -> None:
    """A missing uvicorn is one sentence with the command that installs it."""
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('No uvicorn', name='uvicorn')\n")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    done = run(tmp_path / "demo", "--input", tones, env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 1
    assert done.stderr.startswith(
        "recorder-agent: the sandbox has ended: The sandbox needs the package uvicorn, which is not installed; "
        f"`{sys.prefix}/bin/pip install 'recorder-agent[sandbox]'` brings it; its log is "
    )


def test_a_recorder_that_cannot_start_is_quoted(tmp_path: Path) -> None:
    """A source that is not there ends the demo with the recorder's own reason."""
    done = run(tmp_path / "demo", "--input", f"file:{tmp_path}/none.wav")
    assert done.returncode == 1
    assert done.stderr.startswith(f"recorder-agent: {tmp_path}/none.wav is not a file")
