"""The button: what presses mean, with contacts that bounce, on a simulated clock and on gpiozero's mock pins."""

import random
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory
from hypothesis import given
from hypothesis import strategies as st
from logcapture import capture_logs

from agent.errors import AgentError
from agent.panel.button import BOUNCE_SECONDS, LONG_SECONDS, Button, Presses

Edge = tuple[float, bool]
PIN = 17


def bouncing(at: float, *, down: bool, rng: random.Random) -> list[Edge]:
    """Return the edges of a contact that changes at ``at`` and bounces for up to 10 ms."""
    moments = sorted(rng.uniform(at, at + 0.010) for _ in range(2 * rng.randrange(6)))
    return [(at, down), *((moment, down == (i % 2 == 1)) for i, moment in enumerate(moments))]


def recognised(edges: Sequence[Edge], until: float) -> list[tuple[str, float]]:
    """Feed edges to a judge of presses that is looked at as it asks to be; return what it said, and when."""
    presses, said = Presses(), []

    def look_until(moment: float) -> None:
        while (look := presses.next_poll()) is not None and look <= moment:
            press = presses.poll(look)
            if press is not None:
                said.append((press, look))
            assert presses.next_poll() != look, "it would be looked at for ever"

    for at, down in edges:
        look_until(at)
        press = presses.edge(at, down=down)
        if press is not None:
            said.append((press, at))
    look_until(until)
    return said


HELD = st.floats(0.05, LONG_SECONDS - 0.02) | st.floats(LONG_SECONDS + 0.02, 5.0)
"""A press of two seconds to the millisecond may be either."""


@given(st.integers(), st.lists(st.tuples(HELD, st.floats(0.1, 3.0)), min_size=1, max_size=8))
def test_each_press_is_recognised_once_however_it_bounces(
    seed: int, presses: list[tuple[float, float]]
) -> None:
    """Held for less than two seconds it is short, at its release; else long, while it is still held."""
    rng, now, edges, expected = random.Random(seed), 100.0, [], []
    for held, pause in presses:
        edges += bouncing(now, down=True, rng=rng) + bouncing(now + held, down=False, rng=rng)
        long = held >= LONG_SECONDS
        expected.append(("long" if long else "short", now + min(held, LONG_SECONDS)))
        now += held + pause
    said = recognised(edges, now + 10)
    assert [press for press, _ in said] == [press for press, _ in expected]
    for (_, at), (_, meant) in zip(said, expected, strict=True):
        assert meant - 1e-9 <= at <= meant + 0.010 + BOUNCE_SECONDS + 1e-9


def test_a_spark_is_no_press() -> None:
    """An edge there and back within the bounce is interference on the wire."""
    assert recognised([(1.0, True), (1.0 + BOUNCE_SECONDS / 2, False)], 10) == []


def test_without_waiting_for_the_contact_a_press_would_count_many_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A control: with no bounce time the same edges make several presses."""
    monkeypatch.setattr("agent.panel.button.BOUNCE_SECONDS", 0.0)
    rng = random.Random(5)
    edges = bouncing(1.0, down=True, rng=rng) + bouncing(1.5, down=False, rng=rng)
    assert len(edges) > 4
    assert len(recognised(edges, 10)) > 1


@pytest.fixture
def mock_pins() -> Iterator[None]:
    """Give gpiozero pins that are not there."""
    before = Device.pin_factory
    Device.pin_factory = MockFactory()
    yield
    Device.pin_factory.reset()
    Device.pin_factory = before


@pytest.mark.usefixtures("mock_pins")
def test_a_real_button_object_hears_bouncing_pins() -> None:
    """Through gpiozero: two short presses with bounces, then a long one that acts before its release."""
    said: list[str] = []
    heard = threading.Semaphore(0)

    def note(press: str) -> None:
        said.append(press)
        heard.release()

    button = Button(PIN, lambda: note("short"), lambda: note("long"), time.monotonic)
    pin = Device.pin_factory.pin(PIN)

    def bounce(*, down: bool) -> None:
        for _ in range(4):
            (pin.drive_low if down else pin.drive_high)()
            (pin.drive_high if down else pin.drive_low)()
        (pin.drive_low if down else pin.drive_high)()

    for _ in range(2):
        bounce(down=True)
        time.sleep(3 * BOUNCE_SECONDS)
        bounce(down=False)
        assert heard.acquire(timeout=5)
    bounce(down=True)
    assert heard.acquire(timeout=LONG_SECONDS + 5)
    assert said == ["short", "short", "long"]
    bounce(down=False)
    assert not heard.acquire(timeout=5 * BOUNCE_SECONDS), said
    button.close()


@pytest.mark.usefixtures("mock_pins")
def test_a_press_that_fails_does_not_end_the_button() -> None:
    """Whatever it asked for went wrong: the next press is heard."""
    heard = threading.Semaphore(0)

    def fail() -> None:
        heard.release()
        raise RuntimeError("injected")

    with capture_logs() as logs:
        button = Button(PIN, fail, fail, time.monotonic)
        pin = Device.pin_factory.pin(PIN)
        for _ in range(2):
            pin.drive_low()
            time.sleep(3 * BOUNCE_SECONDS)
            pin.drive_high()
            assert heard.acquire(timeout=5)
        button.close()
    assert {line["action"] for line in logs} == {"button_failed"}


def test_a_machine_without_pins_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where gpiozero finds no pins at all, the sentence names the setting."""
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "native")
    monkeypatch.setattr(Device, "pin_factory", None)
    with pytest.raises(AgentError, match=r"button\.gpio needs the board's pins, and "):
        Button(PIN, lambda: None, lambda: None, time.monotonic)
