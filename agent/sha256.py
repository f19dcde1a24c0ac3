"""SHA-256 without OpenSSL, which costs a recorder 3.7 MB of memory for the hash of some kilobytes a second."""

import contextlib
import importlib
from typing import Protocol, cast

BUILT_IN = ("_sha2", "_sha256")
"""CPython's own, since 3.12 and before; not part of its documented library, so hashlib stands in for them."""


class Sha256(Protocol):
    """What hashlib.sha256 gives, as far as it is used."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """Return 64 lowercase hex digits."""


def new_sha256() -> Sha256:
    """Return the SHA-256 of nothing yet."""
    for name in BUILT_IN:
        with contextlib.suppress(ImportError, AttributeError):
            return cast("Sha256", importlib.import_module(name).sha256())
    import hashlib  # noqa: PLC0415 - see above

    return hashlib.sha256()
