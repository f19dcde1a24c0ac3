"""Which recordings may be created now: those whose start is known; it cannot be corrected once it was sent."""

from agent.api.client import RecordingsApi
from agent.clock import Clock
from agent.outbox.entry import Entry
from agent.timing.time_sync import APART_MS, UNSYNCHRONIZED, TimeSync

WAIT_SECONDS = 180.0
"""How long recordings of unknown time wait for the clock while the API can be reached."""

ASK_SECONDS = APART_MS / 1000 + 1
"""How long after one question for the time the next can confirm its answer."""


class ClockWait:
    """Learns the time from the API's answers; holds back what was recorded under a wrong clock until it is known."""

    def __init__(self, api: RecordingsApi, time_sync: TimeSync, clock: Clock) -> None:
        self._api = api
        self._time_sync = time_sync
        self._clock = clock
        self._online_since: float | None = None
        self._asked_at: float | None = None

    def ask(self) -> None:
        """Ask the API host for the time when nothing else has told it, and again until an answer is confirmed.

        Raises:
            Offline: it cannot be reached.
        """
        if self._time_sync.state() != UNSYNCHRONIZED or self.seconds_to_ask() > 0:
            return
        self._api.ask_date()
        self._asked_at = self._clock.monotonic()
        self.learn()

    def seconds_to_ask(self) -> float:
        """Return how long until it is worth asking again."""
        asked = self._asked_at
        return 0.0 if asked is None else max(0.0, asked + ASK_SECONDS - self._clock.monotonic())

    def seconds_left(self) -> float:
        """Return for how long at most recordings wait for the clock while the API can be reached."""
        since = self._online_since
        passed = 0.0 if since is None else self._clock.monotonic() - since
        return max(0.0, WAIT_SECONDS - passed)

    def learn(self) -> None:
        """Take over the time of the newest answer."""
        date = self._api.last_date
        if self._online_since is None:
            self._online_since = self._clock.monotonic()
        if date is not None:
            self._time_sync.learn_from_server(date.server, date.monotonic, date.round_trip)

    def offline(self) -> None:
        """The API cannot be reached: waiting for the clock begins anew."""
        self._online_since = None
        self._asked_at = None

    def may_create(self, entry: Entry) -> bool:
        """Whether the recording may be created now; once created it always may go on."""
        if entry.request is not None or self._time_sync.corrected(entry.started).clock != UNSYNCHRONIZED:
            return True
        return self._online_since is not None and self.seconds_left() <= 0
