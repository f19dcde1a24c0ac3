"""After a change of ``storage.directory``: what waits at the place before is found, and brought over whole."""

import errno
import os
from pathlib import Path

import pytest
from acceptance import Machine, machine, server
from speech import speech, write_wav

from agent.disk import Disk
from agent.errors import AgentError
from agent.index.earlier_place import SMALL, bring_over, left_elsewhere, left_in
from agent.process.places import MOST_PLACES, note_place, noted_places
from agent.process.state_directory import Process, StateDirectory
from agent.sandbox.devices import DEFAULT_TOKEN

__all__ = ["machine", "server"]

RATE = 16_000


@pytest.fixture
def moved(machine: Machine, tmp_path: Path) -> tuple[Machine, Path]:
    """A machine with a token and two recordings, one delivered, whose settings name another directory now."""
    wav = write_wav(tmp_path / "a.wav", RATE, 1, speech(RATE, 1, RATE))
    machine.configure(api={"token_file": ""}, heartbeat={"enabled": False})
    machine.ok("token", "set", stdin=f"{DEFAULT_TOKEN}\n")
    machine.record(wav)
    machine.ok("sync")
    machine.record(wav)
    earlier, machine.state = machine.state, tmp_path / "new" / "state"
    machine.configure(storage={"directory": str(machine.state)})
    return machine, earlier


def test_everything_comes_over_and_is_delivered(moved: tuple[Machine, Path]) -> None:
    """Token, numbers, gap log and both recordings: what waited is delivered, what was delivered is not sent twice."""
    machine, earlier = moved
    assert machine.queue() == []
    assert (
        "1 recording that was not delivered and a device token"
        in machine.ok("repair", "--dry-run", "--from", earlier).out
    )
    assert f"2 recordings were brought over from {earlier}" in machine.ok("repair", "--from", earlier).out
    assert [(row["seq"], row["status"]) for row in machine.queue()] == [(1, "uploaded"), (2, "ready")]
    assert machine.ok("token", "status", "--json").json["source"] == "state"
    answer = machine.ok("sync", "--json").json
    assert (len(answer["delivered"]), answer["pending"]) == (1, 0)
    assert left_in(earlier) is None
    assert not [path for path in earlier.rglob("*") if path.is_file() and path.suffix in {".opus", ".json"}]


def test_beside_a_service_recordings_and_token_come_and_memories_stay(moved: tuple[Machine, Path]) -> None:
    """The processes that run have their own numbers and gap log; the rest is adopted and delivered."""
    machine, earlier = moved
    machine.configure(
        recording={"mode": "manual"}, audio={"input": f"file:{earlier.parent.parent}/a.wav?loop"}
    )
    with machine.daemon() as daemon:
        machine.ok("repair", "--from", earlier)
        assert machine.ok("sync", "--json").json["pending"] == 0
        assert daemon.stop() == 0
    assert {row["status"] for row in machine.queue()} == {"uploaded"}
    assert (earlier / "recorder.json").exists()


def test_one_that_is_in_use_or_none_is_refused(moved: tuple[Machine, Path]) -> None:
    """No folder, the directory in use, and one on which somebody works: one sentence each, and nothing moves."""
    machine, earlier = moved
    assert "is no folder; " in machine.run("repair", "--from", earlier / "none").sentence(1)
    assert "is the state directory in use; " in machine.run("repair", "--from", machine.state).sentence(1)
    strange = earlier.parent / "strange"
    strange.mkdir()
    assert "is no state directory; " in machine.run("repair", "--from", strange).sentence(1)
    assert list(strange.iterdir()) == []
    with StateDirectory(earlier, earlier).command_lock(Process.RECORDER):
        assert "already works on" in machine.run("repair", "--from", earlier).sentence(1)
    left = left_in(earlier)
    assert left is not None
    assert (left.recordings, left.has_token) == (1, True)


def test_a_move_that_is_cut_anywhere_goes_on(moved: tuple[Machine, Path]) -> None:
    """At every durable step in turn the disk refuses: afterwards each recording is whole at one place at least."""
    machine, earlier = moved
    state = StateDirectory(machine.state, machine.state)
    state.create()
    digests = {path.name: path.read_bytes() for path in earlier.rglob("*.opus")}
    for limit in range(200):
        steps = [limit]

        def refuse(_step: str, steps: list[int] = steps) -> None:
            steps[0] -= 1
            if steps[0] < 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        try:
            bring_over(earlier, state, Disk(refuse), say=lambda _sentence: None)
        except OSError:
            for name, sound in digests.items():
                places = [path for root in (earlier, machine.state) for path in root.rglob(name)]
                assert places
                assert all(path.read_bytes() == sound for path in places)
        else:
            break
    else:
        pytest.fail("it never ends")
    assert limit > 5
    assert [(row["seq"], row["status"]) for row in machine.queue()] == [(1, "uploaded"), (2, "ready")]
    assert not [path for path in earlier.rglob("*") if path.is_file() and path.name in SMALL]


def test_places_are_noted_by_the_service_and_looked_into(tmp_path: Path) -> None:
    """Its own directory and the last twenty others, each once; where nothing waits nothing is said."""
    folder = tmp_path / "service"
    folder.mkdir()
    assert left_elsewhere(StateDirectory(folder, folder), folder) == []
    note_place(folder, folder, Disk())
    assert not (folder / "places.json").exists()
    for number in range(30):
        for _ in range(2):
            note_place(folder, tmp_path / str(number), Disk())
    noted = noted_places(folder)
    assert noted == [folder, *(tmp_path / str(number) for number in range(30 - MOST_PLACES, 30))]
    waiting = tmp_path / "29" / "outbox"
    waiting.mkdir(parents=True)
    (waiting / "x.opus").write_bytes(b"sound")
    (left,) = left_elsewhere(StateDirectory(folder, folder), folder)
    assert left.sentence() == f"{tmp_path / '29'} still holds 1 recording that was not delivered"
    assert left_elsewhere(StateDirectory(tmp_path / "29", folder), folder) == []
    (folder / "places.json").write_bytes(b"[1, 2")
    assert noted_places(folder) == [folder]


def test_a_folder_of_somebody_else_is_said(tmp_path: Path) -> None:
    """A file in the place of a folder is an error in one sentence."""
    (tmp_path / "file").touch()
    with pytest.raises(AgentError, match="is no folder; "):
        bring_over(tmp_path / "file", StateDirectory(tmp_path, tmp_path), Disk())
