"""What all tests share."""

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

settings.register_profile(
    "fresh",
    deadline=None,  # a busy machine is slow, not wrong
    derandomize=False,  # other examples at every run, also where CI is set
    print_blob=True,
)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Let no test find the log configured by the one before it."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
