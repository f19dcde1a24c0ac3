"""Exports: written with the rights of whoever asked, for nobody else, and never through a link."""

import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.host.target_folder import TargetFolder

# As root the writing process is forked; here the test runner has threads, on the command line there are none yet.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
NOBODY = pwd.getpwnam("nobody")
MINE = {"SUDO_UID": str(os.getuid())}


@pytest.fixture
def source(tmp_path: Path) -> Iterator[int]:
    """An open file of some bytes."""
    path = tmp_path / "source"
    path.write_bytes(b"sound" * 100_000)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_copies_are_for_the_owner_only(tmp_path: Path, source: int) -> None:
    """Files are 0600 and a new folder 0700 whatever the umask; the bytes are the same."""
    before = os.umask(0)
    try:
        with TargetFolder(tmp_path / "new" / "folder", MINE) as folder:
            folder.copy("a.opus", source)
            folder.replace("a.json", b"{}")
            folder.copy("a.opus", source)  # the very same once more
            folder.replace("a.json", b"[]")
    finally:
        os.umask(before)
    target = tmp_path / "new" / "folder"
    assert sorted(each.name for each in target.iterdir()) == ["a.json", "a.opus"]
    assert (target / "a.opus").read_bytes() == b"sound" * 100_000
    assert (target / "a.json").read_bytes() == b"[]"
    assert {stat.S_IMODE(each.stat().st_mode) for each in target.iterdir()} == {0o600}
    assert stat.S_IMODE(target.stat().st_mode) == 0o700


def test_links_are_not_followed(tmp_path: Path, source: int) -> None:
    """A link at a name of the export is refused or itself replaced; what it points to is untouched."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.opus").symlink_to(victim)
    (folder / "b.opus").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "c.opus")
    (folder / "a.json").symlink_to(victim)
    with TargetFolder(folder, MINE) as target:
        for name in ("a.opus", "b.opus", "c.opus"):
            with pytest.raises(AgentError, match=f"{name} is there already and is another file"):
                target.copy(name, source)
        target.replace("a.json", b"{}")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()
    assert not (folder / "a.json").is_symlink()


def test_a_full_disk_leaves_no_half_a_file(tmp_path: Path, source: int) -> None:
    """What cannot be written whole is one sentence, and is taken away again."""
    program = (
        "import os, resource, sys; from pathlib import Path; from agent.host.target_folder import TargetFolder\n"
        "from agent.errors import AgentError\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    TargetFolder(Path(sys.argv[1]), {'SUDO_UID': str(os.getuid())}).copy('a.opus', int(sys.argv[2]))\n"
        "except AgentError as error:\n    print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "folder", str(source)],
        pass_fds=[source],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cannot be written (File too large); name another folder" in run.stdout
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    """A file in the way is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(AgentError, match=r"file/folder cannot be written \(Not a directory\)"):
        TargetFolder(tmp_path / "file" / "folder", MINE)


AS_ROOT = """
import os, sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from agent.errors import AgentError
from agent.host.target_folder import TargetFolder

uid = int(sys.argv[2])
with tempfile.TemporaryDirectory(dir="/tmp") as place:
    os.chmod(place, 0o711)
    home = Path(place, "home")
    home.mkdir(mode=0o700)
    os.chown(home, uid, -1)
    source = os.open(sys.executable, os.O_RDONLY)
    with TargetFolder(home / "export", {"SUDO_UID": str(uid)}) as folder:
        folder.copy("a.opus", source)
        folder.replace("a.json", b"{}")
    print(*(each.stat().st_uid for each in (home / "export", *(home / "export").iterdir())))
    try:
        TargetFolder(Path(place, "not yours"), {"SUDO_UID": str(uid)})
    except AgentError as error:
        print(error)
"""


@pytest.mark.root
def test_what_sudo_exports_belongs_to_the_caller() -> None:
    """Root writes into a folder that only the caller may enter, as the caller; elsewhere it has the caller's rights."""
    run = subprocess.run(
        [sys.executable, "-c", AS_ROOT, Path(__file__).parents[3], str(NOBODY.pw_uid)],
        capture_output=True,
        text=True,
        check=True,
    )
    owners, refusal = run.stdout.splitlines()
    assert owners.split() == [str(NOBODY.pw_uid)] * 3
    assert refusal.endswith("not yours cannot be written (Permission denied); name a folder of your own")
