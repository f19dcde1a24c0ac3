"""A life under strace, and cards cut off from power at any moment of it: made, started again, judged."""

import contextlib
import random
import shutil
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from acceptance import Machine, wait_for
from card import Card, Chance, Image
from crash_setup import RATE, RESTART_SECONDS, Driver, Ground
from event_log import read_lines
from faults import KILL
from journal import read_journal, strace
from opusfile import complaints as opusinfo
from opusfile import decode

FLUSH_SECONDS = 2
SEGMENT_SECONDS = 8
SETTINGS: dict[str, dict[str, Any]] = {
    "storage": {"flush_seconds": FLUSH_SECONDS},
    "recording": {"segment_seconds": SEGMENT_SECONDS},
    "audio": {"input": "file:/sound.wav"},
}
MOST_LOST = FLUSH_SECONDS + 1.0
FORGETFUL = {"honour_idempotency": False}
STRICT = {"honour_idempotency": True, "contract": "older"}
DAY = 86_400.0
"""What was delivered is kept so long; the real daemon's clock is far beyond that."""
CALM = 21.0
"""Seconds of sound in each of the two lives that are traced; the first is killed with a file open."""


@dataclass(frozen=True)
class Cut:
    """One card: the moment, what survives, and what else goes wrong."""

    at: int
    """Number of the call after which the power goes."""
    chance: Chance
    seed: int
    index_lost: bool = False
    without: str = ""
    """The step whose syncs are left out."""
    strict: bool = False
    """The server compares what comes twice with what came first, and the owner has changed the names meanwhile."""


@dataclass
class Outcome:
    """What became of a card."""

    cut: Cut
    complaints: list[str] = field(default_factory=list)
    lost: float = 0.0
    objects: int = 0


class Trace:
    """Two lives on one state directory, written down by strace: the first is killed, the second repairs and goes on."""

    def __init__(self, folder: Path, wav: Path) -> None:
        self.folder = folder
        with Ground(folder, SETTINGS) as ground:
            (folder / "snapshots").mkdir(parents=True)
            shutil.copytree(ground.server.directory, folder / "snapshots" / "0")
            driver = Driver(*strace(folder / "strace.log"))
            order = {"marks": True, "snapshots": folder / "snapshots", "wav": wav, "background": 3.0}
            kill = 120
            while True:
                ended = ground.live(driver, seconds=CALM, fault=(KILL, kill), **order)
                assert ended["signal"], ended
                if any((ground.state / "recording").iterdir()):
                    break
                kill += 7
            ended = ground.live(driver, seconds=CALM, prune=True, **order)
            assert ended == {"signal": None, "code": 0}, ended
            driver.close()
            story = ground.story()
            self._killed_lost = story.handed / RATE - ground.judge(story.finished).samples / 48000
        self.calls = list(read_journal(folder / "strace.log", folder / "state"))
        self.events = read_lines(folder / "diary")
        self._killed_at = max(at for at, call in enumerate(self.calls) if call.path.startswith("struck/"))
        self.marks = [at for at, call in enumerate(self.calls) if call.name == "mark"]

    @cached_property
    def sync_steps(self) -> dict[str, list[int]]:
        """The steps that end with an fsync or fdatasync, and where these are."""
        steps: dict[str, list[int]] = {}
        step = ""
        for at, call in enumerate(self.calls):
            if call.name == "mark" and call.path.startswith("step/"):
                step = call.path.removeprefix("step/")
            elif call.name in {"fsync", "fdatasync"}:
                steps.setdefault(step, []).append(at)
        return steps

    def card(self, at: int, without: Iterable[str] = ()) -> Card:
        """Return the card after the first ``at`` calls."""
        return Card(self.folder, without).replay(self.calls[:at])

    def lost_by_kill(self, at: int) -> float:
        """Return the seconds of sound that the kill between the two lives has cost, when it was before a moment."""
        return self._killed_lost if at > self._killed_at else 0.0

    def known_at(self, at: int) -> "Known":
        """Return what the diary knew at a moment."""
        known = Known()
        for event in self.events[: bisect_right(self.marks, at - 1)]:
            known.learn(event)
        return known


@dataclass
class Known:
    """What had happened until a cut."""

    handed: int = 0
    accepted: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Hash and samples of what the outbox had taken over."""
    kept: set[str] = field(default_factory=set)
    """What was delivered, moved, and not pruned."""
    server: int = 0
    """Number of the newest copy of the server."""
    elapsed: float = 0.0

    def learn(self, event: dict[str, Any]) -> None:
        """Take note of an event of the diary."""
        self.elapsed = max(self.elapsed, event.get("elapsed", 0.0))
        kind, name = event["kind"], event["name"]
        if kind == "handed":
            self.handed += event["samples"]
        elif kind == "accepted":
            self.accepted[name] = (event["sha256"], event["samples"])
        elif kind == "delivered":
            self.kept.add(name)
        elif kind == "pruned":
            self.kept.discard(name)
        elif kind == "server":
            self.server = int(name)


def image_of(trace: Trace, cut: Cut) -> Image:
    """Return the card that a cut leaves."""
    return trace.card(cut.at, [cut.without]).image(cut.chance, random.Random(cut.seed))


def go_on(
    trace: Trace, cut: Cut, folder: Path, driver: Driver, *, image: Image | None = None, daemon: bool = False
) -> Outcome:
    """Put a card in, start the agent, let it deliver, and judge."""
    known = trace.known_at(cut.at)
    shutil.copytree(trace.folder / "snapshots" / str(known.server), folder / "server")
    (image or image_of(trace, cut)).write(folder)
    outcome = Outcome(cut)
    with Ground(folder, SETTINGS) as ground:
        if cut.index_lost:
            for path in ground.state.glob("outbox.db*"):
                path.unlink()
        ground.server.state.set_switches(STRICT if cut.strict else FORGETFUL)
        if cut.strict:
            ground.configure(recording={"segment_seconds": SEGMENT_SECONDS, "name": "renamed {seq}"})
        if daemon:
            live_as_daemon(ground)
        else:
            ended = driver.live(folder=folder, diary=ground.diary, elapsed=known.elapsed + RESTART_SECONDS)
            if ended != {"signal": None, "code": 0}:
                outcome.complaints.append(f"ended with {ended}")
                return outcome
        may_be_pruned = daemon or known.elapsed >= DAY
        verdict = ground.judge(known.accepted, set() if may_be_pruned else known.kept)
        outcome.complaints += verdict.complaints
        outcome.lost = known.handed / RATE - verdict.samples / 48000 - trace.lost_by_kill(cut.at)
        if not -0.001 <= outcome.lost <= MOST_LOST:
            outcome.complaints.append(f"{outcome.lost:.3f} s of sound were lost")
        outcome.objects = len(verdict.objects)
        for path in verdict.objects:
            outcome.complaints += [f"{path.name}: {said}" for said in opusinfo(path).splitlines()]
        if verdict.objects and random.Random(cut.seed).random() < 0.1:
            decode(verdict.objects[-1], RATE)
    return outcome


def live_as_daemon(ground: Ground) -> None:
    """Run the real daemon until the oracle is content, for 20 s at most."""
    machine = Machine(ground.folder, ground.server)
    machine.configure(recording={"mode": "manual"}, log={"level": "error"})
    with machine.daemon() as daemon, contextlib.suppress(AssertionError):
        wait_for(lambda: is_content(ground))
        daemon.stop()


def is_content(ground: Ground) -> bool:
    """Whether the oracle finds nothing to complain of, beside a daemon that may move files meanwhile."""
    try:
        return not ground.judge({}).complaints
    except FileNotFoundError:
        return False
