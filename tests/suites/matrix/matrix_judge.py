"""Compares what was seen of a cell with the table: every difference is a sentence."""

import hashlib
import itertools
from collections.abc import Iterator

from matrix_agent import EPOCH, HOURS, Cell, Outcome
from matrix_book import Recording
from matrix_expected import (
    LONGEST_BACKOFF,
    PROBE_SECONDS,
    REPEATS,
    RETRY_AFTER,
    VERIFYING_WAITS,
    course_of,
)

STANDING = {"ok": "reached", "busy": "reached", "refused": "reached", "offline": "offline", "key": "refused"}
"""After a heartbeat that met the fault, by word; ``pause``: paused."""
ENDS_PARKED = {"ghost", "stuck", "distrust"}
TOKENS = {
    "renewed": ("renewed", "alive"),
    "kept": ("kept", "renewed"),
    "pause": ("kept, paused", "renewed"),
    "lost": ("lost", "Unauthorized, then alive"),
}
"""After a refresh that met the fault, by word, and what becomes of it."""


def differences(outcome: Outcome, word: str) -> list[str]:
    """Return what is not as the table says; empty when all is."""
    if outcome.cell.call == "refresh":
        return [*outcome.findings, *_of_a_refresh(outcome, word)]
    if outcome.cell.call == "heartbeat":
        return [*outcome.findings, *_of_heartbeats(outcome, word)]
    return [
        *outcome.findings,
        *_of_the_course(outcome, word),
        *_of_the_others(outcome, word),
        *_of_the_requests(outcome, word),
        *_of_what_is_stored(outcome),
    ]


def _of_heartbeats(outcome: Outcome, word: str) -> Iterator[str]:
    wanted = STANDING.get(word, "paused")
    if outcome.first != wanted:
        yield f"after the fault it is {outcome.first}, not {wanted}"
    if outcome.hours != ["heard"]:
        yield "two hours later no heartbeat is heard"
    yield from _of_the_faults(outcome, word)
    yield from _of_untouched_recordings(outcome)


def _of_a_refresh(outcome: Outcome, word: str) -> Iterator[str]:
    seen = outcome.first, outcome.hours[0]
    if seen != TOKENS[word]:
        yield f"the token is {seen}, not {TOKENS[word]}: {outcome.reason}"
    if word != "renewed" and not outcome.reason:
        yield "nothing was said"
    yield from _of_untouched_recordings(outcome)


def _of_untouched_recordings(outcome: Outcome) -> Iterator[str]:
    if set(outcome.end) != {"delivered"} or any(outcome.attempts):
        yield f"the recordings are {outcome.end} with {outcome.attempts} attempts"


def _of_the_course(outcome: Outcome, word: str) -> Iterator[str]:
    cell = outcome.cell
    a_sequence = len(set(cell.answers)) > 1
    course = course_of(word, 1 if a_sequence else len(cell.answers))
    if a_sequence:
        course = course._replace(first=outcome.first)  # the table speaks of the end of a sequence
    for when, seen, wanted in (
        ("after the fault", outcome.first, course.first),
        ("after two hours", outcome.hours[0], course.hours),
        ("in the end", outcome.end[0], course.end),
    ):
        if seen != wanted:
            yield f"{when} it is {seen}, not {wanted}"
    if course.first == "parked" and not outcome.reason:
        yield "it is parked without a reason"
    if word == "park" and course.first == "parked" and not _quotes(outcome):
        yield f"the reason does not quote the server: {outcome.reason}"
    if word in {"doubt", "distrust"} and "confirmed" not in outcome.reason:
        yield f"the reason does not say what was not trusted: {outcome.reason}"
    if word == "ghost" and "404" not in outcome.reason:
        yield f"the reason is not the server's: {outcome.reason}"
    if word in {"offline", "apart", "key", "verify"} and any(outcome.attempts) and not a_sequence:
        yield f"attempts were used up: {outcome.attempts}"
    if word in {"busy", "stuck"} and not outcome.attempts[0]:
        yield "no attempt was counted"


def _quotes(outcome: Outcome) -> bool:
    """Tell whether the reason holds the status and the server's words."""
    answer = outcome.cell.answers[-1]
    return answer[:3] in outcome.reason and f"said {answer}" in outcome.reason


def _of_the_others(outcome: Outcome, word: str) -> Iterator[str]:
    """One poisoned recording never blocks the others."""
    untouched = outcome.hours[1:] if len(outcome.cell.answers) == 1 else []
    if any(place != "delivered" for place in untouched):
        yield f"the others are {untouched} after two hours"
    if word not in ENDS_PARKED and any(place != "delivered" for place in outcome.end):
        yield f"in the end they are {outcome.end}"


def _of_the_faults(outcome: Outcome, word: str) -> Iterator[str]:
    """They were met, and what came next came in its time."""
    exchanges, wanted = outcome.exchanges, len(outcome.cell.answers)
    hits = [index for index, exchange in enumerate(exchanges) if exchange.answer]
    unsaid = (
        outcome.cell.contract == "older"
        and outcome.cell.call == "complete"
        and word in {"offline", "distrust"}
    )
    if not hits or (len(hits) != wanted and not unsaid and word not in {"ok", "ghost"}):
        yield f"{len(hits)} of {wanted} faults were met"
    for index in hits:
        later = [exchange for exchange in exchanges[index + 1 :] if exchange.call != "head"]
        pause = later[0].at - exchanges[index].at if later else 1e9
        least, most = _pause_after(exchanges[index].answer, word, outcome)
        if not least <= pause <= most:
            yield f"the next request came {pause:.2f} s after {exchanges[index].answer}, not in {least} to {most} s"


def _of_the_requests(outcome: Outcome, word: str) -> Iterator[str]:
    yield from _of_the_faults(outcome, word)
    cell, exchanges = outcome.cell, outcome.exchanges
    name = next((exchange.recording for exchange in exchanges if exchange.answer), "")
    mine = [exchange for exchange in exchanges if exchange.recording == name and exchange.at < EPOCH + HOURS]
    hits = sum(bool(exchange.answer) for exchange in mine)
    urls, puts, completes = (sum(each.call == call for each in mine) for call in ("url", "put", "complete"))
    same = len(set(cell.answers)) == 1
    if same and word in {"offline", "apart", "busy", "pause"} and cell.call == "put" and urls != 1:
        yield f"{urls} upload URLs were asked for, although the first was good"
    if word == "ok" and cell.call != "create" and (urls, puts, completes) != (1, 1, 1):
        yield f"{urls} upload URLs, {puts} PUTs and {completes} completes"
    if word == "verify" and (puts != 1 or completes != hits + 1 or not _waits(outcome, name)):
        yield f"{puts} PUTs, {completes} completes, or the waits after 425 are wrong"
    if word == "fresh" and (urls != puts or puts != hits + 1 or completes != 1):
        yield f"{urls} upload URLs, {puts} PUTs and {completes} completes after {hits} refusals"
    if word == "again" and not completes == puts == min(hits, REPEATS) + 1:
        yield f"{puts} PUTs and {completes} completes after {hits} answers of 409"
    if word == "park" and cell.call == "complete" and same and puts != 1:
        yield f"{puts} PUTs of what was refused"


def _pause_after(answer: str, word: str, outcome: Outcome) -> tuple[float, float]:
    """Return how long there must be no request after a wrong answer: at least, and at most."""
    systemic = word == "park" and len(outcome.cell.answers) > 1 and len(set(outcome.cell.answers)) == 1
    if answer.startswith("429"):
        return (0.05 if answer == "429-silent" else RETRY_AFTER), RETRY_AFTER + 2 * LONGEST_BACKOFF
    if word == "key" or (answer == "401" and outcome.cell.call != "put"):
        return PROBE_SECONDS * 0.9, PROBE_SECONDS * 1.2
    if word == "offline" and len(set(outcome.cell.answers)) == 1:
        return 0.05, LONGEST_BACKOFF + 30
    return 0.0, PROBE_SECONDS * 1.2 if systemic else 1e9


def _waits(outcome: Outcome, name: str) -> bool:
    """Tell whether the completes of a recording came 2, 4, 8, 10 s after one another, the loop's steps allowed."""
    at = [each.at for each in outcome.exchanges if each.call == "complete" and each.recording == name]
    pauses = [later - earlier for earlier, later in itertools.pairwise(at)]
    return all(wait <= pause <= wait + 11 for wait, pause in zip(VERIFYING_WAITS, pauses, strict=False))


def _of_what_is_stored(outcome: Outcome) -> Iterator[str]:
    """Exactly one copy of each delivered recording's audio, whole, and none of it under another one."""
    tries = sum(exchange.call == "create" for exchange in outcome.exchanges)
    for entry, place in zip(outcome.local, outcome.end, strict=True):
        here = outcome.server[entry.id]
        with_audio = [recording for recording in here if recording.stored]
        if len(with_audio) > 1:
            yield f"{len(with_audio)} copies of one audio on the server"
        if len(here) > 1 and outcome.cell.contract == "older":
            yield f"{len(here)} recordings for one Idempotency-Key"
        if len(here) > tries - len(outcome.local) + 1:
            yield f"{len(here)} recordings of {tries} creates"
        audio = outcome.audio[entry.id]
        if any(body != audio for recording in with_audio for body in recording.stored):
            yield "other bytes were stored than were recorded"
        if place == "delivered":
            yield from _of_a_delivery(outcome, with_audio, hashlib.sha256(audio).hexdigest())
            if entry.verified != (outcome.cell.contract == "newer"):
                yield f"verified is {entry.verified} by the {outcome.cell.contract} contract"


def _of_a_delivery(outcome: Outcome, with_audio: list[Recording], sha256: str) -> Iterator[str]:
    if not with_audio:
        yield "it is called delivered and the server has no audio"
    elif with_audio[0].completed != sha256 and not _done_unseen(outcome.cell):
        yield "it is called delivered and the server was not told so"


def _done_unseen(cell: Cell) -> bool:
    """Section 4, 400 after a complete without an answer: the agent cannot know that it never arrived."""
    return cell.answers in {("dropped-before", "400"), ("504", "400")}
