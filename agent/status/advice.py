"""The one right thing first: what ``doctor`` would say, as far as the document of ``status --json`` tells it."""

from typing import NamedTuple

from agent.status.board import CredentialState, Delivery, Quality, State
from agent.status.status_document import StatusDocument
from agent.status.words import missing
from agent.text import counted

HEALTHY, WARNING, CRITICAL = "healthy", "warning", "critical"


class Advice(NamedTuple):
    """What is worth doing first, in one sentence, and how serious it is."""

    seriousness: str
    sentence: str


def first_thing(now: StatusDocument) -> Advice:
    """Return what comes first: what keeps from recording, then what keeps from delivering, then what is not as good."""
    for look in (_recorder, _microphone, _delivery, _waits, _clock):
        if (advice := look(now)) is not None:
            return advice
    return Advice(HEALTHY, "all is well")


def _recorder(now: StatusDocument) -> Advice | None:
    state, fault = now.state, now.fault
    if state == State.STOPPED:
        return Advice(
            CRITICAL, "the recorder does not run; switch it off and on again, or call whoever looks after it"
        )
    if state in {State.FAULT, State.STORAGE_FULL}:
        instead = "the card is full" if state == State.STORAGE_FULL else "it cannot record"
        return Advice(CRITICAL, fault or instead)
    if state == State.NO_MICROPHONE:
        name = now.microphone.name
        return Advice(CRITICAL, fault or f"{missing(name)}; plug it in, or try another socket")
    if state == State.MUTED:
        return Advice(WARNING, "it is muted, so nothing is recorded; unmute it")
    if fault:
        return Advice(WARNING, fault)
    if now.storage.in_memory:
        return Advice(
            CRITICAL, "recordings lie in memory and are gone with the power; give the recorder a card"
        )
    return None


def _microphone(now: StatusDocument) -> Advice | None:
    sentences = {
        Quality.SILENT: "the microphone gives nothing but silence; switch it on, or check its cable",
        Quality.QUIET: "the microphone is too quiet; raise its gain, or move it nearer",
        Quality.CLIPPING: "the microphone clips; lower its gain, or move it away",
    }
    sentence = sentences.get(now.microphone.quality) if now.microphone.quality else None
    return Advice(WARNING, sentence) if sentence else None


def _delivery(now: StatusDocument) -> Advice | None:
    credential, delivery = now.credential.state, now.delivery
    if delivery != Delivery.RUNNING:
        return Advice(WARNING, f"delivery is {delivery}: recordings wait on the card until it goes on")
    if credential in {CredentialState.MISSING, CredentialState.REFUSED}:
        return Advice(
            CRITICAL, f"the device token is {credential}: recordings wait on the card until one is set"
        )
    return None


def _waits(now: StatusDocument) -> Advice | None:
    if now.parked:
        sentences = "recording was refused and waits", "recordings were refused and wait"
        return Advice(WARNING, f"{counted(now.parked, *sentences)} for a person")
    if now.held:
        return Advice(
            WARNING,
            now.held_reason or counted(now.held, "recording is held", "recordings are held"),
        )
    if now.pending and now.online is False:
        return Advice(
            WARNING, "there is no way to the API; recordings wait on the card, and go when there is one"
        )
    return None


def _clock(now: StatusDocument) -> Advice | None:
    if now.clock.source == "unsynchronized":
        return Advice(WARNING, "the clock is not right yet; times are corrected when it is")
    return None
