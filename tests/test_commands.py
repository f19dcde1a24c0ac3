"""What the API's commands make the recorder do: read with tolerance, obeyed once, each decision in the log."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from logcapture import capture_logs
from simulated import RATE, Script, ScriptedSource
from studio import Studio

from agent.bounds import COMMANDS
from agent.config import RecordingConfig
from agent.host.disk import Disk
from agent.recording.clock import Instant
from agent.recording.recorder import Recorder
from agent.recording.requests import ManualRequest
from agent.status.board import Transfer
from agent.sync.remote.commands import FILE, MOST_REMEMBERED, Commands, Remembered
from agent.sync.remote.orders import MalformedOrder, orders_in, understand

GRANT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkZXZfMSJ9.c2lnbmF0dXJl"
KEYS = ("commands", "pending_commands", "command")
DAY = 86_400.0

Json = dict[str, Any]


def command(identity: str, kind: str = "start_recording", **more: object) -> Json:
    """Return a command as the API shows it."""
    return {
        "id": f"cmd_{identity}",
        "device_id": "dev_1",
        "type": kind,
        "params": {},
        "grant_token": GRANT,
        **more,
    }


class Bench:
    """A recorder in a studio, and what obeys for it."""

    def __init__(self, folder: Path, mode: str = "manual", *, enabled: bool = True) -> None:
        self.studio = Studio(folder, RecordingConfig(mode=mode, segment_seconds=600))  # type: ignore[arg-type] # a mode
        self.clock = self.studio.clock
        self.enabled = enabled
        self.uploads: list[str] = []
        self.effects: list[tuple[float, str]] = []
        self.unix_time: Callable[[], float | None] = self.clock.wall
        self.log: list[dict[str, Any]] = []
        self._commands: Commands | None = None

    @property
    def commands(self) -> Commands:
        """What obeys, made when the recorder is there."""
        if self._commands is None:
            self._commands = Commands(
                self.studio.recorder,
                self.studio.board,
                self.remembered(),
                enabled=self.enabled,
                now=self.now,
                unix_time=self.unix_time,
                upload_everything=lambda: self.uploads.append("everything"),
                upload_soon=lambda: self.uploads.append("soon"),
            )
        return self._commands

    def now(self) -> Instant:
        """Return this moment."""
        return self.studio.truetime.instant(self.clock.monotonic())

    def remembered(self) -> Remembered:
        """Read the memory from the disk."""
        return Remembered(self.studio.folder, Disk(), self.now)

    def answer(self, *orders: object, key: str = "commands") -> None:
        """Take a heartbeat's answer."""
        self.commands.take({"status": "ok", key: list(orders)})

    def look(self) -> None:
        """Look for effects, as the heartbeat does."""
        if self.commands.took_effect():
            self.effects.append(
                (round(self.clock.monotonic() - 1000, 1), self.studio.board.snapshot.state.value)
            )

    def run(self, seconds: float, plan: Mapping[float, Callable[[], object]], *, sound: bool = True) -> None:
        """Run the recorder for so long, and do what is planned on the way; effects are looked for all the time."""
        for at, act in plan.items():
            self.clock.after(at, act)
        for tick in range(int(seconds * 4)):
            self.clock.after(tick / 4, self.look)

        def end() -> None:
            self.studio.recorder.stop()

        self.clock.after(seconds, end)

        def script(source: ScriptedSource, _recorder: Recorder) -> Script:
            while True:
                yield from source.sound(1) if sound else source.nothing(1)

        with capture_logs() as captured:
            self.studio.record(script)
        self.log = captured

    def said(self, action: str) -> list[dict[str, Any]]:
        """Return the records of an action."""
        return [record for record in self.log if record["action"] == action]

    @property
    def seconds(self) -> list[float]:
        """How long each recording is."""
        return [samples / RATE for samples in self.studio.samples]


# reading


@pytest.mark.parametrize("key", KEYS)
def test_commands_are_found_under_each_key(key: str) -> None:
    """As a list or as one object; anything else there is one thing that is not understood."""
    one = command("1")
    assert list(orders_in({"status": "ok", key: one})) == [one]
    assert list(orders_in({key: [one, one]})) == [one, one]
    assert list(orders_in({key: None})) == []
    assert list(orders_in({key: "now"})) == ["now"]
    assert list(orders_in({})) == []
    assert len(list(orders_in({key: [one] * 1000}))) == COMMANDS


def test_params_have_defaults() -> None:
    """An hour, uploaded at once, without metadata."""
    order = understand({"id": "cmd_a-B_9", "type": "start_recording"})
    assert (order.seconds, order.upload, order.metadata, order.expires_at) == (3600, True, {}, None)


@pytest.mark.parametrize(
    ("given", "seconds"), [(60, 60), (59.9, 59), (0, 1), (-5, 1), (90_000, 86_400), (1e300, 86_400)]
)
def test_a_duration_out_of_range_is_brought_into_it(given: float, seconds: int) -> None:
    """1 to 86400."""
    assert understand(command("1", params={"max_duration_sec": given})).seconds == seconds


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-01-01T00:00:00Z", 1_767_225_600.0),
        ("2026-01-01T01:00:00.500+01:00", 1_767_225_600.5),
        ("2026-01-01T00:00:00", 1_767_225_600.0),
        (1_767_225_600, 1_767_225_600.0),
        (1_767_225_600_000, 1_767_225_600.0),
        ("soon", None),
        (300, None),
        (True, None),
        (None, None),
    ],
)
def test_the_time_of_expiry_is_read(given: object, expected: float | None) -> None:
    """ISO 8601, or a unix time; what cannot be read says nothing."""
    assert understand(command("1", expires_at=given)).expires_at == expected


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "start_recording",
        7,
        [],
        {},
        {"type": "start_recording"},
        {"id": "cmd_1"},
        {"id": "cmd_1", "type": 3},
        {"id": "cmd_", "type": "start_recording"},
        {"id": "rec_1", "type": "start_recording"},
        {"id": "cmd_a/../b", "type": "start_recording"},
        {"id": 5, "type": "start_recording"},
        command("1", params=[]),
        command("1", params={"max_duration_sec": "60"}),
        command("1", params={"max_duration_sec": True}),
        command("1", params={"upload_immediately": "no"}),
    ],
    ids=str,
)
def test_malformed_orders(raw: object, tmp_path: Path) -> None:
    """They are said once, as what they are, and nothing is recorded."""
    with pytest.raises(MalformedOrder):
        understand(raw)
    bench = Bench(tmp_path)
    bench.run(3, {1: lambda: bench.answer(raw), 2: lambda: bench.answer(raw)})
    assert bench.seconds == []
    assert [record["log_level"] for record in bench.said("command_malformed")] == ["info", "debug"]


# obeying


@pytest.mark.parametrize("mode", ["manual", "continuous"])
def test_a_command_starts_a_recording_in_each_mode(tmp_path: Path, mode: str) -> None:
    """It lasts as long as it says, carries the metadata, and is its own file; continuous recording goes on beside."""
    bench = Bench(tmp_path, mode)
    order = command("1", params={"max_duration_sec": 5, "metadata": {"visit": 7}})
    bench.run(20, {4: lambda: bench.answer(order)})
    entries = bench.studio.entries
    assert [entry.mode for entry in entries] == (["manual"] if mode == "manual" else [mode, "manual", mode])
    (manual,) = [entry for entry in entries if entry.mode == "manual"]
    assert manual.samples == 5 * RATE
    assert manual.metadata == {"visit": 7}
    assert bench.uploads == ["soon"]
    (accepted,) = bench.said("command_accepted")
    assert (accepted["id"], accepted["type"], accepted["seconds"]) == ("cmd_1", "start_recording", 5)


def test_it_is_told_when_the_recorder_has_changed_its_state(tmp_path: Path) -> None:
    """When recording has begun and when it has ended, and what the board says then is already the new state."""
    bench = Bench(tmp_path)
    bench.run(15, {2: lambda: bench.answer(command("1", params={"max_duration_sec": 5}))})
    (began, first), (ended, second) = bench.effects
    assert (first, second) == ("recording", "idle")
    assert 2 <= began < 3.5
    assert 7 <= ended < 9.5
    assert not bench.commands.awaits_effects


def test_without_a_microphone_the_beginning_is_told_when_it_comes(tmp_path: Path) -> None:
    """Until then nothing has changed; a recording that never got a sample has failed, which is said."""
    bench = Bench(tmp_path)
    bench.run(20, {2: lambda: bench.answer(command("1", params={"max_duration_sec": 5}))}, sound=False)
    assert bench.seconds == []
    assert [state for _, state in bench.effects if state == "recording"] == []
    (failed,) = bench.said("command_recording_failed")
    assert "no sound" in failed["reason"]
    assert bench.uploads == []


@pytest.mark.parametrize("mode", ["manual", "continuous"])
def test_stop_ends_the_manual_recording_alone(tmp_path: Path, mode: str) -> None:
    """The command's own recording ends at once, whatever the mode."""
    bench = Bench(tmp_path, mode)
    bench.run(
        20,
        {4: lambda: bench.answer(command("1")), 10: lambda: bench.answer(command("2", "stop_recording"))},
    )
    (manual,) = [entry for entry in bench.studio.entries if entry.mode == "manual"]
    assert 4 <= manual.samples / RATE <= 7
    assert [state for _, state in bench.effects] == ["recording", "idle" if mode == "manual" else "recording"]
    assert len(bench.said("command_accepted")) == 2


def test_a_persons_recording_is_stopped_too(tmp_path: Path) -> None:
    """A manual recording that was started by hand ends, and that is told."""
    bench = Bench(tmp_path)
    request = ManualRequest()
    bench.run(
        10,
        {
            2: lambda: bench.studio.recorder.start(request),
            6: lambda: bench.answer(command("1", "stop_recording")),
        },
    )
    assert request.done.is_set()
    assert [state for _, state in bench.effects] == ["idle"]


@pytest.mark.parametrize("mode", ["manual", "continuous"])
def test_without_a_manual_recording_there_is_nothing_to_stop(tmp_path: Path, mode: str) -> None:
    """Continuous recording is the owner's, and goes on; the log says so."""
    bench = Bench(tmp_path, mode)
    bench.run(10, {4: lambda: bench.answer(command("1", "stop_recording"))})
    assert len(bench.seconds) == (mode == "continuous")
    assert len(bench.said("command_without_effect")) == 1
    assert bench.effects == []


def test_contradictory_commands_are_obeyed_in_their_order(tmp_path: Path) -> None:
    """Start then stop records nothing; stop then start records."""
    bench = Bench(tmp_path)
    start, stop = command("1", params={"max_duration_sec": 3}), command("2", "stop_recording")
    bench.run(
        20,
        {
            2: lambda: bench.answer(start, stop),
            8: lambda: bench.answer(
                command("3", "stop_recording"), command("4", params={"max_duration_sec": 3})
            ),
        },
    )
    assert bench.seconds == [3.0]
    assert [record["id"] for record in bench.said("command_accepted")] == ["cmd_1", "cmd_2", "cmd_4"]


def test_a_second_start_cuts_the_first(tmp_path: Path) -> None:
    """Each has its own file, and each end is followed."""
    bench = Bench(tmp_path)
    bench.run(
        20,
        {
            2: lambda: bench.answer(command("1", params={"max_duration_sec": 60})),
            6: lambda: bench.answer(command("2", params={"max_duration_sec": 5})),
        },
    )
    assert len(bench.seconds) == 2
    assert bench.seconds[1] == 5.0
    assert bench.uploads == ["soon", "soon"]


def test_upload_immediately_may_be_declined(tmp_path: Path) -> None:
    """Then nobody is woken for it."""
    bench = Bench(tmp_path)
    order = command("1", params={"max_duration_sec": 2, "upload_immediately": False})
    bench.run(10, {2: lambda: bench.answer(order)})
    assert bench.seconds == [2.0]
    assert bench.uploads == []


def test_trigger_upload_asks_for_everything(tmp_path: Path) -> None:
    """And the state is told when an upload has begun; without one there is nothing to tell."""
    bench = Bench(tmp_path)
    transfer = Transfer("a", 0, 1)
    bench.run(
        50,
        {
            2: lambda: bench.answer(command("1", "trigger_upload")),
            4: lambda: bench.studio.board.report(transfer=transfer),
            6: lambda: bench.studio.board.report(transfer=None),
            8: lambda: bench.answer(command("2", "trigger_upload")),
        },
    )
    assert bench.uploads == ["everything", "everything"]
    assert len(bench.effects) == 1
    assert not bench.commands.awaits_effects


def test_metadata_that_does_not_fit_costs_no_audio(tmp_path: Path) -> None:
    """The recording is made without it, and the log says why."""
    bench = Bench(tmp_path)
    bench.run(
        20,
        {
            2: lambda: bench.answer(
                command("1", params={"max_duration_sec": 2, "metadata": {"note": "x" * 5000}}),
            ),
            8: lambda: bench.answer(command("2", params={"max_duration_sec": 2, "metadata": ["a"]})),
        },
    )
    assert bench.seconds == [2.0, 2.0]
    assert [entry.metadata for entry in bench.studio.entries] == [{}, {}]
    assert len(bench.said("command_metadata_dropped")) == 2


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
        start = bench.studio.recorder.start

        def look_and_start(request: ManualRequest) -> None:
            seen_before.append((tmp_path / FILE).exists())
            start(request)

        bench.studio.recorder.start = look_and_start  # type: ignore[method-assign] # looks at the disk first
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
    memory = Remembered(tmp_path, Disk(), lambda: moments[-1])
    memory.add(["cmd_1"])
    moments.append(Instant(3 * 86_400_000, "boot-2", 1000, "unsynchronized"))
    memory.add(["cmd_2"])
    assert "cmd_1" in Remembered(tmp_path, Disk(), lambda: moments[-1])
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
    memory = Remembered(tmp_path, Disk(fail), bench.now)
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
    bench.studio.storage_problem = lambda _was_full: "the disk is full"
    bench.run(8, {2: lambda: bench.answer(command("1", params={"max_duration_sec": 2}))})
    assert bench.effects
    assert {state for _, state in bench.effects} == {"storage_full"}
    assert bench.seconds == []
