"""The conditions that the index's partial indexes are made of, and how its present schema is known."""

from typing import TYPE_CHECKING

from agent.index.table.database import Schema
from agent.outbox.entry import Status
from agent.outbox.files import DAMAGED

if TYPE_CHECKING:
    from sqlite_utils import Migrations

WHERE = {
    Status.UPLOADED: "completed_ms IS NOT NULL",
    Status.PARKED: "completed_ms IS NULL AND parked_ms IS NOT NULL",
    Status.HELD: "completed_ms IS NULL AND parked_ms IS NULL AND held_ms IS NOT NULL",
}
WAITING = "completed_ms IS NULL AND parked_ms IS NULL AND held_ms IS NULL"
PAUSE_OF_RECORDING = "recording "
"""What the name of a recording's own pause begins with; its id follows."""
OVER = (
    f"substr(pauses.name, 1, {len(PAUSE_OF_RECORDING)}) = '{PAUSE_OF_RECORDING}' AND NOT EXISTS ("  # noqa: S608 - ours
    f"SELECT 1 FROM recordings WHERE id = substr(pauses.name, {len(PAUSE_OF_RECORDING) + 1}) "
    "AND completed_ms IS NULL AND parked_ms IS NULL)"
)
"""The pauses of recordings that nothing is asked for any more."""
PARKED_RETRIES = 7
"""How many times a parked recording is tried again without a person."""

# Expressions that the partial indexes are made of; queries must repeat them to the letter.
READY = f"{WAITING} AND next_attempt IS NULL"
BACKING_OFF = f"{WAITING} AND next_attempt IS NOT NULL"
REVIVABLE = (
    f"{WHERE[Status.PARKED]} AND parked_tries < {PARKED_RETRIES} "
    f"AND substr(parked_reason, 1, {len(DAMAGED)}) <> '{DAMAGED}'"
)
UNSET_CLOCK = (
    "CASE WHEN request IS NULL AND json_extract(started, '$.clock') = 'unsynchronized' "
    "THEN json_extract(started, '$.boot_id') ELSE '' END"
)
"""The boot whose clock a recording waits for; empty when it waits for none."""
AGAIN_BOOT = "json_extract(next_attempt, '$.boot_id')"
AGAIN_MS = "json_extract(next_attempt, '$.boot_ms')"
DAY_MS = 86_400_000


def _migrations() -> "Migrations":
    from agent.index.table.migrations import migrations  # noqa: PLC0415 - sqlite-utils is 3 MiB that a sound index spares

    return migrations


SCHEMA = Schema(
    ("first_schema", "media", "idempotency", "loudness", "deliveries"),
    "d502d52d496458c9cdc81b16dcdc147a8f11c8fc7a85c94fbe5136722bd77ac5",
    _migrations,
)
