"""The button: a switch between a GPIO pin and ground, by gpiozero (extra ``[gpio]``).

Contacts bounce for some milliseconds at each press and release. gpiozero hands on every edge; what they mean is
decided here, by time alone.
"""

import threading
from collections.abc import Callable
from typing import Any

from agent.errors import AgentError
from agent.log import get_logger
from agent.panel.pins import gpiozero_for

log = get_logger(__name__)

BOUNCE_SECONDS = 0.03
"""An edge counts when the contact has kept still for so long after it."""
LONG_SECONDS = 2.0
"""A press of this length is a long one; it acts while the button is still held."""


class Presses:
    """Turns the edges of a contact into short and long presses; one thread.

    ``edge`` for each edge, ``poll`` when ``next_poll`` says: both return what has just been recognised.
    """

    def __init__(self) -> None:
        self._is_down = False
        """As debounced."""
        self._contact = False
        self._changed_at = 0.0
        self._down_at = 0.0
        self._acted = False

    def edge(self, at: float, *, down: bool) -> str | None:
        """Take an edge at a moment of the monotonic clock."""
        recognised = self.poll(at)
        self._contact = down
        self._changed_at = at
        return recognised

    def poll(self, now: float) -> str | None:
        """Return ``short`` or ``long`` when a press has become one by now."""
        if self._contact != self._is_down and now >= self._changed_at + BOUNCE_SECONDS:
            self._is_down = self._contact
            if self._is_down:
                self._down_at = self._changed_at
                self._acted = False
            elif not self._acted:
                return "long" if self._changed_at - self._down_at >= LONG_SECONDS else "short"
        if self._is_down and not self._acted and self._contact and now >= self._down_at + LONG_SECONDS:
            self._acted = True
            return "long"
        return None

    def next_poll(self) -> float | None:
        """When something may be recognised without another edge; None: never."""
        if self._contact != self._is_down:
            return self._changed_at + BOUNCE_SECONDS
        return self._down_at + LONG_SECONDS if self._is_down and not self._acted else None


class Button:
    """Listens to the pin in a thread of its own; what a press asks for is done there too.

    Raises:
        AgentError: gpiozero is missing, or the pin cannot be used.
    """

    def __init__(
        self,
        gpio: int,
        pressed: Callable[[], None],
        held: Callable[[], None],
        monotonic: Callable[[], float],
    ) -> None:
        gpiozero = gpiozero_for("button.gpio")
        self._act = {"short": pressed, "long": held}
        self._monotonic = monotonic
        self._presses = Presses()
        self._changed = threading.Condition()
        self._edges: list[tuple[float, bool]] = []
        self._is_closed = False
        try:
            self._pin: Any = gpiozero.DigitalInputDevice(gpio, pull_up=True)
        except Exception as error:  # the pin libraries beneath raise what they like
            raise AgentError(
                f"GPIO {gpio} cannot be used as a button ({error})",
                "check button.gpio and the service's group gpio",
            ) from error
        self._pin.when_activated = lambda: self._note(down=True)
        self._pin.when_deactivated = lambda: self._note(down=False)
        threading.Thread(target=self._listen, name="button", daemon=True).start()

    def _note(self, *, down: bool) -> None:
        with self._changed:
            self._edges.append((self._monotonic(), down))
            self._changed.notify()

    def _listen(self) -> None:
        while True:
            with self._changed:
                look_at = self._presses.next_poll()
                if not self._edges and not self._is_closed:
                    self._changed.wait(None if look_at is None else max(0.0, look_at - self._monotonic()))
                if self._is_closed:
                    return
                edges, self._edges = self._edges, []
            found = [self._presses.edge(at, down=down) for at, down in edges]
            found.append(self._presses.poll(self._monotonic()))
            for press in found:
                if press is not None:
                    self._do(press)

    def _do(self, press: str) -> None:
        try:
            self._act[press]()
        except Exception:  # whatever it was, the next press must be heard
            log.exception("a press of the button failed", action="button_failed", press=press)

    def close(self) -> None:
        """Let go of the pin."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._pin.close()
