"""What is remembered of recordings between their answers stays small."""

from agent.sync.failures import MOST_COUNTED, remember_count


def test_the_oldest_counts_are_forgotten() -> None:
    """Whoever was heard of last is remembered, whatever came before."""
    counts: dict[str, int] = {}
    for number in range(2 * MOST_COUNTED):
        remember_count(counts, str(number), 1)
        remember_count(counts, "0", number)
    assert len(counts) == MOST_COUNTED
    assert counts["0"] == 2 * MOST_COUNTED - 1
    assert min(map(int, counts.keys() - {"0"})) == MOST_COUNTED + 1
