"""The hash of a recording is that of everybody else's SHA-256, also on a Python without one of its own."""

import hashlib
import random
import subprocess
import sys

import pytest

from agent import sha256


@pytest.mark.parametrize("built_in", [sha256.BUILT_IN, ()])
def test_it_is_sha_256(monkeypatch: pytest.MonkeyPatch, built_in: tuple[str, ...]) -> None:
    """In pieces of any size, with and without CPython's own module."""
    monkeypatch.setattr(sha256, "BUILT_IN", built_in)
    found, wanted = sha256.new_sha256(), hashlib.sha256()
    for _ in range(50):
        piece = random.randbytes(random.randrange(5000))
        found.update(piece)
        wanted.update(piece)
        assert found.hexdigest() == wanted.hexdigest()


def test_it_loads_no_openssl() -> None:
    """That is what it is for."""
    code = "import sys; from agent.sha256 import new_sha256; new_sha256(); print('_hashlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
