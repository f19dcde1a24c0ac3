"""Loading the settings: which file, every sentence about a mistake, and no traceback for anything."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from agent.config import loader as settings
from agent.config.loader import LoadedConfig
from agent.config.schema import Config
from agent.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    file = folder / "c.toml"
    file.write_text(text)
    return file


def complaints(folder: Path, text: str) -> list[str]:
    file = write(folder, text)
    return [sentence.removeprefix(f"{file}: ") for sentence in settings.check(file)]


def load(folder: Path, text: str) -> Config:
    return settings.load(write(folder, text), {}).config


def test_without_any_file_the_defaults_hold(tmp_path: Path) -> None:
    """No name and no system file is no error."""
    assert settings.load(None, {}, system_file=tmp_path / "none") == LoadedConfig(Config(), None)


def test_the_named_file_wins_over_the_environment_and_the_system(tmp_path: Path) -> None:
    """--config, then RECORDER_AGENT_CONFIG, then the system's file."""
    files = [tmp_path / name for name in ("a", "b", "c")]
    for brightness, file in enumerate(files):
        file.write_text(f"led.brightness = {brightness}")
    environ = {"RECORDER_AGENT_CONFIG": str(files[1])}
    assert settings.load(files[0], environ, system_file=files[2]).config.led.brightness == 0
    assert settings.load(None, environ, system_file=files[2]).config.led.brightness == 1
    third = settings.load(None, {"RECORDER_AGENT_CONFIG": ""}, system_file=files[2])
    assert (third.config.led.brightness, third.file) == (2, files[2])


@pytest.mark.parametrize("by_environment", [False, True])
def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path, by_environment: bool) -> None:
    """Exit 78 and one sentence, however the file was named."""
    file = tmp_path / "gone.toml"
    environ = {"RECORDER_AGENT_CONFIG": str(file)} if by_environment else {}
    with pytest.raises(ConfigError) as caught:
        settings.load(None if by_environment else file, environ)
    assert str(caught.value) == (
        f"{file}: cannot be read (No such file or directory); "
        "name another file with --config or RECORDER_AGENT_CONFIG."
    )
    assert caught.value.exit_code == 78


def test_a_system_file_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    """A dangling link was meant to be a configuration: silently taking the defaults would be wrong."""
    link = tmp_path / "config.toml"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match="cannot be read"):
        settings.load(None, {}, system_file=link)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("opus.bitrate_kbps = 500", "opus.bitrate_kbps is 500, but must be a whole number from 8 to 320."),
        ("opus.bitrate_kbps = 7", "opus.bitrate_kbps is 7, but must be a whole number from 8 to 320."),
        ("opus.bitrate_kbps = true", "opus.bitrate_kbps is true, but must be a whole number from 8 to 320."),
        ("opus.bitrate_kbps = 32.0", "opus.bitrate_kbps is 32.0, but must be a whole number from 8 to 320."),
        ('opus.bitrate_kbps = "a"', 'opus.bitrate_kbps is "a", but must be a whole number from 8 to 320.'),
        ("opus.frame_ms = 30", "opus.frame_ms is 30, but must be 10, 20, 40 or 60."),
        ("opus.complexity = 11", "opus.complexity is 11, but must be a whole number from 0 to 10."),
        (
            'opus.application = "music"',
            'opus.application is "music", but must be "voip", "audio" or "lowdelay".',
        ),
        ("opus.dtx = 1", "opus.dtx is 1, but must be true or false."),
        ("opus.bitrate = 3", "opus.bitrate is not a setting; the nearest one is opus.bitrate_kbps."),
        ("button.xyz = 3", "button.xyz is not a setting; [button] knows gpio."),
        ("button = 3", "button is 3, but must be a table with the keys gpio."),
        ("[optus]", "optus is not a setting; the nearest one is opus."),
        (
            "audio.sample_rate = 44100",
            "audio.sample_rate is 44100, but must be 8000, 12000, 16000, 24000 or 48000.",
        ),
        ("audio.channels = 3", "audio.channels is 3, but must be 1 or 2."),
        ('audio.channel = "both"', 'audio.channel is "both", but must be "mix", "left" or "right".'),
        (
            'audio.input = ""',
            'audio.input is "", but must name a microphone ("default" is the system\'s choice).',
        ),
        (
            'audio.input = "file:a.wav"',
            (
                'audio.input is "file:a.wav", but must hold an absolute path after "file:", '
                'like "file:/home/pi/test.wav".'
            ),
        ),
        (
            'audio.input = "file:/a.wav?lop"',
            'audio.input is "file:/a.wav?lop", but may have no other option than "?loop" after the path.',
        ),
        (
            'api.content_type = "audio/mp3"',
            'api.content_type is "audio/mp3", but must be "audio/opus" or "audio/ogg".',
        ),
        (
            'api.base_url = "http://example.org"',
            (
                'api.base_url is "http://example.org", but must begin with https:// '
                "(http:// would show the token to the network, and is for 127.0.0.1 only)."
            ),
        ),
        (
            'api.base_url = "https://u:hush@example.org"',
            (
                'api.base_url is "https://…@example.org", but must hold no user, password, query or '
                "fragment; write an address like https://api.bota.dev/v1."
            ),
        ),
        (
            'api.token_file = "dtok_secret"',
            (
                'api.token_file is "dtok_…", but must be the path of a file that holds the token; '
                "never write the token itself here."
            ),
        ),
        (
            'metrics.file = "m.prom"',
            'metrics.file is "m.prom", but must be an absolute path (beginning with /), or empty.',
        ),
        (
            'hooks.on_fault = "mail admin"',
            'hooks.on_fault is "mail admin", but must be an absolute path (beginning with /), or empty.',
        ),
        (
            "recording.segment_seconds = 0",
            "recording.segment_seconds is 0, but must be a whole number from 1 to 86400.",
        ),
        (
            'recording.mode = "schedule"',
            'recording.schedule is empty, but must have an entry when recording.mode is "schedule".',
        ),
        (
            'recording.name = "{a}"',
            'recording.name is "{a}", but may use {hostname}, {started_at}, {seq}, {mode} only, not {a}.',
        ),
        (
            'recording.name = "{seq:99999999999}"',
            (
                'recording.name is "{seq:99999999999}", but has a format of {seq} that is not allowed; '
                "write it like {started_at:%H:%M}."
            ),
        ),
        ('recording.name = " "', 'recording.name is " ", but must give a name of 1 to 255 characters.'),
        (
            "recording.metadata.day = 2026-01-01",
            (
                'recording.metadata is {day = 2026-01-01}, but has a date or time at "day", '
                "which must be in quotes to be sent as a text."
            ),
        ),
        (
            "recording.metadata.a.b = [inf]",
            (
                'recording.metadata is {a = {b = [inf]}}, but must not say nan or inf (at "a.b"): '
                "JSON has no such number."
            ),
        ),
        (
            "recording.min_seconds = 700",
            "recording.min_seconds is 700, but must be at most recording.segment_seconds, which is 600.",
        ),
        (
            'recording.schedule = [{ start = "0 9 * * *", minutes = 5, timezone = "Europe/Berln" }]',
            (
                'recording.schedule[0].timezone is "Europe/Berln", but must be the name of a time zone, '
                'like "Europe/Berlin" or "UTC".'
            ),
        ),
        (
            'recording.schedule = [{ start = "0 9 * * *" }]',
            'recording.schedule[0] must have one of minutes (from 1 to 10080) and end (like "sunset").',
        ),
        (
            "sync.calls_per_minute = 1001",
            "sync.calls_per_minute is 1001, but must be a whole number from 1 to 1000.",
        ),
        (
            'sync.off_peak_hours = { start = "2:00", end = "06:00" }',
            'sync.off_peak_hours.start is "2:00", but must be a time in quotes, like "02:00".',
        ),
        (
            'sync.off_peak_hours = { start = "02:00", end = "02:00" }',
            "sync.off_peak_hours starts and ends at the same time; leave it out to send at any hour.",
        ),
        (
            "heartbeat.interval_seconds = 9",
            "heartbeat.interval_seconds is 9, but must be a whole number from 10 to 86400.",
        ),
        (
            'led.driver = "gpio"',
            'led.pins is [], but led.driver "gpio" needs one number, or three different.',
        ),
        (
            "led.pins = [40]",
            "led.pins is [40], but must be a list of at most 3, each a whole number from 1 to 27.",
        ),
        (
            'led = { driver = "gpio", pins = [17] }\nbutton.gpio = 17',
            "button.gpio is 17, but led.pins uses that one already.",
        ),
        (
            'led.name = "../x"',
            'led.name is "../x", but must be the name of a folder in /sys/class/leds, like ACT.',
        ),
        (
            'recording.schedule = [{ start = "sunrise-13h", minutes = 5 }]',
            (
                'recording.schedule[0].start is "sunrise-13h", but must be sunrise, sunset, dawn or dusk, '
                'with up to 12 hours before or after it, like "sunset" or "sunrise-30m".'
            ),
        ),
        (
            'recording.schedule = [{ start = "sunrise", end = "sunset" }]',
            "recording.schedule[0] goes by the sun, which needs latitude and longitude in [location].",
        ),
        (
            'location.latitude = 52\nrecording.schedule = [{ start = "dusk", end = "dawn", record_minutes = 5 }]',
            "recording.schedule[0] must have both of record_minutes and every_minutes, or none of them.",
        ),
        (
            'recording.schedule = [{ start = "0 9 * * *", minutes = 9, record_minutes = 5, every_minutes = 4 }]',
            "recording.schedule[0].record_minutes is 5, but must be at most every_minutes, which is 4.",
        ),
        ("location.latitude = 91", "location.latitude is 91, but must be a number from -90 to 90."),
        ('control.group = "a b"', 'control.group is "a b", but must be the name of a group, or empty.'),
        ("led.brightness = 101", "led.brightness is 101, but must be a whole number from 0 to 100."),
        ('log.level = "loud"', 'log.level is "loud", but must be "debug", "info", "warning" or "error".'),
        ("a = ", "is not TOML at its end: Invalid value."),
        ("[a]\nb = 1\nc 2", "is not TOML at line 3, column 3: Expected '=' after a key in a key/value pair."),
    ],
)
def test_each_mistake_has_its_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    """File, key, what is wrong, what would be right: word for word."""
    assert complaints(tmp_path, text) == [sentence]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Someone who edits by hand need not come back for the second mistake."""
    text = 'opus.dtx = 1\nled.brightnes = 3\napi.base_url = "x"\n'
    file = write(tmp_path, text + '[[recording.schedule]]\nstart = "1"\nminutes = 0')
    with pytest.raises(ConfigError) as caught:
        settings.load(file, {})
    told = [line.removeprefix(f"{file}: ").split()[0] for line in str(caught.value).splitlines()]
    assert told == [
        "opus.dtx",
        "led.brightnes",
        "api.base_url",
        "recording.schedule[0].start",
        "recording.schedule[0].minutes",
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"a = " + b"9" * 5000,
        b"a = " + b"[" * 3000 + b"]" * 3000,
        b"opus.bitrate_kbps = 0x" + b"f" * 5000,
        b"opus.bitrate_kbps." + b".".join([b"a"] * 3000) + b" = 1",
        b"recording.metadata." + b".".join([b"a"] * 3000) + b" = 1",
    ],
)
def test_a_file_that_is_no_text_or_bottomless_gets_a_sentence(tmp_path: Path, content: bytes) -> None:
    """Not UTF-8, numbers of thousands of digits, endless nesting: one sentence each, no traceback."""
    file = tmp_path / "c.toml"
    file.write_bytes(content)
    sentences = settings.check(file)
    assert len(sentences) == 1
    assert sentences[0].startswith(f"{file}: ")


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    """Some editors write one."""
    file = tmp_path / "c.toml"
    file.write_bytes(b"\xef\xbb\xbfopus.dtx = true\r\n")
    assert settings.load(file, {}).config.opus.dtx is True


SCHEMA: dict[str, dict[str, Any]] = json.loads(msgspec.json.encode(Config()))
KEYS = [(section, key) for section, table in SCHEMA.items() for key in table]
LEAVES: st.SearchStrategy[Any] = (
    st.none().map(lambda _: [[]])
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.dates()
    | st.datetimes()
    | st.times()
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@given(st.sampled_from(KEYS), VALUES)
def test_no_value_makes_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, where: tuple[str, str], value: Any
) -> None:
    """Whatever stands at a key: it is taken, or sentences name file and key, on one line each."""
    section, key = where
    file = tmp_path_factory.getbasetemp() / "random.toml"
    file.write_text(tomli_w.dumps({section: {key: value}}))
    try:
        config = settings.load(file, {}).config
    except ConfigError as error:
        for sentence in str(error).split("\n"):
            assert sentence.startswith((f"{file}: {section}.{key}", f"{file}: recording.", f"{file}: led."))
            assert sentence.isprintable()
            assert sentence.endswith(".")
    else:
        assert settings.check(file) == []
        assert settings.changed_keys(Config(), config) in ([], [f"{section}.{key}"])


@given(st.text())
def test_no_text_makes_a_traceback(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """A file of anything is read or refused with sentences."""
    file = tmp_path_factory.getbasetemp() / "text.toml"
    file.write_text(text)
    assert all(sentence.startswith(f"{file}: ") for sentence in settings.check(file))
