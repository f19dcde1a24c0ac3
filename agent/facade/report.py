"""The newest days as both processes know them, for the command line."""

import contextlib
from typing import Any

from agent.clock import SystemClock
from agent.deliverer.days_now import delivered_now
from agent.errors import AgentError
from agent.facade.context import Session
from agent.host.boot import boot_id
from agent.host.time_sync import clock_state
from agent.index.reading import reading
from agent.process.state_directory import Process, StateDirectory
from agent.recorder.account.days_now import days_now
from agent.report.rows import rows_of
from agent.timing.known_time import KnownTime
from agent.zone import zone, zone_of_days

Json = dict[str, Any]


def report(session: Session, count: int) -> list[Json]:
    """Return the rows of ``report --json``, at most ``count``, today the last of them.

    Raises:
        AgentError: one may neither read nor ask.
    """
    zone_name = zone_of_days()
    time = KnownTime(SystemClock(), boot_id(), clock_state)

    def recorded(state: StateDirectory) -> list[Json]:
        time.read_boots(state.path)
        config = session.loaded.config
        return days_now(
            state.path,
            config.recording,
            config.location,
            time,
            time.instant(SystemClock().monotonic()),
            zone_name=zone_name,
            count=count,
            is_running=state.is_locked(Process.RECORDER) and state.is_service(Process.RECORDER),
        )

    def delivered(state: StateDirectory) -> list[Json]:
        time.read_boots(state.path)
        with reading(state) as recordings:
            return delivered_now(recordings, zone(zone_name), time.now_ms(), count)

    heard = session.read_or_ask(recorded, Process.RECORDER, "report", days=count)
    sent: list[Json] = []
    with contextlib.suppress(AgentError):  # what the recorder knows is told without the deliverer too
        sent = session.read_or_ask(delivered, Process.DELIVERER, "report", days=count)
    return rows_of(heard, sent, count)
