"""What a life may find when it begins, or meet on its way, so that steps are taken which a calm life never takes."""

from pathlib import Path

from cases import SECONDS
from crash_setup import Driver, Ground
from faults import KILL

from agent.sandbox.faults import Call, Fault

LONE = "20260101T000000Z-00000099-01900000-0000-7000-8000-000000000000"
"""The name of a recording that ended before its first page."""
NEVER = 1e9


def torn(ground: Ground, driver: Driver, wav: Path) -> None:
    """A kill while writing, a file with nothing in it, temporary files; and neither index nor sidecar for the rest."""
    before = len(ground.story().steps)
    quiet = {"wav": wav, "seconds": SECONDS, "background": NEVER, "settle": False}
    with_kill = _nth(driver, ground, wav, "write.page", 3) + 1
    assert ground.live(driver, fault=(KILL, with_kill), **quiet)["signal"], ground.story().steps[before:]
    (ground.state / "recording" / f"{LONE}.opus.part").write_bytes(b"OggS")
    for name in ("recording/a.json.tmp", "outbox/b.json.tmp", "sent/c.json.tmp"):
        (ground.state / name).write_bytes(b"{")
    forget_index(ground)
    for path in (ground.state / "outbox").glob("*.json"):
        path.unlink()


def half_finished(ground: Ground, driver: Driver, wav: Path) -> None:
    """A kill between the renames of a finish: the sidecar is in outbox/, the audio is not."""
    at = _nth(driver, ground, wav, "finish.rename_audio", 2)
    ground.live(driver, wav=wav, seconds=SECONDS, background=NEVER, settle=False, fault=(KILL, at))


def half_moved(ground: Ground, driver: Driver, wav: Path) -> None:
    """Kills between the two renames of a move, and between the two unlinks of a prune."""
    order = {"wav": wav, "seconds": SECONDS, "prune": True}
    ground.live(driver, fault=(KILL, _nth(driver, ground, wav, "sent.rename_sidecar", 1)), **order)


def damaged_index(ground: Ground, driver: Driver, wav: Path) -> None:
    """An index of which half is gone, and something waits."""
    ground.live(driver, wav=wav, seconds=SECONDS, background=NEVER, settle=False)
    path = ground.state / "outbox.db"
    path.write_bytes(b"x" * 100 + path.read_bytes()[100:8192])


def stubborn_server(ground: Ground, _driver: Driver, _wav: Path) -> None:
    """Every call of the first deliveries is refused once, in each way that leaves a mark."""
    busy = {"error": {"code": "processing_error", "message": "later"}}
    ground.server.faults.add(
        Fault(Call.CREATE, status=503, body=busy),
        Fault(Call.CREATE, drop="after"),
        Fault(Call.UPLOAD_URL, status=429, body=busy, headers={"Retry-After": "7"}),
        Fault(Call.PUT, status=403, body="<Error><Code>AccessDenied</Code></Error>"),
        Fault(Call.PUT, drop="after"),
        Fault(Call.COMPLETE, status=425, body=busy),
        Fault(Call.COMPLETE, status=409, body=busy),
        Fault(Call.COMPLETE, drop="after"),
    )


SCENES = (torn, half_finished, half_moved, damaged_index, stubborn_server)


def forget_index(ground: Ground) -> None:
    """Delete the index with its companions."""
    for path in ground.state.glob("outbox.db*"):
        path.unlink()


_known: dict[Path, list[str]] = {}


def _nth(driver: Driver, ground: Ground, wav: Path, step: str, number: int) -> int:
    """Return the number of the ``number``-th time that a step is taken in a calm life without deliveries meanwhile."""
    quiet = step.startswith(("write.", "finish."))
    key = wav / str(quiet)
    if key not in _known:
        with Ground(ground.folder.with_name(f"{ground.folder.name}-rehearsal")) as other:
            order = {"background": NEVER, "settle": False} if quiet else {"prune": True}
            other.live(driver, wav=wav, seconds=SECONDS, **order)
            _known[key] = other.story().steps
    places = [at for at, each in enumerate(_known[key]) if each == step]
    return places[number - 1]
