"""Checks of what is on this machine's disk: configuration, state directory, room, speed, index."""

import os
import shlex
import sqlite3
import time

from agent.doctor.examination import Finding, critical, healthy, unknown, warning
from agent.errors import AgentError, ConfigError
from agent.facade.context import Session
from agent.hints import SERVICE_STATE, start, typed
from agent.host.medium import in_memory
from agent.host.storage import disk_usage, space_problem
from agent.index.earlier_place import Left, bring_hint, left_elsewhere
from agent.index.reading import open_for_reading
from agent.index.table.database import diagnose
from agent.index.table.schema import SCHEMA
from agent.index.table.store import Store
from agent.process.places import service_folder
from agent.process.state_directory import Process
from agent.process.state_lock import NoRight, account_name
from agent.text import counted

SQLITE_NEEDED = (3, 35, 0)
"""The first with RETURNING."""
SLOW_SECONDS = 1.0
"""A card that takes longer than this to make a megabyte durable is near its end, or a bad one."""
PROBE_BYTES = 1_000_000
BACKLOG_WARNING = 100


def config(session: Session) -> Finding:
    """Read the settings."""
    try:
        loaded = session.loaded
    except ConfigError as error:
        return critical(str(error), f"mend the file; {typed('config check')} says when it is right")
    return healthy(
        f"{loaded.file} is right" if loaded.file else "no configuration file; the defaults are in use"
    )


def state_directory(session: Session) -> Finding:
    """Look whether the state directory is there, and whose it is."""
    path = session.state.path
    if not path.exists():
        return warning(
            f"there is no state directory {path} yet", f"it is made when the recorder starts: {start()}"
        )
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return critical(
            f"the file system of {path} is read-only, so nothing can be recorded",
            "a card that fails does that: `sudo dmesg` says why, then check or replace it",
        )
    try:
        session.for_reading()
    except NoRight as error:
        if _is_heard(session):  # a member of the group: what it may not look at is no fault
            raise
        return critical(error.message, error.hint)
    status = path.stat()
    if status.st_mode & 0o077:
        return warning(f"{path} can be read by others", f"`sudo chmod 700 {shlex.quote(str(path))}`")
    return healthy(f"{path} belongs to {account_name(status.st_uid)}")


def earlier_place(session: Session) -> Finding:
    """Look whether recordings or a token wait where the state lay before ``storage.directory`` was changed."""
    session.for_reading()
    left = left_before(session)
    if left is None:
        return healthy("nothing waits at an earlier place")
    return warning(left.sentence(), bring_hint(left))


def left_before(session: Session) -> Left | None:
    """Return what waits at an earlier place, the first of them; beside a service only."""
    folder = service_folder(os.environ) or (SERVICE_STATE if SERVICE_STATE.is_dir() else None)
    found = left_elsewhere(session.state, folder)
    return found[0] if found else None


def _is_heard(session: Session) -> bool:
    """Whether the recorder answers whoever calls this."""
    try:
        return session.ask_status(Process.RECORDER) is not None
    except AgentError:
        return False


def disk_space(session: Session) -> Finding:
    """Look how much room there is."""
    path = session.state.path
    if not path.exists():
        return unknown("there is no state directory yet")
    storage = session.loaded.config.storage
    problem = space_problem(path, storage.min_free_mb)
    if problem:
        return critical(problem.message, problem.hint)
    if in_memory(path):
        return critical(
            f"{path} lies in memory: what is recorded is gone with the power, and the memory fills up",
            "name a storage.directory on a card or disk, or switch the overlay file system off in raspi-config",
        )
    free = disk_usage(path).free_mb
    opus = session.loaded.config.opus.bitrate_kbps
    hours = (free - storage.min_free_mb) * 8000 / opus / 3600
    sentence = f"{free} MB are free, enough for {hours:.0f} hours without a connection"
    return healthy(sentence) if hours >= 24 else warning(sentence, "use a larger card")  # noqa: PLR2004 - a day


def disk_speed(session: Session) -> Finding:
    """Make a megabyte durable, and take the time."""
    path = session.state.path
    if not path.exists():
        return unknown("there is no state directory yet")
    session.for_reading()
    probe = path / "doctor.tmp"
    try:
        began = time.monotonic()
        with probe.open("wb") as file:
            file.write(os.urandom(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
        seconds = time.monotonic() - began
    finally:
        probe.unlink(missing_ok=True)
    sentence = f"a megabyte is durable after {seconds * 1000:.0f} ms"
    if seconds > SLOW_SECONDS:
        return warning(sentence, "the card is slow or worn out; replace it")
    return healthy(sentence)


def sqlite_version(_session: Session) -> Finding:
    """Look whether SQLite is new enough."""
    if sqlite3.sqlite_version_info < SQLITE_NEEDED:
        needed = ".".join(map(str, SQLITE_NEEDED))
        return critical(f"SQLite is {sqlite3.sqlite_version}, and {needed} is needed", "upgrade the system")
    return healthy(f"SQLite is {sqlite3.sqlite_version}")


def index(session: Session) -> Finding:
    """Look whether the index is sound, and what waits in it."""
    path = session.for_reading().database
    if not path.exists():
        return healthy("there is no index yet")
    problem = diagnose(path, SCHEMA)
    if problem:
        return warning(problem, f"the recorder does that by itself; see {typed('repair --dry-run')}")
    store = open_for_reading(session.state)
    if store is None:
        return unknown("the index cannot be opened")
    try:
        return _queue(store)
    finally:
        store.close()


def _queue(store: Store) -> Finding:
    counts = store.counts()
    waiting = counted(counts["pending"], "recording waits", "recordings wait")
    sentence = f"{waiting}, {counts['parked']} parked, {counts['held']} held"
    if counts["parked"]:
        return warning(sentence, f"{typed('queue list')} says why they are parked")
    if counts["held"]:
        return warning(
            sentence, f"{typed('queue release --all')} sends what is held under the present device token"
        )
    if counts["pending"] > BACKLOG_WARNING:
        return warning(sentence, "see the lines below on the network and the API")
    return healthy(sentence)
