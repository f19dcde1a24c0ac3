"""The agent's command line with its waits shortened, and on demand with one of its protections taken out.

``python entry.py OPTIONS -- ARGUMENTS``: the product has no switch for this, so what is shortened is set here, before
any of its modules reads it. ``--ntp`` says that the machine's clock is right; ``--without NAME`` breaks ``NAME``.
"""

import argparse
import ctypes
import random
import signal
import sys
from collections.abc import Callable

import httpx

PR_SET_PDEATHSIG = 1
"""Whoever tests may be killed; what it has started goes with it."""
BEATS_SECONDS = 0.5
"""The interval of the heartbeats."""


def shorten() -> None:
    """Shorten each wait that an answer, or the lack of one, can cause: about twentyfold."""
    from agent import bounds
    from agent.api.transport import http
    from agent.sync.pacing import backoff
    from agent.timing import time_sync

    bounds.PAUSE_SECONDS, bounds.VERIFYING_SECONDS = 3.0, 1.0
    bounds.WINDOW_SECONDS, bounds.PACING_SECONDS = 3.0, 1.0
    bounds.ATTEMPT_SECONDS = 4.0
    time_sync.APART_MS = 1500
    http.Timeouts.__new__.__defaults__ = (1.0, 1.5, 1.5, 2.0, 45.0, 0.5, 1000.0, 1.0)
    backoff.Backoff.__init__.__defaults__ = (0.25, 1.5)
    backoff._VERIFYING_FIRST, backoff._VERIFYING_THEN = (0.2, 0.4, 0.8), 0.5
    backoff._VERIFYING_FOR = 3.0

    from agent.deliverer import threads
    from agent.sync import clock_wait, connection, failures, syncer
    from agent.sync.pacing import heartbeat_interval, limits, share
    from agent.sync.remote import commands, heartbeat

    clock_wait.WAIT_SECONDS = 9.0
    connection.PROBE_SECONDS, failures.PARKED_RETRY_MS, failures.AFTER_VERIFYING = 1.5, 1500, 2
    syncer.POLL_SECONDS, threads.DISK_RETRY_SECONDS = 0.5, 1.0
    limits.UPLOAD_URLS_PER_MINUTE, limits.SPREAD_FROM = 1000, 1
    share.WINDOW, share.AFTER_RESET = 3.0, 0.7
    heartbeat_interval.LONGEST, heartbeat_interval.CROWDED_LONGEST, heartbeat_interval.AFTER_A_PAUSE = (
        3.0,
        2.0,
        1.0,
    )
    commands.UPLOAD_EFFECT_MS = 1000
    heartbeat.FIRST_SECONDS, heartbeat.POLL_SECONDS, heartbeat.GRACE_SECONDS = 0.5, 0.5, 1.0
    heartbeat.LONGEST_SECONDS = 3.0
    made = heartbeat_interval.HeartbeatInterval.__init__

    def faster(
        self: heartbeat_interval.HeartbeatInterval,
        _interval: float,
        rng: random.Random,
        **given: Callable[[], bool],
    ) -> None:
        made(self, BEATS_SECONDS, rng, **given)

    heartbeat_interval.HeartbeatInterval.__init__ = faster  # type: ignore[method-assign,assignment]


def with_right_clock() -> None:
    """Say that the machine's clock is set by NTP."""
    from agent.host import time_sync

    time_sync.clock_state = lambda *_given, **_named: "ntp"


def without_limit() -> None:
    """Take out a limit: the length of an id."""
    from agent import bounds

    bounds.ID_CHARS = 100_000


def without_net() -> None:
    """Take out a net: an upload URL is not looked at, and what a library raises for it is nobody's failure."""
    from agent.api import client
    from agent.api.transport import http
    from agent.api.transport.outage import outage as known

    def passed_on(error: Exception, *given: object, **named: object) -> object:
        if isinstance(error, httpx.HTTPError):
            return known(error, *given, **named)  # type: ignore[arg-type]
        raise error

    client.check_storage_url = lambda *_given, **_named: None  # type: ignore[attr-defined]
    http.outage, http._not_sent = passed_on, passed_on  # type: ignore[attr-defined,assignment]


BROKEN: dict[str, Callable[[], None]] = {"limit": without_limit, "net": without_net}


def main() -> None:
    """Prepare, and run the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ntp", action="store_true")
    parser.add_argument("--without", choices=BROKEN)
    parser.add_argument("arguments", nargs="*")
    given = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if given.ntp:
        with_right_clock()
    if given.without:
        BROKEN[given.without]()
    if "deliverer" in given.arguments:
        shorten()
    from agent.cli import main as command_line

    sys.argv = ["recorder-agent", *given.arguments]
    command_line()


if __name__ == "__main__":
    main()
