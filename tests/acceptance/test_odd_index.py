"""What stands at the index's name and is no file: set aside, and the index is built anew from the files."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from acceptance import Machine, machine, server
from owners import recorded

__all__ = ["machine", "server"]


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


ODD: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
    "socket": a_socket,
    "link to nowhere": lambda path: path.symlink_to("nowhere"),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", ["outbox.db", "outbox.db-wal"])
def test_an_index_that_is_no_file(machine: Machine, name: str, kind: str) -> None:
    """``repair --dry-run`` tells of it and changes nothing; delivery goes on with a new index."""
    recording = recorded(machine)["id"]
    path = machine.state / name
    path.unlink(missing_ok=True)
    ODD[kind](path)
    assert f"{name} is not a regular file" in machine.run("repair", "--dry-run").out
    assert os.path.lexists(path)
    assert machine.ok("sync", "--json").json["delivered"] == [recording]
    assert list(machine.state.glob("outbox.db.damaged-*"))
    assert [row["status"] for row in machine.queue()] == ["uploaded"]
