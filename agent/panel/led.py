"""The LED: plays the pattern of the present condition, by this process, so that a hung recorder does not look alive."""

import threading
from collections.abc import Callable

from agent.errors import AgentError
from agent.log import get_logger
from agent.panel.led_driver import DARK, LedDriver
from agent.panel.patterns import (
    AMBER,
    BLUE,
    CYAN,
    GREEN,
    IDENTIFY,
    MAGENTA,
    RED,
    WHITE,
    YELLOW,
    Pattern,
    Step,
    blink,
    blinks,
    flashes,
    gaps,
    long_short,
    pulse,
)
from agent.status.condition import Condition

log = get_logger(__name__)

POLL_SECONDS = 0.5
"""How soon a change of the condition is seen, at the latest."""
FAST_SECONDS = 0.1

PATTERNS: dict[Condition, Pattern] = {
    Condition.FAULT: blink(RED, FAST_SECONDS),
    Condition.STORAGE_FULL: blinks(RED, 2),
    Condition.NO_MICROPHONE: blinks(MAGENTA, 3),
    Condition.MUTED: long_short(RED),
    Condition.NO_CREDENTIAL: blink(AMBER, 1.0),
    Condition.RECORDING_SILENT: gaps(YELLOW, 3, 4.0),
    Condition.RECORDING_OFFLINE: gaps(BLUE, 2, 2.0),
    Condition.RECORDING: gaps(GREEN, 1, 2.0),
    Condition.LISTENING: flashes(GREEN.dimmed(0.4), 1, 3.0),
    Condition.UPLOADING: pulse(CYAN),
    Condition.IDLE_WAITING: flashes(BLUE, 2, 10.0),
    Condition.STARTING: pulse(WHITE),
    Condition.IDLE: flashes(GREEN.dimmed(0.4), 1, 10.0),
}
"""What each condition of the status table looks like."""
REFUSED: Pattern = blinks(AMBER, 4)
"""What was brought on a card or a stick was refused."""
IN_COLOURS = PATTERNS | {Condition.MUTED: (Step(RED, 1.0),)}
"""The same where colours can be told apart."""


class StatusLed:
    """Plays patterns on an LED in a thread of its own, until ``stop``.

    ``condition`` is asked at every step; an LED that refuses is said once, and left alone from then on.
    """

    def __init__(
        self,
        driver: LedDriver,
        condition: Callable[[], Condition],
        wait: Callable[[threading.Event, float], bool],
    ) -> None:
        self._driver = driver
        self._patterns = IN_COLOURS if driver.in_colours else PATTERNS
        self._condition = condition
        self._wait = wait
        self._stopping = threading.Event()
        self._instead: Pattern = ()
        self._instead_steps = 0
        """So many steps more of it are played in place of the condition's pattern."""

    def show_refused(self, seconds: float) -> None:
        """Show for a while that what somebody has brought was refused."""
        self._play_instead(REFUSED, seconds)

    def identify(self, seconds: float) -> None:
        """Flicker unmistakably for a while."""
        self._play_instead(IDENTIFY, seconds)

    def run(self) -> None:
        """Play until ``stop``; dark afterwards."""
        try:
            self._play()
            self._driver.close()
        except (OSError, AgentError) as error:
            log.warning("the LED refuses, and is left alone", action="led_failed", error=error)

    def stop(self) -> None:
        """End, and go dark."""
        self._stopping.set()

    def _play(self) -> None:
        pattern: Pattern = ()
        position = 0
        while not self._stopping.is_set():
            wanted = self._wanted()
            if wanted is not pattern:
                pattern, position = wanted, 0
            step = pattern[position % len(pattern)]
            position += 1
            self._driver.show(step.colour)
            self._hold(step, pattern)
            if pattern is self._instead:
                self._instead_steps -= 1

    def _play_instead(self, pattern: Pattern, seconds: float) -> None:
        steps = round(seconds * len(pattern) / sum(step.seconds for step in pattern))
        self._instead, self._instead_steps = pattern, steps

    def _wanted(self) -> Pattern:
        return self._instead if self._instead_steps > 0 else self._patterns[self._condition()]

    def _hold(self, step: Step, pattern: Pattern) -> None:
        """Let a step last, but look for another pattern meanwhile."""
        left = step.seconds
        while left > 0 and not self._wait(self._stopping, min(left, POLL_SECONDS)):
            left -= POLL_SECONDS
            if left > 0 and self._wanted() is not pattern:
                return


def identify_by_hand(driver: LedDriver, seconds: float, wait: Callable[[float], object]) -> None:
    """Flicker without a recorder, then go dark."""
    try:
        for number in range(round(seconds / IDENTIFY[0].seconds)):
            step = IDENTIFY[number % len(IDENTIFY)]
            driver.show(step.colour)
            wait(step.seconds)
        driver.show(DARK)
    finally:
        driver.close()
