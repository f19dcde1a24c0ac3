"""The example file, and the commands that check and show the settings."""

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner

from agent.cli.config import config as config_commands
from agent.config import loader as settings
from agent.config.loader import LoadedConfig
from agent.config.schema import Config, OpusConfig
from agent.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "config" / "recorder-agent.toml"
SCHEMA: dict[str, dict[str, Any]] = json.loads(msgspec.json.encode(Config()))


def write(folder: Path, text: str) -> Path:
    file = folder / "c.toml"
    file.write_text(text)
    return file


def complaints(folder: Path, text: str) -> list[str]:
    file = write(folder, text)
    return [sentence.removeprefix(f"{file}: ") for sentence in settings.check(file)]


def load(folder: Path, text: str) -> Config:
    return settings.load(write(folder, text), {}).config


def test_every_default_is_a_value_that_would_be_accepted(tmp_path: Path) -> None:
    """The defaults, written out and read back, are the defaults."""
    assert load(tmp_path, settings.render(Config())) == Config()


def test_what_show_renders_reads_back_equal(tmp_path: Path) -> None:
    """Also with the parts that are absent by default."""
    config = load(
        tmp_path,
        """
        recording.metadata.site = { name = "north", height = 3.5 }
        sync.off_peak_hours = { start = "22:00", end = "06:00", timezone = "UTC" }
        recording.schedule = [{ start = "0 9 * * 1", minutes = 5, timezone = "UTC" }]
    """,
    )
    assert load(tmp_path, settings.render(config)) == config
    assert settings.changed_keys(Config(), config) == [
        "recording.schedule",
        "recording.metadata",
        "sync.off_peak_hours",
    ]


def example(marks: str) -> str:
    """Return the example with the lines that begin with ``marks`` uncommented."""
    lines = EXAMPLE.read_text().splitlines()
    return "\n".join(re.sub(rf"^({marks}(?=[a-z])|#(?=\[))", "", line) for line in lines)


def test_the_example_as_it_is_means_the_defaults(tmp_path: Path) -> None:
    """A fresh installation runs as if there were no file."""
    assert load(tmp_path, EXAMPLE.read_text()) == Config()


def test_the_example_shows_every_key_with_its_default(tmp_path: Path) -> None:
    """Uncommented, it has all keys of the schema, and the defaults: it cannot drift."""
    text = example("#")
    shown = tomllib.loads(text)
    expected = {
        section: {k: v for k, v in table.items() if v is not None} for section, table in SCHEMA.items()
    }
    assert shown == expected
    assert list(shown) == list(expected)
    assert load(tmp_path, text) == Config()


def test_the_examples_of_something_else_are_valid_too(tmp_path: Path) -> None:
    """The lines with two marks, taken instead of the defaults, pass the check and show the optional keys."""
    config = load(tmp_path, example("##"))
    assert config.opus == OpusConfig(bitrate_kbps=96, complexity=9, application="audio")
    assert config.sync.off_peak_hours is not None
    assert config.recording.schedule
    assert config.recording.metadata == {"site": "north meadow"}
    assert len(config.led.pins) == 3


@dataclass
class FakeSession:
    """What the commands need of the root command."""

    config_path: Path | None

    @property
    def loaded(self) -> LoadedConfig:
        """The settings in use."""
        return settings.load(self.config_path, {})


def test_config_check_answers_in_json(tmp_path: Path) -> None:
    """{file, valid, errors}; 78 when invalid."""
    good, bad = tmp_path / "good.toml", write(tmp_path, "opus.dtx = 1")
    good.write_text("")
    run = CliRunner().invoke
    answer = run(config_commands, ["check", "--json"], obj=FakeSession(good))
    assert (answer.exit_code, json.loads(answer.stdout)) == (
        0,
        {"file": str(good), "valid": True, "errors": []},
    )
    answer = run(config_commands, ["check", "--json", str(bad)], obj=FakeSession(good))
    assert answer.exit_code == 78
    assert json.loads(answer.stdout) == {
        "file": str(bad),
        "valid": False,
        "errors": [f"{bad}: opus.dtx is 1, but must be true or false."],
    }


def test_config_check_speaks_to_a_person(tmp_path: Path) -> None:
    """A good file is called right; a bad one is the ConfigError that the root command prints."""
    good, bad = tmp_path / "good.toml", write(tmp_path, "opus.dtx = 1")
    good.write_text("")
    run = CliRunner().invoke
    assert run(config_commands, ["check"], obj=FakeSession(good)).stdout == f"{good} is right.\n"
    answer = run(config_commands, ["check"], obj=FakeSession(bad))
    assert isinstance(answer.exception, ConfigError)


def test_config_show_gives_all_settings(tmp_path: Path) -> None:
    """As TOML that can be used again, and as JSON."""
    file = write(tmp_path, "opus.dtx = true")
    run = CliRunner().invoke
    toml = run(config_commands, ["show"], obj=FakeSession(file)).stdout
    assert toml.startswith(f"# {file}\n")
    assert tomllib.loads(toml)["opus"] == SCHEMA["opus"] | {"dtx": True}
    shown = json.loads(run(config_commands, ["show", "--json"], obj=FakeSession(file)).stdout)
    assert shown == json.loads(msgspec.json.encode(settings.load(file, {}).config))


def test_it_starts_no_section_that_an_older_version_does_not_know() -> None:
    """Whoever goes back to the version with one service keeps these settings, and they are still right there."""
    known = {"api", "audio", "opus", "recording", "recording.metadata", "storage", "sync", "heartbeat", "led", "button",
             "control", "metrics", "hooks", "log"}  # fmt: skip
    sections = re.findall(r"^\[([a-z.]+)\]", EXAMPLE.read_text("utf-8"), re.MULTILINE)
    assert sections
    assert set(sections) <= known
