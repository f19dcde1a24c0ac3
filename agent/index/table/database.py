"""Opening the index whatever state it is in: a damaged or foreign one is set aside, and a new one begun.

The files are the truth (see the package's invariants), so nothing is lost with an index but attempts and upload URLs.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agent.disk import Disk
from agent.host.disk_fault import is_disk_failing
from agent.index.table.totals import totals_are_right
from agent.log import get_logger
from agent.small_file import is_regular

if TYPE_CHECKING:
    from sqlite_utils import Database, Migrations

log = get_logger(__name__)

BUSY_SECONDS = 10.0
"""How long one process waits for another's transaction."""
_LAYOUT = re.compile(r"""[\s"'`\[\]]+""")
SUFFIXES = ("", "-wal", "-shm")

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR}
"""Primary result codes that mean the file is not an index of ours; SQLITE_ERROR is a table or column missing."""


_OF_THE_DISK = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}


class Schema(NamedTuple):
    """What an index of the present version is like, and how one becomes it."""

    steps: tuple[str, ...]
    """The names of all its migrations."""
    fingerprint: str
    """By which ``fingerprint`` knows it without them; another one only costs the time to make it for comparison."""
    migrations: "Callable[[], Migrations]"


class ForeignIndex(sqlite3.DatabaseError):
    """The index was written by a newer version, or is none of ours."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the index itself is unusable, rather than busy, full or out of reach."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return isinstance(error, ForeignIndex) or "Could not decode" in str(error)
    return code & 0xFF in _DAMAGE


def is_of_the_disk(error: OSError | sqlite3.Error) -> bool:
    """Whether an error says that the disk itself fails: what is open on it keeps it from being repaired."""
    if isinstance(error, sqlite3.Error):
        return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _OF_THE_DISK
    return is_disk_failing(error)


def identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of a file; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def remove_companions(path: Path, disk: Disk) -> None:
    """Remove the files beside an index that belong to one which is gone."""
    for suffix in SUFFIXES[1:]:
        disk.unlink(path.with_name(path.name + suffix), f"index.unlink{suffix}")


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the file with the settings every connection of ours has."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={'ro' if read_only else 'rwc'}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    if not read_only:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA secure_delete=ON")
            # On a full card the log must find room in what the reserve file has released: 0.4 MB instead of 4.
            connection.execute("PRAGMA wal_autocheckpoint=100")
        except BaseException:
            connection.close()
            raise
    return connection


def open_index(path: Path, schema: Schema, disk: Disk, wall: Callable[[], float]) -> sqlite3.Connection:
    """Return a connection to a sound index of the present schema; a damaged one is set aside first.

    Raises:
        sqlite3.Error: the disk refuses even a new index.
    """
    with _one_at_a_time(path.parent):
        _make_writable(path)
        try:
            return _open_sound(path, schema, disk)
        except UnicodeDecodeError:  # SQLite quotes what it finds, whatever it is
            set_aside(path, disk, wall, "it contains invalid UTF-8")
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            set_aside(path, disk, wall, str(error))
        return _open_sound(path, schema, disk)


def _make_writable(path: Path) -> None:
    """Give the index's files back the mode that somebody has taken from them; only their owner can."""
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        if is_regular(file) and not os.access(file, os.R_OK | os.W_OK, effective_ids=True):
            with contextlib.suppress(OSError):
                file.chmod(0o600)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let no other process open an index meanwhile.

    SQLite does not wait while another switches to WAL, and a schema that is just being made looks like damage.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def set_aside(path: Path, disk: Disk, wall: Callable[[], float], reason: str) -> None:
    """Rename a damaged index and its companions, with the time in the name."""
    stamp = f"{datetime.fromtimestamp(int(wall()), tz=UTC):%Y%m%dT%H%M%SZ}"
    target, count = path.with_name(f"{path.name}.damaged-{stamp}"), 1
    while target.exists():
        count += 1
        target = path.with_name(f"{path.name}.damaged-{stamp}-{count}")
    for suffix in reversed(SUFFIXES):
        source = path.with_name(path.name + suffix)
        if os.path.lexists(source):
            disk.rename(source, target.with_name(target.name + suffix), f"index.set_aside{suffix}")
    disk.sync_folder(path.parent, "index.sync_folder")
    log.error(
        "the index was damaged and is rebuilt", action="index_set_aside", reason=reason, kept=target.name
    )


def _open_sound(path: Path, schema: Schema, disk: Disk) -> sqlite3.Connection:
    disk.step("index.open")
    if (odd := _odd_one(path)) is not None:
        raise ForeignIndex(f"{odd.name} is not a regular file")
    existed = path.exists() and path.stat().st_size > 0
    if existed and not _has_known_versions(path):
        raise ForeignIndex("its header names a version that SQLite would only read")
    connection = connect(path)
    try:
        if existed:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise ForeignIndex(str(found))
        if not existed or not _is_known(connection, schema):
            _migrate(connection, path, schema.migrations(), disk, existed=existed)
            if existed and _schema(connection) != _wanted_schema(schema.migrations()):
                raise ForeignIndex("its schema is not what was written")
        if existed and not totals_are_right(connection):
            raise ForeignIndex("its totals are not those of its rows")
    except BaseException:
        connection.close()
        raise
    return connection


def _odd_one(path: Path) -> Path | None:
    """Return the first of the index's files that is there and is not a regular one; SQLite would hang or follow it."""
    for suffix in SUFFIXES:
        file = path.with_name(path.name + suffix)
        if os.path.lexists(file) and not is_regular(file):
            return file
    return None


def _has_known_versions(path: Path) -> bool:
    """Whether the header's write and read version are ones that SQLite writes; of another it says only "read-only"."""
    with path.open("rb") as file:
        return set(file.read(100)[18:20]) <= {1, 2}


def _is_known(connection: sqlite3.Connection, schema: Schema) -> bool:
    """Tell whether an index says of itself that it is of this schema, by all of its steps."""
    if fingerprint(connection) != schema.fingerprint:
        return False
    steps = connection.execute("SELECT name FROM _sqlite_migrations ORDER BY id")
    return tuple(name for (name,) in steps) == schema.steps


def fingerprint(connection: sqlite3.Connection) -> str:
    """Return the SHA-256 of what an index's tables, indexes and triggers say of themselves, its own table included."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return hashlib.sha256("\n".join(sorted(map(repr, rows))).encode()).hexdigest()


def _migrate(
    connection: sqlite3.Connection, path: Path, migrations: "Migrations", disk: Disk, *, existed: bool
) -> None:
    """Bring the schema up to date in one transaction; the index as it was stays beside it."""
    from sqlite_utils import Database  # noqa: PLC0415 - see ``Schema``

    db = Database(connection, execute_plugins=False)
    applied = _applied(db, migrations) if existed else set()
    pending = [step.name for step in migrations.pending(db)]
    if applied - {step.name for step in migrations._migrations}:  # noqa: SLF001 - the library has no public list
        raise ForeignIndex("it was written by a newer version")
    if existed and not applied and db.table_names():
        raise ForeignIndex("it is no index of this program")
    if not pending:
        return
    if applied:
        backup = path.with_name(f"{path.name}.before-{pending[0]}")
        disk.unlink(backup, "index.unlink_backup")
        disk.step("index.write_backup")
        connection.execute("VACUUM INTO ?", (str(backup),))
        with backup.open("rb") as file:
            disk.sync(file, "index.sync_backup")
    disk.step("index.migrate")
    with db.atomic():
        migrations.apply(db)


def _applied(db: "Database", migrations: "Migrations") -> set[str]:
    """Return the names of the migrations that an index has been through."""
    try:
        return {step.name for step in migrations.applied(db)}
    except KeyError as error:
        raise ForeignIndex("the table of its migrations is not what was written") from error


def _schema(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    """Return what tables, indexes and triggers say of themselves: ``integrity_check`` believes any schema.

    Without spaces and quotes, which another version of the library may set otherwise, and without its own table.
    """
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {
        (*names, _LAYOUT.sub("", sql))
        for *names, sql in rows
        if not names[1].startswith("_sqlite_migrations")
    }


def _wanted_schema(migrations: "Migrations") -> set[tuple[str, ...]]:
    from sqlite_utils import Database  # noqa: PLC0415 - see ``Schema``

    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrations.apply(Database(connection, execute_plugins=False))
        return _schema(connection)


def diagnose(path: Path, schema: Schema) -> str | None:
    """Return what is wrong with an index, changing nothing; None for a sound one.

    Raises:
        sqlite3.Error: it cannot be looked at (busy, out of reach).
    """
    if (odd := _odd_one(path)) is not None:
        return f"the index would be set aside: {odd.name} is not a regular file"
    if not path.exists():
        return "there is no index; it would be built from the files"
    connection = connect(path, read_only=True)
    try:
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found == "ok" and (_is_known(connection, schema) or _is_made_alike(connection, schema)):
            return None
        reason = found if found != "ok" else "its schema is not the present one"
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        reason = str(error)
    except UnicodeDecodeError:
        reason = "it contains invalid UTF-8"
    finally:
        connection.close()
    return f"the index would be set aside or brought up to date: {reason}"


def _is_made_alike(connection: sqlite3.Connection, schema: Schema) -> bool:
    """Tell whether an index is what the migrations make, though another version of the library wrote it."""
    from sqlite_utils import Database  # noqa: PLC0415 - see ``Schema``

    migrations = schema.migrations()
    applied = _applied(Database(connection, execute_plugins=False), migrations)
    return applied == set(schema.steps) and _schema(connection) == _wanted_schema(migrations)
