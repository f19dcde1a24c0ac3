"""What all tests share."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings

from agent import log

settings.register_profile(
    "fresh",
    deadline=None,  # a busy machine is slow, not wrong
    derandomize=False,  # other examples at every run, also where CI is set
    print_blob=True,
)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Let no test find the log configured by the one before it."""
    root, room = logging.getLogger(), logging.getLogger(log.ROOM)
    before = (list(root.handlers), root.level, room.level)
    yield
    for handler in set(root.handlers) - set(before[0]):
        handler.close()
    root.handlers[:], root.level, room.level = before
