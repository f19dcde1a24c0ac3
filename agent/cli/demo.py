"""``recorder-agent demo``: the way of a recording from sound to delivery, with nothing but this machine.

Procedure: sandbox (a process) → sound → settings and device token → recorder (a process) → record through its
control socket → follow the queue until the recording is delivered → read the file that the sandbox stored.
"""

import contextlib
import datetime as dt
import hashlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
import tomli_w

from agent import log
from agent.audio.ogg import read_summary
from agent.control.server import NotRunning, ask
from agent.demo.follow import Follower
from agent.demo.process import Process, command_line, environment
from agent.demo.screen import Screen
from agent.demo.sound import Sound, choose
from agent.errors import AgentError
from agent.process.state_directory import StateDirectory
from agent.terminal.output import echo, size

TOKEN = "dtok_sandbox"  # noqa: S105 - opens nothing but a sandbox
START_SECONDS = 30.0
MIN_FREE_MB = 20
"""The demo needs less room than a recorder: it may stand on a small tmpfs."""
JUDGE_SECONDS = 20.0

_SANDBOX_READY = re.compile(r"^Sandbox at (http\S+), ")
_PLAYBACK = re.compile(r"Playback length: (\S+)")


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=1, max=600),
    default=10,
    show_default=True,
    help="Length of the recording.",
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("recorder-agent-demo"),
    show_default=True,
    help="Where everything is kept, in a new folder each time.",
)
@click.option(
    "--input",
    "wanted",
    metavar="INPUT",
    help="A value of audio.input; without it a microphone, else a voice or tones.",
)
def demo(seconds: float, directory: Path, wanted: str | None) -> None:
    """Record, queue and deliver once, to an API on this machine."""
    log.configure("error", "text")
    screen = Screen()
    folder = _new_folder(directory)
    echo("A recording on its way from sound to delivery. Nothing leaves this machine.\n")
    screen.say("files", f"all of them are in {folder}")
    with _ended_by_signals(), _runtime_folder() as runtime:
        stored, row = _deliver_one(screen, folder, runtime, seconds, wanted)
    look = shlex.join([_program(), "--config", str(folder / "config.toml"), "queue", "list"])
    screen.say("look", f"with {look}")
    _show_result(screen, stored, row)


def _deliver_one(
    screen: Screen, folder: Path, runtime: Path, seconds: float, wanted: str | None
) -> tuple[Path, dict[str, Any]]:
    """Return the file that the sandbox stored, and the row of the queue."""
    environ = environment(runtime)
    state = StateDirectory(folder / "state", runtime)
    objects = folder / "sandbox" / "objects"
    arguments = command_line("sandbox", "--port", "0", "--directory", folder / "sandbox")
    with Process("sandbox", arguments, folder / "sandbox.log", environ) as sandbox:
        sound = Sound(wanted, f"{wanted} is recorded") if wanted else choose(folder, runtime)
        base_url = _address(sandbox)
        screen.say("sandbox", f"listens at {base_url}")
        screen.say("sound", sound.what)
        config = _write_config(folder, base_url, sound.input)
        _set_token(config, environ)
        arguments = command_line("--config", config, "run")
        with Process("recorder", arguments, folder / "recorder.log", environ) as recorder:
            recorder.wait_until(lambda: _answers(state), START_SECONDS)
            screen.say("recorder", f"runs as process {recorder.pid}, and writes its log to {recorder.log}")
            row = Follower(screen, state, sandbox, recorder, seconds).follow()
    return _stored(objects, row), row


def _program() -> str:
    """Return how this program is called."""
    beside = Path(sys.executable).with_name("recorder-agent")
    return str(beside) if beside.exists() else "recorder-agent"


def _new_folder(parent: Path) -> Path:
    """Return a new folder named by the time: a demo begins with nothing."""
    name = dt.datetime.now().astimezone().strftime("%Y-%m-%d_%H%M%S")
    for tail in ("", *(f"-{number}" for number in range(2, 100))):
        folder = parent.absolute() / f"{name}{tail}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AgentError(f"{parent} is full of demos of this second", "choose another --directory")


@contextlib.contextmanager
def _runtime_folder() -> Iterator[Path]:
    """Give a folder for the control socket and ALSA's settings, whose path must be short and plain."""
    with tempfile.TemporaryDirectory(prefix="recorder-agent-demo-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end the demo as Ctrl-C does, with all it has started."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, end) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _address(sandbox: Process) -> str:
    found: list[str] = []

    def ready() -> bool:
        found.extend(match[1] for line in sandbox.new_lines() if (match := _SANDBOX_READY.match(line)))
        return bool(found)

    sandbox.wait_until(ready, START_SECONDS)
    return found[0]


def _write_config(folder: Path, base_url: str, audio_input: str) -> Path:
    path = folder / "config.toml"
    settings = {
        "api": {"base_url": base_url},
        "audio": {"input": audio_input},
        "recording": {"mode": "manual", "name": "Demo {started_at:%Y-%m-%d %H:%M:%S}"},
        "storage": {"directory": str(folder / "state"), "min_free_mb": MIN_FREE_MB},
    }
    path.write_text(tomli_w.dumps(settings), encoding="utf-8")
    return path


def _set_token(config: Path, environ: dict[str, str]) -> None:
    done = subprocess.run(
        command_line("--config", config, "token", "set"),
        env=environ,
        input=TOKEN,
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise AgentError(
            f"the device token of the sandbox cannot be set ({done.stderr.strip()})", "report this"
        )


def _answers(state: StateDirectory) -> bool:
    try:
        ask(state.socket, {"command": "status"})
    except NotRunning:
        return False
    return True


def _stored(objects: Path, row: dict[str, Any]) -> Path:
    """Return the one file that the sandbox has of the recording."""
    files = sorted((objects / str(row["remote_id"])).iterdir())
    if len(files) != 1:
        raise AgentError(f"the sandbox has {len(files)} files of one recording in {objects}", "report this")
    return files[0]


def _show_result(screen: Screen, stored: Path, row: dict[str, Any]) -> None:
    """Print what the delivered file itself says.

    Raises:
        AgentError: it is not what was recorded.
    """
    summary = read_summary(stored)
    digest = _sha256(stored)
    if not summary.complete:
        raise AgentError(f"{stored} does not end as a whole file does", "report this")
    if {digest} != {row["sha256"], _sha256(Path(row["path"]))}:
        raise AgentError(f"{stored} is not the file that was recorded, {row['path']}", "report this")
    confirmed = ", and the API has confirmed its hash" if row["verified"] else ""
    screen.say("compared", f"what the sandbox stored is what was recorded, byte for byte{confirmed}")
    echo()
    screen.say("delivered", str(stored))
    length = f"{summary.samples / summary.head.sample_rate:.3f} s, {size(stored.stat().st_size)} of Ogg Opus"
    screen.say("duration", length + _judgement(stored))
    screen.say("sha256", f"{digest}  (computed from the delivered file)")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _judgement(path: Path) -> str:
    """Return what a program that is not ours says about the file, where it is installed."""
    program = shutil.which("opusinfo")
    if program is None:
        return ""
    try:
        answer = subprocess.run(
            [program, str(path)],
            timeout=JUDGE_SECONDS,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = _PLAYBACK.search(answer.stdout)
    complaints = [line for line in answer.stdout.splitlines() if line.startswith("WARNING")]
    said = found[1] if found else "that it cannot read it"
    return f" (opusinfo says {'; '.join([said, *complaints])})"
