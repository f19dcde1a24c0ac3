"""What the two processes learn of each other through their status files, on one simulated clock."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace
from publishing import running

from agent import small_file
from agent.config.schema import Config, StorageConfig
from agent.deliverer.publisher import Publisher
from agent.process.state_directory import Process
from agent.recorder.publisher import Publisher as RecorderPublisher
from agent.recorder.wiring import RecorderWiring
from agent.small_file import Decoder
from agent.status.board import CredentialState, Delivery, Snapshot, State
from agent.status.condition import Condition, condition
from agent.status.process_documents import HUNG_SECONDS, RECORDER_FILE, DeliveryDocument

NOTHING = {"pending": 0, "parked": 0, "held": 0}


class Both:
    """Two publishers with a runtime folder; both processes hold their locks until told otherwise."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.delivers, self.clock = stack.enter_context(running(folder))
        state = self.delivers.state
        config = Config(storage=StorageConfig(directory=str(state.path), min_free_mb=0))
        self.hears = RecorderWiring(config, state, clock=self.clock, machine=lambda: "ntp")
        self.recorder, self.deliverer = RecorderPublisher(self.hears), Publisher(self.delivers)
        stack.enter_context(state.lock(Process.DELIVERER))
        self.recorder_lock = state.lock(Process.RECORDER)
        stack.enter_context(self.recorder_lock)

    def turn(self) -> None:
        """Let each publish, and each read what the other has published."""
        for _ in range(2):
            self.recorder.turn()
            self.deliverer.turn()

    @property
    def snapshots(self) -> tuple[Snapshot, Snapshot]:
        """What each knows."""
        return self.hears.board.snapshot, self.delivers.board.snapshot


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    """Two publishers beside each other."""
    with ExitStack() as stack:
        yield Both(tmp_path, stack)


@pytest.mark.parametrize("whose", ["recorder", "deliverer"])
def test_wrong_settings_of_one_are_shown_by_both(both: Both, whose: str) -> None:
    """Whichever goes on with its last good settings: light, status and sentence of both say so, and take it back."""
    board = (both.hears if whose == "recorder" else both.delivers).board
    for problem, shown in (("key nonsense", Condition.NO_CREDENTIAL), (None, Condition.IDLE)):
        board.report(settings=problem, state=State.IDLE)
        both.turn()
        assert both.recorder.status().fault == problem
        assert both.deliverer.status().fault == problem
        with_token = [replace(snapshot, credential=CredentialState.ACCEPTED) for snapshot in both.snapshots]
        assert [condition(snapshot, NOTHING) for snapshot in with_token] == [shown, shown]


def test_wrong_settings_of_both_are_joined(both: Both) -> None:
    """The same sentence stands once; two are both said; what only one has mended stays the other's."""
    heard, delivered = both.hears.board, both.delivers.board
    for mine, theirs, said in (
        ("key a", "key a", {"key a"}),
        ("key a", "key b", {"key a; key b", "key b; key a"}),
        (None, "key b", {"key b"}),
    ):
        heard.report(settings=mine)
        delivered.report(settings=theirs)
        both.turn()
        assert {snapshot.settings_problem for snapshot in both.snapshots} <= said


def test_a_recorder_that_never_says_a_word_does_not_answer(both: Both) -> None:
    """Its status file is torn from the start: after half a minute that is its state, and not the one before."""
    both.recorder.turn()
    both.deliverer.turn()
    both.hears.board.report(state=State.RECORDING)
    both.recorder.turn()
    both.deliverer.turn()
    assert both.snapshots[1].state is State.RECORDING
    (both.delivers.state.runtime / RECORDER_FILE).write_bytes(b"{torn")
    both.clock.sleep(HUNG_SECONDS + 1)
    both.deliverer.turn()
    now = both.snapshots[1]
    assert (now.state, now.fault, now.gone) == (State.FAULT, "the recorder does not answer", False)
    assert condition(now, NOTHING) is Condition.FAULT


def test_one_look_reads_the_status_file_once(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn of the recorder decodes ``delivery.json`` once."""
    both.turn()
    read: list[Path] = []

    def noted(path: Path, decoder: Decoder[DeliveryDocument], limit: int) -> DeliveryDocument | None:
        read.append(path)
        return small_file.load_or_none(path, decoder, limit)

    monkeypatch.setattr("agent.status.other_process.load_or_none", noted)
    both.recorder.turn()
    assert [path.name for path in read] == ["delivery.json"]


def test_what_waits_without_a_deliverer_is_counted(both: Both) -> None:
    """One that hangs knows nothing of what was recorded since: the LED and ``status`` say that it waits."""
    both.turn()
    both.hears.board.report(state=State.RECORDING, credential=CredentialState.ACCEPTED)
    for number in range(3):
        (both.hears.files.outbox / f"20260101T000000Z-{number:08d}-x.json").write_bytes(b"{}")
    both.recorder.turn()
    assert both.recorder.counts["pending"] == 0
    both.clock.sleep(HUNG_SECONDS + 1)
    both.recorder.turn()
    assert (both.snapshots[0].delivery, both.recorder.counts["pending"]) == (Delivery.HUNG, 3)
    now = replace(both.snapshots[0], credential=CredentialState.ACCEPTED)
    assert condition(now, both.recorder.counts) is Condition.RECORDING_OFFLINE
    both.deliverer.turn()
    both.recorder.turn()
    assert (both.snapshots[0].delivery, both.recorder.counts["pending"]) == (Delivery.RUNNING, 0)
