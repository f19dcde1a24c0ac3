"""What the installer reads from the settings, and writes into them."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from agent.config import loader

PROJECT = Path(__file__).parents[3]
EXAMPLE = PROJECT / "config/recorder-agent.toml"


def settings(command: str, file: Path, *arguments: str) -> list[str]:
    """Run systemd/settings.py and return the lines it printed, without empty ones."""
    script = PROJECT / "systemd/settings.py"
    run = subprocess.run(
        [sys.executable, str(script), command, str(file), *arguments],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return list(filter(None, run.stdout.splitlines()))


@pytest.mark.parametrize("input_", ["usb-0d8c:0014-1.2", 'file:/srv/a "b".wav?loop', "Müller's"])
def test_what_it_writes_leaves_every_comment_where_it_was(tmp_path: Path, input_: str) -> None:
    """A default that stood there as a comment is replaced in its place; all else is as it was, and right."""
    file = tmp_path / "config.toml"
    file.write_text(EXAMPLE.read_text("utf-8"), "utf-8")
    settings("set", file, f"audio.input={input_}", "api.base_url=https://api.example.org/v1")
    before, after = EXAMPLE.read_text("utf-8").splitlines(), file.read_text("utf-8").splitlines()
    assert len(after) == len(before)
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert [old for old, _ in changed] == ['#base_url = "https://api.bota.dev/v1"', '#input = "default"']
    assert changed[0][1] == 'base_url = "https://api.example.org/v1"'
    assert changed[1][1].startswith("input = ")
    assert loader.check(file) == []
    assert tomllib.loads(file.read_text("utf-8"))["audio"]["input"] == input_


def test_a_setting_that_is_there_is_replaced_in_its_place(tmp_path: Path) -> None:
    """The comment behind it stays, and so do sections nobody asked about; a missing section is made."""
    file = tmp_path / "config.toml"
    file.write_text('[audio]\ninput = "old" # mine\n\n[led]\nname = "PWR"\n', "utf-8")
    settings("set", file, "audio.input=new", "api.base_url=https://x.example")
    assert file.read_text("utf-8").startswith('[audio]\ninput = "new" # mine\n\n[led]\nname = "PWR"\n')
    assert tomllib.loads(file.read_text("utf-8"))["api"] == {"base_url": "https://x.example"}


@pytest.mark.parametrize(
    ("text", "extras"),
    [
        ("", []),
        ('[led]\ndriver = "sysfs"\n', []),
        ('[led]\ndriver = "gpio"\npins = [17]\n', ["gpio"]),
        ("[button]\ngpio = 4\n", ["gpio"]),
        ('[button]\ngpio = 4\n[metrics]\nfile = "/run/x/y.prom"\n', ["gpio", "metrics"]),
        ('[recording]\nmode = "voice"\n', ["voice"]),
        ('[recording]\nmode = "voice"\n[voice]\ntrigger = "sound"\n', []),
        ('[recording]\nschedule = [{ start = "0 9 * * *", minutes = 9, voice = true }]\n', ["voice"]),
        ("[recording]\nschedule = 3\n", []),
    ],
)
def test_extras_that_the_settings_need(tmp_path: Path, text: str, extras: list[str]) -> None:
    """Pins need gpiozero, metrics their client; a missing file needs nothing."""
    file = tmp_path / "config.toml"
    assert settings("extras", file) == []
    file.write_text(text, "utf-8")
    assert settings("extras", file) == extras


@pytest.mark.parametrize(
    ("text", "recorder", "delivery"),
    [
        ("", [], []),
        ('[led]\ndriver = "sysfs"\nname = "PWR"\n', [], []),
        ('[led]\ndriver = "sysfs"\nname = "user-led"\n', ["ReadWritePaths=-/sys/class/leds/user-led"], []),
        (
            '[storage]\ndirectory = "/mnt/100% mine"\n',
            [
                'ReadWritePaths=-"/mnt/100%% mine"',
                'ExecStartPre=-/bin/mkdir -p -m 0700 "/mnt/100%% mine/token"',
                'InaccessiblePaths=-"/mnt/100%% mine/token"',
            ],
            ['ReadWritePaths=-"/mnt/100%% mine"'],
        ),
        ('[metrics]\nfile = "/run/node/a.prom"\n', [], ["ReadWritePaths=-/run/node"]),
    ],
)
def test_what_the_units_must_allow_beyond_themselves(
    tmp_path: Path, text: str, recorder: list[str], delivery: list[str]
) -> None:
    """An LED of another name, folders of the owner's choice; a token in one of them is hidden from the recorder."""
    file = tmp_path / "config.toml"
    file.write_text(text, "utf-8")
    assert settings("service", file, "recorder") == recorder
    assert settings("service", file, "delivery") == delivery


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("", ["10"]),
        ("[recording]\nsegment_seconds = 61\n", ["2"]),
        ('[recording]\nmode = "voice"\n', []),
        ('[recording]\nmode = "manual"\n', []),
    ],
)
def test_when_the_first_recording_is_due(tmp_path: Path, text: str, minutes: list[str]) -> None:
    """Continuously it is the length of a segment; by another mode nobody can say."""
    file = tmp_path / "config.toml"
    file.write_text(text, "utf-8")
    assert settings("due", file) == minutes
