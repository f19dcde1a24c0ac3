"""How long the backlog takes by the owner's daily limits."""

import pytest

from agent.config.schema import SyncConfig
from agent.sync.rules.data_usage import MEGABYTE
from agent.sync.rules.forecast import DAY, drain_seconds


@pytest.mark.parametrize(
    ("settings", "is_metered", "days"),
    [
        (SyncConfig(daily_data_limit_mb=10), True, 2.0),
        (SyncConfig(daily_data_limit_mb=10), False, 0.0),
        (SyncConfig(daily_total_limit_mb=10), False, 2.0),
        (SyncConfig(daily_total_limit_mb=10), True, 2.0),
        (SyncConfig(daily_total_limit_mb=10, daily_data_limit_mb=5), True, 4.0),
        (SyncConfig(daily_total_limit_mb=10, daily_data_limit_mb=5), False, 2.0),
    ],
)
def test_each_limit_counts_where_it_holds(settings: SyncConfig, is_metered: bool, days: float) -> None:
    """Twenty recordings of a megabyte each: the total limit holds everywhere, the data limit where it costs."""
    seconds = drain_seconds(20, 20 * MEGABYTE, 1.0, None, settings, is_metered=is_metered)
    assert seconds == pytest.approx(max(20.0, days * DAY))
