"""What all tests share."""

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from lifetimes import everything_closed

from agent import log
from agent.host.medium import in_memory

if in_memory(Path(tempfile.gettempdir())):
    # What is recorded there would be gone with the power, and the doctor says so: the tests' folders lie on a disk.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/var/tmp")  # noqa: S108 - pytest makes a folder of its own there

settings.register_profile(
    "fresh",
    deadline=None,  # a busy machine is slow, not wrong
    derandomize=False,  # other examples at every run, also where CI is set
    print_blob=True,
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests that need root to the run that has it (see "make unit")."""
    if os.geteuid() == 0:
        return
    left_out = [item for item in items if item.get_closest_marker("root")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Let no test find the log configured by the one before it."""
    root, room = logging.getLogger(), logging.getLogger(log.ROOM)
    before = (list(root.handlers), root.level, room.level)
    yield
    for handler in set(root.handlers) - set(before[0]):
        handler.close()
    root.handlers[:], root.level, room.level = before


@pytest.fixture(autouse=True)
def _closed_with_the_test() -> Iterator[None]:
    """Leave no database open, on any version of Python."""
    with everything_closed():
        yield
