"""The small facts: is the clock right, which boot is this, what is the machine called."""

import socket
import uuid
from pathlib import Path

import pytest

from agent.host import boot
from agent.host.time_sync import clock_state, kernel_is_synchronized


def test_the_flag_of_timesyncd_means_ntp(tmp_path: Path) -> None:
    """Whatever the kernel says."""
    flag = tmp_path / "synchronized"
    flag.touch()
    assert clock_state(flag, lambda: False) == "ntp"


@pytest.mark.parametrize(("kernel", "state"), [(True, "ntp"), (False, "unsynchronized"), (None, None)])
def test_without_the_flag_the_kernel_is_asked(tmp_path: Path, kernel: bool | None, state: str | None) -> None:
    """Another time daemon sets the kernel's status; a kernel that may not be asked leaves it unknown."""
    assert clock_state(tmp_path / "none", lambda: kernel) == state


def test_this_kernel_answers() -> None:
    """The real adjtimex through ctypes gives one of the three answers, and the same one twice."""
    answer = kernel_is_synchronized()
    assert answer in {True, False, None}
    assert kernel_is_synchronized() == answer


def test_the_boot_id_is_the_kernels(tmp_path: Path) -> None:
    """A UUID, the same for everybody in this boot; where it is hidden, an OSError says so."""
    assert str(uuid.UUID(boot.boot_id())) == boot.boot_id() == boot.BOOT_ID_FILE.read_text().strip()
    with pytest.raises(FileNotFoundError):
        boot.boot_id(tmp_path / "hidden")


def test_the_host_name_has_no_domain() -> None:
    """Only its first label."""
    assert boot.hostname() == socket.gethostname().split(".")[0]
