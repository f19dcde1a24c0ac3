"""What the LED does, as data: each pattern is a cycle of steps, a colour and how long it is shown."""

from typing import NamedTuple

from agent.panel.led_driver import DARK, Colour

RED = Colour(1, 0, 0)
AMBER = Colour(1, 0.5, 0)
YELLOW = Colour(1, 0.9, 0)
GREEN = Colour(0, 1, 0)
CYAN = Colour(0, 1, 1)
BLUE = Colour(0, 0, 1)
MAGENTA = Colour(1, 0, 1)
WHITE = Colour(1, 1, 1)


class Step(NamedTuple):
    """A colour and the seconds it is shown."""

    colour: Colour
    seconds: float


Pattern = tuple[Step, ...]

SHORT = 0.15
GAP = 0.15


def blink(colour: Colour, seconds: float) -> Pattern:
    """On and off, each for ``seconds``."""
    return (Step(colour, seconds), Step(DARK, seconds))


def blinks(colour: Colour, count: int) -> Pattern:
    """So many blinks, then a pause."""
    return blink(colour, 0.25) * count + (Step(DARK, 1.0),)


def gaps(colour: Colour, count: int, period: float) -> Pattern:
    """On, with so many short gaps at the end of each period."""
    lit = period - count * GAP - (count - 1) * SHORT
    tail = (Step(DARK, GAP), Step(colour, SHORT)) * (count - 1) + (Step(DARK, GAP),)
    return (Step(colour, lit), *tail)


def flashes(colour: Colour, count: int, period: float) -> Pattern:
    """Dark, with so many short flashes at the start of each period."""
    head = (Step(colour, SHORT), Step(DARK, GAP)) * count
    return (*head, Step(DARK, period - count * (SHORT + GAP)))


def pulse(colour: Colour, period: float = 1.6) -> Pattern:
    """Swelling and fading; dark in between, lest it is steady on an LED that knows on and off only."""
    shares = (0.0, 0.0, 0.25, 0.6, 1.0, 0.6, 0.25, 0.0)
    return tuple(Step(colour.dimmed(share), period / len(shares)) for share in shares)


def long_short(colour: Colour) -> Pattern:
    """One long, one short, a pause."""
    return (Step(colour, 0.9), Step(DARK, 0.25), Step(colour, SHORT), Step(DARK, 1.2))


IDENTIFY: Pattern = tuple(Step(colour, 0.08) for colour in (WHITE, DARK, RED, DARK, BLUE, DARK))
"""Unmistakable: a fast flicker, of changing colours where there are any."""
