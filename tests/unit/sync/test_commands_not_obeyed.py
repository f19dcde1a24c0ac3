"""The API's commands that are not obeyed: refused, expired or repeated; nothing secret is kept of them."""

import json
from pathlib import Path

import pytest
from command_bench import GRANT, KEYS, Bench, command

from agent.clock import Instant
from agent.disk import Disk
from agent.errors import AgentError
from agent.recording.asked.requests import ManualRequest
from agent.sync.remote.processed_commands import FILE, MOST_REMEMBERED, ProcessedCommands

DAY = 86_400.0


# not obeying


@pytest.mark.parametrize(
    ("kind", "action"), [("factory_reset", "command_refused"), ("self_destruct", "command_unknown")]
)
def test_what_is_not_obeyed_is_said(tmp_path: Path, kind: str, action: str) -> None:
    """A factory reset is refused, an unknown type ignored; both only once."""
    bench = Bench(tmp_path)
    bench.run(5, {1: lambda: bench.answer(command("1", kind)), 2: lambda: bench.answer(command("1", kind))})
    (record,) = bench.said(action)
    assert (record["id"], record["type"]) == ("cmd_1", kind)
    assert bench.uploads == []


def test_the_owner_may_allow_none(tmp_path: Path) -> None:
    """With heartbeat.remote_commands = false every command is refused by name."""
    bench = Bench(tmp_path, enabled=False)
    kinds = ["start_recording", "stop_recording", "trigger_upload"]
    orders = [command(str(number), kind) for number, kind in enumerate(kinds)]
    bench.run(5, {1: lambda: bench.answer(*orders)})
    assert [record["type"] for record in bench.said("command_refused")] == kinds
    assert (bench.seconds, bench.uploads) == ([], [])


def test_an_expired_command_is_dropped(tmp_path: Path) -> None:
    """By the time that is known to be right, whatever the wall clock says; one without an expiry is alive."""
    bench = Bench(tmp_path)
    true = bench.clock.wall() + 5000.0
    bench.unix_time = lambda: true
    second = {"max_duration_sec": 1}
    bench.run(
        12,
        {
            2: lambda: bench.answer(command("1", expires_at=true - 0.1, params=second)),
            4: lambda: bench.answer(command("2", expires_at=true + 0.1, params=second)),
            8: lambda: bench.answer(command("3", params=second)),
        },
    )
    assert [record["id"] for record in bench.said("command_expired")] == ["cmd_1"]
    assert bench.seconds == [1.0, 1.0]


def test_without_the_time_a_command_lives(tmp_path: Path) -> None:
    """It has just arrived, and a server hands out none that is over."""
    bench = Bench(tmp_path)
    bench.unix_time = lambda: None
    order = command("1", expires_at="2020-01-01T00:00:00Z", params={"max_duration_sec": 1})
    bench.run(6, {2: lambda: bench.answer(order)})
    assert bench.seconds == [1.0]


# once


@pytest.mark.parametrize("key", KEYS)
def test_a_command_is_obeyed_once(tmp_path: Path, key: str) -> None:
    """However often and under whichever keys it comes."""
    bench = Bench(tmp_path)
    order = command("1", params={"max_duration_sec": 2})
    bench.run(
        20,
        {
            2: lambda: bench.answer(order, order, key=key),
            8: lambda: bench.answer(order, key=key),
            12: lambda: bench.answer(order, key=KEYS[0]),
            13: lambda: bench.answer(order, key=KEYS[1]),
        },
    )
    assert bench.seconds == [2.0]
    assert [record["log_level"] for record in bench.said("command_repeated")][:2] == ["info", "debug"]


def test_it_is_remembered_over_a_restart_and_for_a_day(tmp_path: Path) -> None:
    """The ids are on disk before a command is obeyed; after a day, by any clock, they go."""
    bench = Bench(tmp_path)
    seen_before: list[bool] = []
    order = command("1", params={"max_duration_sec": 2})

    def take() -> None:
        start = bench.setup.recorder.start

        def look_and_start(request: ManualRequest) -> None:
            seen_before.append((tmp_path / FILE).exists())
            start(request)

        bench.setup.recorder.start = look_and_start  # type: ignore[method-assign] # looks at the disk first
        bench.answer(order)

    bench.run(6, {2: take})
    assert seen_before == [True]
    assert "cmd_1" in bench.remembered()
    bench.clock.sleep(DAY)
    later = bench.remembered()
    later.add(["cmd_2"])
    assert "cmd_1" not in later
    assert "cmd_2" in bench.remembered()


def test_a_wall_clock_that_went_back_forgets_nothing(tmp_path: Path) -> None:
    """After a reboot with yesterday's clock a command is still known; a day later by the wall it is not."""
    moments = [Instant(10 * 86_400_000, "boot-1", 1000, "ntp")]
    memory = ProcessedCommands(tmp_path, Disk(), lambda: moments[-1])
    memory.add(["cmd_1"])
    moments.append(Instant(3 * 86_400_000, "boot-2", 1000, "unsynchronized"))
    memory.add(["cmd_2"])
    assert "cmd_1" in ProcessedCommands(tmp_path, Disk(), lambda: moments[-1])
    moments.append(Instant(11 * 86_400_000 + 1, "boot-3", 1000, "ntp"))
    memory.add(["cmd_3"])
    assert "cmd_1" not in memory


def test_the_memory_is_bounded(tmp_path: Path) -> None:
    """The newest stay, however many come."""
    bench = Bench(tmp_path)
    memory = bench.remembered()
    memory.add([f"cmd_{number}" for number in range(3 * MOST_REMEMBERED)])
    assert "cmd_0" not in memory
    assert f"cmd_{3 * MOST_REMEMBERED - 1}" in memory
    assert len(json.loads((tmp_path / FILE).read_text())) == MOST_REMEMBERED


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"cmd_1": 5}', b"\xff\xfe"])
def test_a_damaged_memory_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    """It is begun anew."""
    (tmp_path / FILE).write_bytes(content)
    bench = Bench(tmp_path)
    memory = bench.remembered()
    assert "cmd_1" not in memory
    memory.add(["cmd_1"])
    assert "cmd_1" in bench.remembered()


def test_a_disk_that_fails_stops_no_command(tmp_path: Path) -> None:
    """It is obeyed and known until the restart, and the log says what is lost."""

    def fail(step: str) -> None:
        if step.startswith("commands"):
            raise OSError(28, "No space left on device")

    bench = Bench(tmp_path)
    order = command("1", params={"max_duration_sec": 1})
    bench._commands = None
    memory = ProcessedCommands(tmp_path, Disk(fail), bench.now)
    bench.remembered = lambda: memory  # type: ignore[method-assign] # on a disk that fails
    bench.run(9, {2: lambda: bench.answer(order), 5: lambda: bench.answer(order)})
    assert bench.seconds == [1.0]
    assert len(bench.said("commands_failed")) == 1


# secrets, firmware


def test_a_grant_token_goes_nowhere(tmp_path: Path) -> None:
    """Neither into the log nor onto the disk, in whatever a command consists of."""
    bench = Bench(tmp_path)
    orders = [
        command("1", params={"max_duration_sec": 1, "grant_token": GRANT}),
        command("2", GRANT),
        command("3", "factory_reset"),
        {"grant_token": GRANT, "id": f"cmd_{GRANT}", "type": "start_recording"},
        command("4", params=GRANT),
    ]
    bench.run(6, {2: lambda: bench.answer(*orders), 3: lambda: bench.answer(*orders)})
    assert bench.seconds == [1.0]
    assert GRANT not in str(bench.log)
    assert len(bench.log) > 5
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert tmp_path / FILE in files
    assert all(GRANT.encode() not in path.read_bytes() for path in files)


def test_firmware_is_said_once_a_version(tmp_path: Path) -> None:
    """And ignored under whichever name it comes."""
    bench = Bench(tmp_path)

    def take() -> None:
        for offer in (
            {"firmware": {"version": "9.1"}},
            {"firmware_manifest": {"version": "9.2"}},
            {"firmware": None},
        ):
            bench.commands.take(offer)

    bench.run(5, {1: take, 2: take})
    told = [record["version"] for record in bench.said("firmware_ignored") if record["log_level"] == "info"]
    assert told == ["9.1", "9.2"]


def test_the_state_is_what_it_is(tmp_path: Path) -> None:
    """A full disk refuses the command's recording; the effect that is told is storage_full, not recording."""
    bench = Bench(tmp_path)
    bench.setup.storage_problem = lambda _was_full: AgentError("the disk is full")
    bench.run(8, {2: lambda: bench.answer(command("1", params={"max_duration_sec": 2}))})
    assert bench.effects
    assert {state for _, state in bench.effects} == {"storage_full"}
    assert bench.seconds == []
