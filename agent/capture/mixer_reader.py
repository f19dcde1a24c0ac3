"""Which capture control belongs to the microphone in use, and how it stands now."""

import re
import threading
import time
from collections.abc import Callable, Sequence

from agent.capture.devices import DEFAULT
from agent.capture.mixer import CaptureControl, capture_control_or_none
from agent.host.sound_cards import Card, SoundCards

MOST_AGE_SECONDS = 1.0
_CARD = re.compile(r"hw:(?:CARD=)?([^,]+)")


def mixer_card(identity: str, cards: Sequence[Card]) -> Card | None:
    """Return the card whose mixer belongs to what is opened by a stable id or the name of a PCM.

    That of the id; that in the name (``plughw:CARD=Device,DEV=0``, ``hw:1``); behind ALSA's default the only one that
    captures. None: it is no card, or it cannot be told.
    """
    capturing = [card for card in cards if card.capture]
    in_name = _CARD.search(identity)
    name = in_name[1] if in_name else identity
    found = [card for card in capturing if name in (*card.ids, card.card_id, str(card.number))]
    if not found and identity == DEFAULT:
        found = capturing
    return found[0] if len(found) == 1 else None


class CaptureControlReader:
    """Reads it by amixer when somebody asks, at most once in ``MOST_AGE_SECONDS``; any thread may ask.

    While a card hangs the others that ask are given what was read last.
    """

    def __init__(self, cards: SoundCards, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._cards = cards
        self._monotonic = monotonic
        self._reading = threading.Lock()
        self._newest: tuple[str, float, CaptureControl | None] = ("", 0.0, None)

    def read(self, identity: str) -> CaptureControl | None:
        """Return the control of what is opened by an id; None: there is none, or it cannot be told."""
        if self._is_due(identity) and self._reading.acquire(blocking=False):
            try:
                control = self._read(identity)
                self._newest = (identity, self._monotonic(), control)
            finally:
                self._reading.release()
        whose, _, control = self._newest
        return control if whose == identity else None

    def _is_due(self, identity: str) -> bool:
        whose, at, _ = self._newest
        return whose != identity or self._monotonic() - at >= MOST_AGE_SECONDS

    def _read(self, identity: str) -> CaptureControl | None:
        card = mixer_card(identity, self._cards.present())
        return capture_control_or_none(card.card_id) if card is not None else None
