"""Where settings come from, with a mount of the test's own."""

from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.provision import places

MOUNT = """#!/bin/sh
for target; do :; done
mkdir "$target/recorder-agent" && echo precious >"$target/recorder-agent/precious"
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the programs that are found, and a stick that is there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(places, "STICK", tmp_path)
    return folder


def put(folder: Path, name: str, text: str) -> None:
    """Make a program."""
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def test_a_stick_that_cannot_be_unmounted_keeps_its_files(programs: Path) -> None:
    """Nothing that is seen at the mount point is ever deleted."""
    put(programs, "mount", MOUNT)
    put(programs, "umount", "#!/bin/sh\nexit 32\n")
    with places.stick_folder() as stick:
        assert stick is not None
    assert (stick / "precious").read_text() == "precious\n"


def test_a_stick_that_somebody_looks_at_is_let_go_later(programs: Path) -> None:
    """It is unmounted lazily, and no folder of ours is left."""
    put(programs, "mount", MOUNT)
    put(programs, "umount", '#!/bin/sh\n[ "$1" = --lazy ] || exit 32\nrm -r "$2"/recorder-agent\n')
    with places.stick_folder() as stick:
        assert stick is not None
    assert not stick.parent.exists()


def test_a_stick_without_a_folder_of_ours(programs: Path) -> None:
    """Brings nothing."""
    put(programs, "mount", "#!/bin/sh\n")
    put(programs, "umount", "#!/bin/sh\n")
    with places.stick_folder() as stick:
        assert stick is None


def test_a_stick_that_is_no_file_system(programs: Path) -> None:
    """The reason that mount gives is said, and no folder of ours is left."""
    put(programs, "mount", "#!/bin/sh\necho mount: wrong fs type >&2\nexit 32\n")
    with pytest.raises(AgentError, match="wrong fs type"), places.stick_folder():
        pass
    assert [path.name for path in programs.parent.iterdir()] == ["bin"]
