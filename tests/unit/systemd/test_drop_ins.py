"""Changes of the owner to the one service of older versions, given to the one of two that they concern, and back."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
RECORDER, DELIVERY = "recorder-agent.service.d", "recorder-agent-delivery.service.d"
SETTINGS = '[metrics]\nfile = "/run/node/agent.prom"\n[storage]\ndirectory = "/mnt/disk/recordings"\n'


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder of units without changes of an owner, beside settings that write metrics and have a disk."""
    (tmp_path / "config.toml").write_text(SETTINGS, "utf-8")
    folder = tmp_path / "system"
    (folder / RECORDER).mkdir(parents=True)
    return folder


def drop_ins(command: str, units: Path, *options: str) -> str:
    """Run the script and return what it told."""
    settings = [str(units.parent / "config.toml")] if command == "move" else []
    run = subprocess.run(
        [sys.executable, str(PROJECT / "systemd/drop_ins.py"), command, str(units), *settings, *options],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert run.stderr == ""
    return run.stdout


def written(units: Path, text: str, name: str = "override.conf") -> Path:
    """Write a drop-in of the one service as its owner does."""
    file = units / RECORDER / name
    file.write_text(text, "utf-8")
    return file


def directives(file: Path) -> list[str]:
    """Return the lines of a drop-in that say something; none where there is no file."""
    if not file.exists():
        return []
    return [line for line in file.read_text("utf-8").splitlines() if line and not line.startswith(("#", "["))]


@pytest.mark.parametrize(
    "line",
    [
        "LoadCredential=device-token:/etc/keys/token",
        "LoadCredentialEncrypted=device-token:/etc/keys/token.cred",
        "ImportCredential=device-token",
        "ReadWritePaths=/run/node",
        "ReadWritePaths=-/run/node",
        'Environment="https_proxy=http://10.0.0.1:3128"',
        "Environment=SSL_CERT_FILE=/etc/ssl/own.pem",
        "RestrictAddressFamilies=AF_PACKET",
        "IPAddressAllow=10.0.0.0/8",
    ],
)
@pytest.mark.parametrize("options", [[], ["--first"]])
def test_what_concerns_delivery_moves(units: Path, line: str, options: list[str]) -> None:
    """The recorder's drop-in is gone with its last line, and the owner is told both places."""
    file = written(units, f"# mine\n[Service]\n# why\n{line}\n")
    told = drop_ins("move", units, *options)
    target = units / DELIVERY / "override.conf"
    assert not file.exists()
    assert directives(target) == [line]
    assert "# why" in target.read_text("utf-8")
    assert str(file) in told
    assert str(target) in told


@pytest.mark.parametrize(
    "line",
    [
        "ReadWritePaths=/mnt/disk/recordings",
        "ReadWritePaths=/mnt",
        "BindPaths=/mnt/disk:/mnt/disk",
        "User=somebody",
        "EnvironmentFile=/etc/default/recorder-agent",
        "Environment=RECORDER_AGENT_CONFIG=/etc/other.toml",
        "ProtectHome=read-only",
    ],
)
def test_what_concerns_both_is_copied_once(units: Path, line: str) -> None:
    """By the upgrade to two services alone: what is changed later is the owner's own choice."""
    file = written(units, f"[Service]\n{line}\n")
    drop_ins("move", units, "--first")
    assert directives(file) == [line]
    assert directives(units / DELIVERY / "override.conf") == [line]
    (units / DELIVERY / "override.conf").unlink()
    assert drop_ins("move", units) == ""
    assert directives(units / DELIVERY / "override.conf") == []


@pytest.mark.parametrize(
    ("line", "is_named"),
    [
        ("DeviceAllow=char-gpiochip rw", False),
        ("ReadWritePaths=-/sys/class/leds/user", False),
        ("BindPaths=-/dev/gpiochip0", False),
        ("Nice=-10", False),
        ("ExecStart=/srv/mine run", True),
        ("MemoryMax=100M", True),
        ("ExecStartPost=/srv/tell", True),
    ],
)
def test_what_the_recorder_needs_stays_and_what_nobody_can_place_is_named(
    units: Path, line: str, is_named: bool
) -> None:
    """Nothing is guessed about a command or a limit of the owner's."""
    file = written(units, f"[Service]\n{line}\n")
    told = drop_ins("move", units, "--first")
    assert directives(file) == [line]
    assert not (units / DELIVERY).exists()
    assert (line.partition("=")[0] in told and str(file) in told) == is_named
    assert bool(told) == is_named


def test_a_mixed_drop_in_is_split_and_put_together_again(units: Path) -> None:
    """Sections, lists that are emptied first, and lines that go on keep their order and their sense."""
    text = (
        "[Unit]\nAfter=mnt-disk.mount\n[Service]\nLoadCredential=\nLoadCredential=device-token:/etc/token\n"
        "Nice=-3\nReadWritePaths=/mnt/disk/recordings \\\n    /run/node\n"
    )
    file = written(units, text)
    drop_ins("move", units, "--first")
    assert directives(file) == [
        "After=mnt-disk.mount",
        "Nice=-3",
        "ReadWritePaths=/mnt/disk/recordings \\",
        "    /run/node",
    ]
    other = units / DELIVERY / "override.conf"
    assert directives(other)[:3] == [
        "After=mnt-disk.mount",
        "LoadCredential=",
        "LoadCredential=device-token:/etc/token",
    ]
    assert "Nice=-3" not in directives(other)
    drop_ins("back", units)
    assert not other.exists()
    assert sorted(directives(file)) == sorted(line for line in text.splitlines() if not line.startswith("["))
    drop_ins("move", units, "--first")
    assert "LoadCredential=device-token:/etc/token" in directives(other)
    assert "LoadCredential=device-token:/etc/token" not in directives(file)


def test_what_the_owner_has_written_for_delivery_stays_there(units: Path) -> None:
    """Only what was moved comes back; the installer's own drop-ins are no business of it."""
    (units / DELIVERY).mkdir()
    (units / DELIVERY / "mine.conf").write_text("[Service]\nMemoryMax=50M\n", "utf-8")
    installed = written(units, "[Service]\nReadWritePaths=-/run/node\n", "10-installed.conf")
    assert drop_ins("move", units, "--first") == ""
    assert drop_ins("back", units) == ""
    assert directives(units / DELIVERY / "mine.conf") == ["MemoryMax=50M"]
    assert directives(installed) == ["ReadWritePaths=-/run/node"]


def test_a_drop_in_with_any_bytes_keeps_them(units: Path) -> None:
    """What is no UTF-8 is moved as it is."""
    line = b"LoadCredential=device-token:/etc/K\xfcche"
    (units / RECORDER / "x.conf").write_bytes(b"[Service]\n" + line + b"\n")
    drop_ins("move", units)
    assert line in (units / DELIVERY / "x.conf").read_bytes()
