"""What a simulated life comes to: its files and its gap log, in true time, account for every second."""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from simulated_asking import LAST_BLOCK_MS, LATE_MS, READINGS_MS, Span
from simulated_machine import BEGINNING_MS

from agent.audio.ogg import read_summary
from agent.gaps.log import Cause
from agent.outbox import sidecar
from agent.outbox.files import AUDIO, SIDECAR
from agent.recording.days.gapsfile import read_gaps
from agent.recording.segment import SegmentStart
from agent.timing.timeline import CONFIRMING

if TYPE_CHECKING:
    from simulated_life import Life

WINDOW_MINUTES, EVERY_MINUTES = 5, 10
"""The calendar's windows, and how often one begins."""
HOLE_MS = LAST_BLOCK_MS
"""While it is listened, what ends within a block of the microphone cannot be told to the millisecond."""
AT_NO_TIME_HEARD = {f"{each}" for each in (Cause.NOT_RUNNING, Cause.NO_MICROPHONE, Cause.MUTED)}
VOICE_MS = 300
"""A shorter piece of one may be taken for none."""
NOTED_MS = 65_000
"""So much that was listened to a death may take from what is remembered."""


class Listened(NamedTuple):
    """What a microphone gave: true time in milliseconds since the life began, and whether it was a voice."""

    begin: float
    end: float
    is_voice: bool
    lost_before: float = 0.0
    """So many milliseconds of sound were lost right before it."""


def life_faults(life: "Life") -> list[str]:
    """Return what does not come out; nothing for a life in which every second is accounted for.

    In continuous mode files and gaps follow each other to the millisecond, as each begins where the last ended by
    their own account. The calendar's windows begin and end within a block of the microphone.
    """
    spans = spans_of(life)
    if life.mode == "schedule":
        return _faults_by_calendar(life, spans)
    if life.mode == "voice":
        return _faults_of_listening(life, spans)
    if life.mode == "manual":
        return life.asking.faults(spans, life.last_stop, life.asleep_ms)
    faults = []
    at = life.first_start or 0
    for span in spans:
        if span.begin != at:
            faults.append(f"{span.begin - at:+d} ms before {span}")
        if abs(span.said - (span.end - span.begin)) > READINGS_MS:
            faults.append(f"another length than its ends: {span}")
        at = span.end
    if not -LAST_BLOCK_MS <= at - life.last_stop <= LATE_MS:
        faults.append(f"{at - life.last_stop:+d} ms at the end")
    return faults


def _faults_by_calendar(life: "Life", spans: list[Span]) -> list[str]:
    begin, end = life.first_start or 0, life.last_stop
    sound = [span for span in spans if span.what.startswith("file") or span.what == Cause.TOO_SHORT]
    recorded = sum(wanted(span.begin, span.end) for span in sound)
    missing = sum(min(span.said, wanted(span.begin, span.end)) for span in spans if span not in sound)
    off = recorded + missing - wanted(begin, end)
    closing = sum(wanted(span.end, span.end + 2 * LAST_BLOCK_MS) in range(1, LAST_BLOCK_MS) for span in sound)
    least = -LAST_BLOCK_MS * (1 + closing)
    beyond = [
        f"{span.said} ms are more than was wanted of {span}"
        for span in spans
        if not life.was_asked and span not in sound and span.said > wanted(span.begin, span.end) + READINGS_MS
    ]
    if least <= off <= 2 * LATE_MS:
        return beyond
    return [f"recorded {recorded} + missing {missing} - wanted {wanted(begin, end)} = {off:+d} ms"]


def _faults_of_listening(life: "Life", spans: list[Span]) -> list[str]:
    """Each moment is recorded, missing, or was listened to; a voice is recorded or missing.

    What was listened to is called missing only where a death took it from what is remembered.
    """
    faults = [
        f"{after.begin - before.end:+d} ms before {after}"
        for before, after in pairwise(spans)
        if after.begin < before.end - LATE_MS
    ]
    told = [(float(span.begin), float(span.end)) for span in spans]
    heard = [(each.begin, each.end) for each in life.heard]
    all_of_it = (life.first_start or 0, life.last_stop)
    faults += [
        f"{end - begin:.0f} ms from {begin:.0f} on are nowhere"
        for begin, end in _holes(all_of_it, told + heard)
    ]
    for voice in _voices(life):
        faults += [
            f"of a voice {begin:.0f} to {end:.0f} is nowhere"
            for begin, end in _holes(voice, told, VOICE_MS)
            if end - begin > VOICE_MS + _not_certain(life, end)
        ]
    for span in spans:
        if span.what in AT_NO_TIME_HEARD:
            listened = sum(max(0.0, min(span.end, end) - max(span.begin, begin)) for begin, end in heard)
            died = any(span.begin <= death <= span.end for death in life.deaths)
            if listened > (NOTED_MS if died else HOLE_MS):
                faults.append(f"{listened:.0f} ms of it were listened to: {span}")
    return faults


def _voices(life: "Life") -> list[tuple[float, float]]:
    """Return from when to when a voice was heard; what follows at once belongs to it.

    The block in which the last stop falls is left out: that it is missing would be said by the next start.
    """
    heard = [each for each in life.heard if each.begin > (life.first_start or 0)]
    if heard and heard[-1].end > life.told_to_stop - LATE_MS:
        heard.pop()
    found: list[tuple[float, float]] = []
    for each in heard:
        if each.is_voice and found and each.begin - found[-1][1] < READINGS_MS:
            found[-1] = found[-1][0], each.end
        elif each.is_voice:
            found.append((each.begin, each.end))
    return found


def _not_certain(life: "Life", at: float) -> float:
    """Return how early the recorder takes a moment to be, in milliseconds.

    That sound was lost is certain some blocks later; up to then what follows seems to have begun where it was lost.
    """
    newest = [each for each in life.heard if each.begin < at][-CONFIRMING:]
    return sum(each.lost_before for each in newest)


def _holes(
    whole: tuple[float, float], parts: list[tuple[float, float]], least: float = HOLE_MS
) -> list[tuple[float, float]]:
    """Return what is longer than ``least`` milliseconds of a stretch and lies in none of its parts."""
    found, at = [], whole[0]
    for begin, end in [*sorted(parts), (whole[1], whole[1])]:
        if min(begin, whole[1]) - at > least:
            found.append((at, min(begin, whole[1])))
        at = max(at, end)
    return found


def spans_of(life: "Life") -> list[Span]:
    """Return what was recorded and what the gap log says, in true time, in order."""
    found = [_file(life, path) for path in _audio(life)]
    for gap in read_gaps(life.folder):
        if gap.recording_id is None:
            if gap.end is None and gap.milliseconds is None:
                begin = life.true_ms(gap.start)
                found.append(Span(begin, life.last_stop, f"open {gap.cause.value}", life.last_stop - begin))
                continue
            begin = life.true_ms(gap.start)
            end = life.true_ms(gap.end) if gap.end is not None else begin + (gap.milliseconds or 0)
            said = end - begin if gap.milliseconds is None else gap.milliseconds
            found.append(Span(begin, end, gap.cause.value, said))
        elif gap.cause is Cause.TOO_SHORT:
            begin = life.true_ms(gap.start)
            found.append(Span(begin, begin + (gap.milliseconds or 0), gap.cause.value, gap.milliseconds or 0))
    return sorted(found)


def _audio(life: "Life") -> list[Path]:
    folders = [life.folder / name for name in ("recording", "outbox", "sent")]
    return [path for folder in folders for path in folder.iterdir() if AUDIO in path.name]


def _file(life: "Life", path: Path) -> Span:
    entry = sidecar.read(path.with_suffix(SIDECAR)) if path.suffix == AUDIO else None
    if entry is not None:
        start, length = entry.started, entry.duration_ms
    else:
        summary = read_summary(path)
        tags = SegmentStart.from_tags(summary.tags)
        assert tags is not None
        start = tags.started
        length = (summary.samples_48k * tags.sample_rate // 48000) * 1000 // tags.sample_rate
    begin = life.true_ms(start)
    return Span(begin, begin + length, f"file {path.name.split('-')[1]}", length)


def wanted(begin: int, end: int) -> int:
    """Return how many milliseconds of a stretch of true time lie in windows of the schedule."""
    found, every, length = 0, EVERY_MINUTES * 60_000, WINDOW_MINUTES * 60_000
    opens = (begin + BEGINNING_MS) // every * every
    while opens < end + BEGINNING_MS:
        found += max(0, min(opens + length, end + BEGINNING_MS) - max(opens, begin + BEGINNING_MS))
        opens += every
    return found
