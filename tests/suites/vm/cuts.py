"""Power cuts: the machine is killed at moments that it cannot know, and the sound on the server says what was lost."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from vm import settings
from vm.lab import Lab, Row, began, unix

Say = Callable[[str], None]
FLUSH_SECONDS = (5, 1)
"""Machines with each of these settings get an equal share of the cuts."""
BLIND_SHARE = 0.2
"""So many cuts come during boot, whatever the machine is doing."""
BLIND_SECONDS = (4.0, 45.0)
RECORDING_SECONDS = (8.0, 24.0)
OFF_SECONDS = 0.3
"""A claimed time may be wrong by so much: what is inside the USB, and the machine's clock set by a shell script."""
LEDGER_SECONDS_PER_OUTAGE = 0.5
LEDGER_SECONDS = 1.0


@dataclass(frozen=True)
class Cut:
    """One life of the machine, by this host's time."""

    number: int
    powered_at: float
    killed_at: float
    streamed: float
    """The microphone's sound was being taken for so long; 0: it was cut during boot."""


def shares(count: int) -> list[tuple[int, int]]:
    """Return how many of the cuts come with which ``flush_seconds``; none is left out."""
    each, more = divmod(count, len(FLUSH_SECONDS))
    found = [(seconds, each + (number < more)) for number, seconds in enumerate(FLUSH_SECONDS)]
    return [(seconds, cuts) for seconds, cuts in found if cuts]


def run_with_each_flush(lab: Lab, count: int) -> None:
    """Cut the power so many times in all, with one of the settings after the other."""
    for flush_seconds, share in shares(count):
        if flush_seconds != lab.flush_seconds:
            settings.write(lab.machine, {"storage": {"flush_seconds": flush_seconds}})
            lab.machine.power_off()
            lab.flush_seconds = flush_seconds
            lab.findings.begin(f"cuts, flush_seconds {flush_seconds}")
        run(lab, share, blind=True)


def run(lab: Lab, count: int, *, blind: bool) -> list[Cut]:
    """Cut the power so many times, boot once more, and judge; the machine is left running."""
    cuts = campaign(lab, count, blind=blind)
    booted = time.time()
    lab.power_on()
    seconds = lab.machine.wait_ready()
    lab.findings.figure("boot_until_commands", f"{seconds:.0f} s")
    recording = lab.wait_stream(5)
    lab.findings.check("recording_after_cuts", "yes" if recording else "no", "yes", good=recording)
    restarts = lab.machine.run("systemctl show -p NRestarts --value 'recorder-agent*.service'").output.split()
    lab.findings.check("restarts_in_one_boot", " ".join(restarts), "0", good=not any(map(int, restarts)))
    waiting = lab.wait_settled(booted)
    stuck = [f"{row.get('id', '?')} {row['status']}" for row in waiting]
    lab.findings.check("stuck", str(len(stuck)), "0", good=not stuck)
    for line in stuck[:5]:
        print(f"    stuck: {line}", flush=True)
    judge_losses(lab, cuts)
    judge_copies(lab)
    judge_times(lab)
    judge_gaps(lab, cuts, booted)
    judge_index(lab)
    return cuts


def campaign(lab: Lab, count: int, *, blind: bool) -> list[Cut]:
    """Boot and kill so many times; ``blind``: some of the cuts come during boot."""
    cuts = []
    for number in range(1, count + 1):
        lab.power_on()
        if blind and lab.rng.random() < BLIND_SHARE:
            time.sleep(lab.rng.uniform(*BLIND_SECONDS))
        else:
            lab.wait_stream(lab.rng.uniform(*RECORDING_SECONDS))
        streamed = lab.microphones[1].streamed_seconds
        cut = Cut(number, lab.machine.started_at, lab.machine.cut_power(), streamed)
        print(f"    cut {number}: {cut.killed_at - cut.powered_at:.1f} s after power on, {streamed:.1f} s of sound",
              flush=True)  # fmt: skip
        cuts.append(cut)
    return cuts


def bound_seconds(lab: Lab) -> float:
    """Return the sound that a cut may cost: what waits to be made safe, and what waits to become a page."""
    return lab.flush_seconds + 1.0


def losses(lab: Lab, cuts: list[Cut]) -> list[float]:
    """Return for each cut the seconds from the last sound on the server to the moment of the cut."""
    lost = []
    for cut in cuts:
        if cut.streamed <= 0:
            continue
        ends = [
            each.heard_until for each in lab.collection.recordings()
            if each.slots and cut.powered_at <= each.slots[-1].at <= cut.killed_at
        ]  # fmt: skip
        known = [end for end in ends if end is not None]
        lost.append(min(cut.streamed, cut.killed_at - max(known)) if known else cut.streamed)
        print(f"    cut {cut.number}: lost {lost[-1]:.1f} s of {cut.streamed:.1f} s", flush=True)
    return lost


def judge_losses(lab: Lab, cuts: list[Cut]) -> None:
    """No cut costs more sound than the settings promise."""
    lost = losses(lab, cuts)
    worst, mean = max(lost, default=0.0), sum(lost) / max(1, len(lost))
    lab.findings.check("lost_per_cut", f"at most {worst:.1f} s, mean {mean:.1f} s, {len(lost)} cuts",
                       f"{bound_seconds(lab):.0f} s", good=bool(lost) and worst <= bound_seconds(lab))  # fmt: skip


def judge_copies(lab: Lab) -> None:
    """No sound is on the server twice."""
    seen: dict[tuple[float, int], set[str]] = {}
    recordings = lab.collection.recordings()
    for each in recordings:
        for slot in each.slots:
            seen.setdefault((slot.at, slot.microphone), set()).add(each.id)
    twice = sum(len(ids) > 1 for ids in seen.values())
    copies = (
        len(recordings) - len({each.id for each in recordings}) + sum(each.objects > 1 for each in recordings)
    )
    lab.findings.figure("recordings", f"{len(recordings)}, {len(seen) / 2:.0f} s of code")
    lab.findings.check("twice", f"{twice} slots, {copies} recordings", "0", good=not twice and not copies)


def judge_index(lab: Lab) -> None:
    """Index and files agree: there is nothing to mend."""
    answer = lab.machine.run("recorder-agent repair --dry-run --json")
    try:
        found = json.loads(answer.output)["findings"]
    except (ValueError, KeyError):
        found = [answer.output.strip() or f"repair ended with {answer.code}"]
    lab.findings.check("index_and_files", f"{len(found)} findings", "0", good=not found)
    for line in found[:5]:
        print(f"    repair: {line}", flush=True)


def judge_times(lab: Lab) -> None:
    """The time that the agent claims for a sample is the time at which it was played."""
    off = [
        median(slot.at - slot.offset for slot in each.slots) - each.started_at
        for each in lab.collection.recordings() if each.slots
    ]  # fmt: skip
    worst = max(off, key=abs, default=0.0)
    lab.findings.check("claimed_times", f"{worst:+.2f} s at worst, {len(off)} recordings", f"±{OFF_SECONDS} s",
                       good=bool(off) and abs(worst) <= OFF_SECONDS)  # fmt: skip


def judge_gaps(lab: Lab, cuts: list[Cut], until: float) -> None:
    """Each outage is in the gap log, and recorded and gaps together are the time that has passed."""
    rows, gaps = lab.queue(), lab.gaps()
    outside = [gap for gap in gaps if gap["from"] and gap["cause"] != "overflow"]
    lives = [(cut.killed_at, powered) for cut, powered in
             zip(cuts, [each.powered_at for each in cuts[1:]] + [until], strict=True) if cut.streamed > 0]  # fmt: skip
    noted = sum(any(overlaps(gap, killed, powered) for gap in outside) for killed, powered in lives)
    lab.findings.check("outages_in_gap_log", f"{noted} of {len(lives)}", "all", good=noted == len(lives))
    recorded, missing, elapsed = ledger(rows, outside)
    bound = LEDGER_SECONDS + LEDGER_SECONDS_PER_OUTAGE * len(cuts)
    difference = recorded + missing - elapsed
    lab.findings.check(
        "recorded_and_gaps",
        f"{recorded:.1f} s + {missing:.1f} s of {elapsed:.1f} s: {difference:+.1f} s",
        f"±{bound:.1f} s", good=abs(difference) <= bound,
    )  # fmt: skip


def ledger(rows: list[Row], gaps: list[Row]) -> tuple[float, float, float]:
    """Return the seconds recorded, missing by the gap log, and elapsed between the first start and the last end."""
    finished = [row for row in rows if row["ended_at"] and row["status"] != "recording"]
    start, end = min(map(began, finished)), max(unix(row["ended_at"]) for row in finished)
    recorded = sum(row["duration_ms"] for row in finished) / 1000
    missing = 0.0
    for gap in gaps:
        first = unix(gap["from"])
        last = first + (gap["seconds"] or 0)
        missing += max(0.0, min(last, end) - max(first, start))
    return recorded, missing, end - start


def overlaps(gap: Row, killed: float, powered: float) -> bool:
    """Say whether a gap covers a moment in which the machine was off."""
    first = unix(gap["from"])
    return first <= powered + 1 and first + (gap["seconds"] or 0) >= killed - 1
