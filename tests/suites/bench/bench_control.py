"""What makes the agent dearer on purpose, so that each measurement is seen to fail; ``BENCH_CONTROL`` names it.

Lies in the benchmark's virtual environment, and is loaded there by each process of the agent, where it is named.
"""

import os
import threading
import time

LATE_SECONDS = 0.4
BUSY_SECONDS = 0.01
BUSY_ROUNDS = 3000
SLOW_SECONDS = 0.02
HELD_BYTES = 8 << 20
HELD: list[bytes] = []
"""Kept beside the modules, of which the processes share a part."""


def late() -> None:
    """Begin later: for the first sample."""
    time.sleep(LATE_SECONDS)


def busy() -> None:
    """Let a thread wake and work a little, again and again: for processor time and wake-ups."""

    def work() -> None:
        while True:
            time.sleep(BUSY_SECONDS)
            sum(range(BUSY_ROUNDS))

    threading.Thread(target=work, daemon=True).start()


def memory() -> None:
    """Import and keep what is of no use: for memory."""
    import asyncio  # noqa: F401
    import doctest  # noqa: F401
    import http.server  # noqa: F401
    import imaplib  # noqa: F401
    import multiprocessing.pool  # noqa: F401
    import pydoc  # noqa: F401
    import smtplib  # noqa: F401
    import tarfile  # noqa: F401
    import unittest.mock  # noqa: F401
    import xml.dom.minidom  # noqa: F401

    HELD.append(os.urandom(HELD_BYTES))


def slow() -> None:
    """Rest before each request: for delivery."""
    from agent.api.transport.http import HttpConnection

    send = HttpConnection._send

    def rest_and_send(*given: object, **named: object) -> object:
        time.sleep(SLOW_SECONDS)
        return send(*given, **named)  # type: ignore[arg-type]

    HttpConnection._send = rest_and_send  # type: ignore[method-assign, assignment]


CONTROLS = {each.__name__: each for each in (late, busy, memory, slow)}
CONTROLS[os.environ["BENCH_CONTROL"]]()
