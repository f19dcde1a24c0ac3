"""What the index costs: no library that makes schemas while it is sound, and few pages for each fact."""

import contextlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

from sqlite_utils import Database

from agent.clock import Instant
from agent.disk import Disk
from agent.index.table.database import fingerprint
from agent.index.table.migrations import migrations
from agent.index.table.schema import SCHEMA
from agent.index.table.store import Store
from agent.outbox.entry import Entry, changed

FRAME_BYTES = 4096 + 24
"""A page in the write-ahead log."""
MOST_PAGES = 3
"""For a fact that no partial index is made of: the row, and what it overflows into."""
OPEN_AND_SAY = """\
import json, sys
from pathlib import Path
from agent.disk import Disk
from agent.index.table.store import Store
Store(Path(sys.argv[1]), Disk()).close()
print(json.dumps("sqlite_utils" in sys.modules))
"""


def test_the_schema_is_known_by_its_fingerprint() -> None:
    """The constants of ``index.table.schema`` are those of what the migrations make: a new step needs both anew."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        migrations.apply(Database(connection, execute_plugins=False))
        steps = connection.execute("SELECT name FROM _sqlite_migrations ORDER BY id")
        assert tuple(name for (name,) in steps) == SCHEMA.steps
        assert fingerprint(connection) == SCHEMA.fingerprint


def test_a_sound_index_is_opened_without_sqlite_utils(tmp_path: Path) -> None:
    """The library is loaded to make an index, and for one that is another's; never for one that is as it should be."""
    path = tmp_path / "outbox.db"
    assert [loaded_for(path), loaded_for(path)] == [True, False]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE INDEX odd ON recordings(mode)")
    assert loaded_for(path)
    assert len(list(tmp_path.glob("outbox.db.damaged-*"))) > 0


def loaded_for(path: Path) -> bool:
    """Open an index in a process of its own, and tell whether sqlite-utils was loaded."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AND_SAY, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return bool(json.loads(done.stdout.splitlines()[-1]))


def test_a_fact_costs_few_pages(tmp_path: Path) -> None:
    """Of 200 rows one gets a fact that no index is made of: a few pages of log, and the row is as it would be whole."""
    store = Store(tmp_path / "outbox.db", Disk())
    entries = [entry_numbered(number) for number in range(200)]
    store.insert(entries, "test.insert")
    store.leftovers = True
    store.forget_upload_urls()
    after = changed(entries[100], remote_id="rec_1", created_ms=5)
    assert pages(store, after) <= MOST_PAGES
    assert store.get(after.id) == after
    assert pages(store, after) == 0  # nothing is new in it
    everything = changed(after, completed_ms=6, stored_ms=6, verified=True)
    assert pages(store, everything) > MOST_PAGES  # the control: partial indexes and totals change
    assert store.get(after.id) == everything
    assert store.counts()["pending"] == 199
    store.close()


def test_a_row_that_is_not_there_is_added(tmp_path: Path) -> None:
    """A rebuilt index does not have it yet."""
    store = Store(tmp_path / "outbox.db", Disk())
    entry = changed(entry_numbered(7), remote_id="rec_7")
    store.update(entry, "test.update")
    assert store.get(entry.id) == entry
    store.close()


def pages(store: Store, entry: Entry) -> int:
    """Return how many pages an update writes into the log."""
    wal = store.path.with_name(f"{store.path.name}-wal")
    before = wal.stat().st_size
    store.update(entry, "test.update")
    return (wal.stat().st_size - before) // FRAME_BYTES


def entry_numbered(number: int) -> Entry:
    """Return an entry that waits, named for its number."""
    name = f"{number:08d}"
    return Entry(
        id=name,
        seq=number,
        session_id=name,
        segment=1,
        stem=name,
        mode="manual",
        started=Instant(wall_ms=number, boot_id="boot", boot_ms=number, clock="ntp"),
        sample_rate=16000,
        channels=1,
        samples=16000,
        size_bytes=1,
        sha256="0" * 64,
    )
