"""How long a delivered recording is kept."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import pytest
from card_of_recordings import HOUR, Make, make

from agent.index.table import store
from agent.index.table.rows import entry_of
from agent.outbox.entry import Entry, changed


def test_delivered_recordings_go_when_their_hours_are_over(make: Make) -> None:
    """Verified ones after a day, unverified ones after a week, undelivered ones never."""
    card = make(keep_sent_hours=24, keep_unverified_hours=168)
    for state in ("verified", "unverified", "ready", "parked", "held"):
        card.add(state)

    for hours, left in (
        (23.9, [1, 2, 3, 4, 5]),
        (0.2, [2, 3, 4, 5]),
        (143.8, [2, 3, 4, 5]),
        (0.2, [3, 4, 5]),
    ):
        card.clock.sleep(hours * HOUR)
        card.retention.sweep()
        assert card.left == left
    card.clock.sleep(100_000 * HOUR / 1000)
    card.retention.sweep()
    assert card.left == [3, 4, 5]


def test_many_unverified_do_not_keep_the_verified_from_going(make: Make) -> None:
    """Behind six hundred that stay for a week, what was verified still goes after a day."""
    card = make()
    entry = card.add("unverified")
    rows = [_copy(entry, number) for number in range(100, 700)]
    card.outbox.store.insert(rows, "x")
    late = card.add("verified")
    card.clock.sleep(25 * HOUR)

    card.retention.sweep()

    assert card.outbox.store.get(late.id) is None
    assert card.outbox.store.get(rows[0].id) is not None


def test_what_stays_is_not_read(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep comes every minute: of six hundred that are young, and with room enough, it reads no row."""
    card = make()
    entry = card.add("verified")
    card.outbox.store.insert([_copy(entry, number) for number in range(100, 700)], "x")
    read: list[object] = []

    def counted(row: dict[str, object]) -> Entry:
        read.append(row)
        return entry_of(row)

    monkeypatch.setattr(store, "entry_of", counted)
    card.retention.sweep()
    assert read == []
    card.clock.sleep(25 * HOUR)
    card.retention.sweep()
    assert len(read) == 601


def test_ages_count_only_between_right_clocks(make: Make) -> None:
    """Delivered under an unknown clock, or looked at under one, nothing goes by age."""
    card = make()
    card.known = "unsynchronized"
    card.add("verified")
    card.known = "server"
    card.add("verified")
    card.clock.sleep(50_000 * 3.6)
    card.clock.step(5 * 365 * 24 * HOUR)
    card.known = "unsynchronized"
    card.retention.sweep()
    assert card.left == [1, 2]

    card.known = "ntp"
    card.retention.sweep()
    assert card.left == [1]


def _copy(entry: Entry, number: int) -> Entry:
    """Return a row like this one."""
    return changed(entry, id=f"00000000-0000-7000-8000-{number:012d}", seq=number, stem=f"x-{number}")
