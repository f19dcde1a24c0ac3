"""How the schema of the index came about, step by step; loaded only where an index is new or is not of this schema."""

from sqlite_utils import Database, Migrations

from agent.index.table.deliveries import create_deliveries
from agent.index.table.rows import CHECKSUM
from agent.index.table.schema import (
    AGAIN_BOOT,
    AGAIN_MS,
    BACKING_OFF,
    READY,
    REVIVABLE,
    UNSET_CLOCK,
    WAITING,
    WHERE,
)
from agent.index.table.totals import create_totals
from agent.outbox.entry import Status

migrations = Migrations("outbox")


@migrations()
def first_schema(db: Database) -> None:
    """Create the tables and their partial indexes."""
    table = db.table("recordings")
    table.create(
        {
            "id": str,
            "seq": int,
            "session_id": str,
            "segment": int,
            "stem": str,
            "mode": str,
            "started": str,
            "sample_rate": int,
            "channels": int,
            "samples": int,
            "size_bytes": int,
            "sha256": str,
            "recovered": int,
            "gap_ms": int,
            "overflows": int,
            "clipped": int,
            "name": str,
            "metadata": str,
            "lineage": str,
            "request": str,
            "remote_id": str,
            "created_ms": int,
            "stored_ms": int,
            "asked_ms": int,
            "conflicts": int,
            "completed_ms": int,
            "completed_clock": str,
            "verified": int,
            "parked_ms": int,
            "parked_reason": str,
            "parked_tries": int,
            "held_ms": int,
            "released_to": str,
            "ticket": str,
            "attempts": int,
            "last_error": str,
            "next_attempt_ms": int,
            "next_attempt": str,
            CHECKSUM: int,
        },
        pk="id",
        not_null={"seq", "stem", "started", "samples", "sha256"},
    )
    table.create_index(["seq"])
    table.create_index(["stem"], unique=True)
    for name, condition in (
        ("waiting", WAITING),
        ("parked", WHERE[Status.PARKED]),
        ("held", WHERE[Status.HELD]),
    ):
        db.execute(f"CREATE INDEX recordings_{name} ON recordings(seq) WHERE {condition}")
    db.execute("CREATE INDEX recordings_completed ON recordings(completed_ms) WHERE completed_ms IS NOT NULL")
    for name, columns, condition in (
        ("ready", f"{UNSET_CLOCK}, seq", READY),
        ("again", f"{AGAIN_BOOT}, {AGAIN_MS}", BACKING_OFF),
        ("revivable", "parked_ms", REVIVABLE),
    ):
        db.execute(f"CREATE INDEX recordings_{name} ON recordings({columns}) WHERE {condition}")
    db.execute("CREATE INDEX recordings_unasked ON recordings(seq) WHERE mode IN ('continuous', 'schedule')")
    create_totals(db)
    db.table("pauses").create({"name": str, "until": str}, pk="name")


@migrations()
def media(db: Database) -> None:
    """Add what the server says of the upload itself."""
    table = db.table("recordings")
    table.add_column("media_id", str)
    table.add_column("evidence", str)


@migrations()
def idempotency(db: Database) -> None:
    """Add how often the create call was refused."""
    db.table("recordings").add_column("create_refusals", int, not_null_default=0)


@migrations()
def loudness(db: Database) -> None:
    """Add how loud a recording is."""
    table = db.table("recordings")
    table.add_column("peak_dbfs", float)
    table.add_column("rms_dbfs", float)
    table.add_column("clipped_seconds", int)


@migrations()
def deliveries(db: Database) -> None:
    """Add how much was delivered when."""
    create_deliveries(db)
