"""The owner's command: told of trouble that lasts, once, and of its end, once; never waited for."""

import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance import wait_for
from logcapture import capture_logs
from publishing import running
from simulated import SimulatedClock
from waiting_recordings import LoopClock

from agent.config.schema import Config, HooksConfig, StorageConfig
from agent.deliverer.publisher import Publisher
from agent.deliverer.wiring import DelivererWiring
from agent.process.state_directory import Process
from agent.publish.hook import COMMAND_SECONDS, TROUBLE, FaultHook, HookRunner
from agent.recorder.publisher import Publisher as RecorderPublisher
from agent.recorder.wiring import RecorderWiring
from agent.status.board import State
from agent.status.condition import Condition

FAULT, FULL, LOST, MUTED = (
    Condition.FAULT,
    Condition.STORAGE_FULL,
    Condition.NO_MICROPHONE,
    Condition.MUTED,
)
GOOD = Condition.RECORDING
Told = list[tuple[float, str, str]]


def told(*course: tuple[Condition, float]) -> Told:
    """Return what is told, and after how many seconds, when each condition lasts for so long; looked at every 2 s."""
    clock, heard = SimulatedClock(), []
    began = clock.monotonic()
    hook = FaultHook(
        lambda event, condition, _: heard.append((clock.monotonic() - began, event, condition.value)),
        clock.monotonic,
    )
    for condition, seconds in course:
        end = clock.monotonic() + seconds
        while clock.monotonic() < end:
            hook.update(condition, "a sentence")
            clock.sleep(min(2.0, end - clock.monotonic()))
    return heard


@pytest.mark.parametrize("condition", [FAULT, FULL, LOST, MUTED])
def test_trouble_that_lasts_is_told_once_and_its_end_once(condition: Condition) -> None:
    """After a minute ``begin``, however long it lasts; ``end`` with the first good moment."""
    word = condition.value
    assert told((GOOD, 10), (condition, 3600), (GOOD, 3600)) == [
        (70.0, "begin", word),
        (3610.0, "end", word),
    ]


def test_what_stands_above_the_credential_is_trouble() -> None:
    """The first four rows of the table, typed anew; a token that is missing stops no recording."""
    assert {each.value for each in TROUBLE} == {"fault", "storage_full", "no_microphone", "muted"}
    assert told((Condition.NO_CREDENTIAL, 3600), (Condition.RECORDING_SILENT, 3600)) == []


def test_trouble_that_comes_and_goes_is_never_told() -> None:
    """59 s bad and 1 s good, over and over: nothing has lasted."""
    assert told(*[(LOST, 59), (GOOD, 1)] * 20) == []


def test_conditions_that_follow_each_other_fill_the_minute_together() -> None:
    """Two kinds of trouble that take turns every 20 s are trouble: told once, ended once."""
    assert told(*[(LOST, 20), (FULL, 20)] * 20, (GOOD, 10)) == [
        (60.0, "begin", "storage_full"),
        (800.0, "end", "storage_full"),
    ]


def test_another_trouble_that_lasts_is_told_too() -> None:
    """A command that ignores a mute hears of the microphone that is missing when it is over."""
    assert told((MUTED, 600), (LOST, 600), (GOOD, 10)) == [
        (60.0, "begin", "muted"),
        (660.0, "begin", "no_microphone"),
        (1200.0, "end", "no_microphone"),
    ]


def test_a_short_other_trouble_is_not_told() -> None:
    """While one is told, another that passes by within the minute changes nothing."""
    assert told((LOST, 120), (FULL, 30), (LOST, 120), (GOOD, 10)) == [
        (60.0, "begin", "no_microphone"),
        (270.0, "end", "no_microphone"),
    ]


def test_what_was_not_told_has_no_end() -> None:
    """Less than a minute of trouble leaves no trace."""
    assert told((GOOD, 10), (FAULT, 58), (GOOD, 600)) == []


# the command itself


@pytest.fixture
def command(tmp_path: Path) -> Callable[[str], Path]:
    """Return what makes an executable of lines of shell; ``$OUT`` stands for a file beside it."""

    def make(lines: str) -> Path:
        path = tmp_path / "on-fault"
        path.write_text(f"#!/bin/sh\n{lines.replace('$OUT', str(tmp_path / 'out'))}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


def finish(runner: HookRunner) -> None:
    """Look until nothing runs."""

    def idle() -> bool:
        runner.poll()
        return runner.is_idle

    wait_for(idle)


def test_the_command_gets_words_and_hardly_any_environment(
    tmp_path: Path, command: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its arguments say what happened, unharmed by any shell; of the environment nothing leads to the token."""
    for name in ("CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "STATE_DIRECTORY", "RECORDER_AGENT_CONFIG"):
        monkeypatch.setenv(name, f"/secret/{name}")
    path = command('printf "%s|" "$@" >> $OUT; echo >> $OUT; env >> $OUT; pwd >> $OUT')
    runner = HookRunner(str(path), time.monotonic)
    runner.tell("begin", LOST, "no microphone, waiting for $(reboot); 'x'")
    runner.tell("end", LOST, "recording")
    finish(runner)
    text = (tmp_path / "out").read_text()
    assert text.startswith("begin|no_microphone|no microphone, waiting for $(reboot); 'x'|\n")
    assert "\nend|no_microphone|recording|\n" in text
    assert "/secret/" not in text
    names = {line.split("=")[0] for line in text.splitlines() if "=" in line}
    assert names <= {"HOME", "LANG", "PATH", "TZ", "PWD", "SHLVL", "OLDPWD", "_"}
    assert text.splitlines()[-1] == "/"


def test_a_command_that_hangs_is_ended_with_all_it_started(
    tmp_path: Path, command: Callable[[str], Path]
) -> None:
    """After 30 s nothing of it is left, one warning is said, and looking never took long."""
    clock = SimulatedClock()
    path = command("sleep 600 & echo $! > $OUT; wait")
    runner = HookRunner(str(path), clock.monotonic)
    runner.tell("begin", FAULT, "fault")
    longest = 0.0
    with capture_logs() as logs:
        runner.poll()
        wait_for(lambda: (tmp_path / "out").exists() and (tmp_path / "out").read_text().endswith("\n"))
        child = int((tmp_path / "out").read_text())
        for _ in range(20):
            clock.sleep(2.0)
            assert runner.is_idle == (clock.monotonic() - 1000 >= COMMAND_SECONDS + 2)
            before = time.monotonic()
            runner.poll()
            longest = max(longest, time.monotonic() - before)
    wait_for(lambda: not alive(child))
    assert [line["action"] for line in logs] == ["hook_started", "hook_ended"]
    assert longest < 1.0


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it was gone before it was opened, or before it was read
        return False


@pytest.mark.parametrize("lines", ["exit 3", "kill -9 $$"])
def test_a_command_that_fails_is_a_warning(command: Callable[[str], Path], lines: str) -> None:
    """Its exit code is said."""
    runner = HookRunner(str(command(lines)), time.monotonic)
    runner.tell("begin", FAULT, "fault")
    with capture_logs() as logs:
        finish(runner)
    assert logs[-1]["action"] == "hook_failed"
    assert logs[-1]["exit_code"] in {3, -signal.SIGKILL}


@pytest.mark.parametrize(("name", "sentence"), [("missing", "fault"), (".", "fault"), ("on-fault", "a\0b")])
def test_a_command_that_cannot_be_run_is_a_warning(
    tmp_path: Path, command: Callable[[str], Path], name: str, sentence: str
) -> None:
    """A wrong path in the settings, a folder, a microphone with a null byte in its name: nothing stops."""
    command("true")
    runner = HookRunner(str(tmp_path / name), time.monotonic)
    runner.tell("begin", FAULT, sentence)
    with capture_logs() as logs:
        finish(runner)
    assert [line["action"] for line in logs] == ["hook_failed"]


def test_from_the_board_to_the_command(tmp_path: Path, command: Callable[[str], Path]) -> None:
    """The publisher tells what the board says; a recorder that stops while trouble is told claims no end."""
    path = command('printf "%s|" "$@" >> $OUT; echo >> $OUT')
    with running(tmp_path) as (parts, clock):
        config = Config(
            storage=StorageConfig(directory=str(parts.state.path)), hooks=HooksConfig(on_fault=str(path))
        )
        parts.config = config
        hears = RecorderWiring(config, parts.state, clock=clock, machine=lambda: "ntp")
        hears.board.report(state=State.NO_MICROPHONE, microphone_name="Blue Yeti")
        shown = RecorderPublisher(hears)
        for second in range(0, 80, 5):
            clock.after(second, shown.turn)
        with parts.state.lock(Process.RECORDER):
            run_slowly(parts, clock, 80, (tmp_path / "out").exists)
    assert (tmp_path / "out").read_text() == "begin|no_microphone|no microphone, waiting for Blue Yeti|\n"


def run_slowly(parts: DelivererWiring, clock: LoopClock, seconds: float, seen: Callable[[], bool]) -> None:
    """Publish on the simulated clock until it is over; at its end the real command gets its real time."""
    clock.end = clock.monotonic() + seconds
    clock.after(seconds - 4, lambda: wait_for(seen))
    Publisher(parts, battery=lambda: None).run(clock.stopping)
