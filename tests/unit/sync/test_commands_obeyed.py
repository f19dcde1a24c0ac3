"""What the API's commands make the recorder do: read with tolerance, obeyed, each decision in the log."""

from pathlib import Path

import pytest
from command_bench import KEYS, Bench, command
from simulated import RATE

from agent.bounds import COMMANDS
from agent.config.values import metadata as complaint_of
from agent.recording.asked.requests import ManualRequest
from agent.status.board import Transfer
from agent.sync.remote.remote_command import MalformedCommand, commands_in, understand

# reading


@pytest.mark.parametrize("key", KEYS)
def test_commands_are_found_under_each_key(key: str) -> None:
    """As a list or as one object; anything else there is one thing that is not understood."""
    one = command("1")
    assert list(commands_in({"status": "ok", key: one})) == [one]
    assert list(commands_in({key: [one, one]})) == [one, one]
    assert list(commands_in({key: None})) == []
    assert list(commands_in({key: "now"})) == ["now"]
    assert list(commands_in({})) == []
    assert len(list(commands_in({key: [one] * 1000}))) == COMMANDS


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
    with pytest.raises(MalformedCommand):
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
    entries = bench.setup.entries
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
    (manual,) = [entry for entry in bench.setup.entries if entry.mode == "manual"]
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
            2: lambda: bench.setup.recorder.start(request),
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
            4: lambda: bench.setup.board.report(transfer=transfer),
            6: lambda: bench.setup.board.report(transfer=None),
            8: lambda: bench.answer(command("2", "trigger_upload")),
        },
    )
    assert bench.uploads == ["everything", "everything"]
    assert len(bench.effects) == 1
    assert not bench.commands.awaits_effects


def test_metadata_that_fit_only_one_by_one_lose_the_last_keys() -> None:
    """What is kept passes the recorder's own door, in its order; each key that is not is named with the reason."""
    given = {f"key{number}": "x" * 1000 for number in range(6)}
    order = understand({"id": "cmd_1", "type": "start_recording", "params": {"metadata": given}})

    assert list(order.metadata) == ["key0", "key1", "key2", "key3"]
    assert complaint_of(order.metadata) is None
    assert order.dropped.startswith("key5 (with it all of it takes 6")
    assert "; key4 (" in order.dropped


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
    assert [entry.metadata for entry in bench.setup.entries] == [{}, {}]
    assert len(bench.said("command_metadata_dropped")) == 2
