"""Addresses, templates, metadata, crontabs and time zones in the settings."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given
from hypothesis import strategies as st

from agent.config import loader as settings
from agent.config import values
from agent.config.schema import Config
from agent.config.values import local_timezone


def write(folder: Path, text: str) -> Path:
    file = folder / "c.toml"
    file.write_text(text)
    return file


def complaints(folder: Path, text: str) -> list[str]:
    file = write(folder, text)
    return [sentence.removeprefix(f"{file}: ") for sentence in settings.check(file)]


def load(folder: Path, text: str) -> Config:
    return settings.load(write(folder, text), {}).config


@pytest.mark.parametrize(
    "url",
    [
        "https://api.bota.dev/v1",
        "https://10.0.0.1:8443/",
        "http://127.0.0.1:8080/v1",
        "http://127.9.9.9",
        "http://[::1]:99/v1",
        "http://localhost:1",
    ],
)
def test_addresses_that_are_right(tmp_path: Path, url: str) -> None:
    """Encrypted anywhere, http to this machine."""
    assert load(tmp_path, f"api.base_url = '{url}'").api.base_url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.bota.dev",
        "ftp://a.b",
        "http://10.0.0.1",
        "http://localhost.evil.org",
        "http://127.0.0.1.nip.io",
        "https://a.b/?x=1",
        "https://a.b/#x",
        "https://a.b?",
        "https://@a.b",
        "https://",
        "https://a b",
        "https://a.b:99999",
        "https://a.b:0",
        "https://[::1",
        "http://127.0.0.1@evil.org",
    ],
)
def test_addresses_that_are_wrong(tmp_path: Path, url: str) -> None:
    """Anything that would leave the machine in clear, or is no plain address."""
    (sentence,) = complaints(tmp_path, f"api.base_url = '{url}'")
    assert sentence.startswith("api.base_url is ")


def test_metadata_is_measured_as_it_will_be_sent(tmp_path: Path) -> None:
    """4096 bytes of JSON in UTF-8 are right, 4097 are not."""
    frame = len('{"k":""}')
    assert complaints(tmp_path, f'recording.metadata.k = "{"x" * (4096 - frame)}"') == []
    (sentence,) = complaints(tmp_path, f'recording.metadata.k = "{"x" * (4097 - frame)}"')
    assert sentence.endswith("but takes 4097 bytes and must be at most 4096.")


def test_a_name_is_rendered_from_its_template() -> None:
    """All four fields, formats included, and never more than 255 characters."""
    started = datetime(2026, 5, 9, 7, 8, tzinfo=UTC)
    name = values.render_name(
        "{hostname} {started_at:%d.%m. %H:%M} {seq:04d} {mode}",
        hostname="pi",
        started_at=started,
        seq=7,
        mode="manual",
    )
    assert name == "pi 09.05. 07:08 0007 manual"
    assert (
        len(values.render_name("{hostname}", hostname="x" * 999, started_at=started, seq=1, mode="m")) == 255
    )


@pytest.mark.parametrize(
    "template",
    [
        "{",
        "{}",
        "{0}",
        "{started_at.year}",
        "{seq:%H}",
        "{hostname!x}",
        "{mode:{seq}}",
        "{hostname.__class__}",
        "x" * 256,
    ],
)
def test_templates_that_are_wrong(tmp_path: Path, template: str) -> None:
    """Whatever could fail at three in the morning fails here."""
    (sentence,) = complaints(tmp_path, f"recording.name = '{template}'")
    assert sentence.startswith("recording.name is ")


@pytest.mark.parametrize(
    ("cron", "expanded"),
    [
        ("0 9 * * 1-5", ("0 9 * * mon,tue,wed,thu,fri",)),
        ("0 9 * * 0", ("0 9 * * sun",)),
        ("0 9 * * 7", ("0 9 * * sun",)),
        ("0 9 * * 5-7", ("0 9 * * sun,fri,sat",)),
        ("0 9 * * sat-sun", ("0 9 * * sun,sat",)),
        ("0 9 * * SUN-Mon", ("0 9 * * sun,mon",)),
        ("0 9 * * sun-sun", ("0 9 * * sun",)),
        ("*/20 8-10/2 1,15 jan-mar *", ("0,20,40 8,10 1,15 1,2,3 *",)),
        ("50/5 0 * * *", ("50,55 0 * * *",)),
        ("0 0 29 2 *", ("0 0 29 2 *",)),
        ("0 6 1 * 1", ("0 6 1 * *", "0 6 * * mon")),
    ],
)
def test_cron_is_read_as_cron_reads_it(cron: str, expanded: tuple[str, ...]) -> None:
    """Numbers of weekdays count from Sunday; day and weekday together mean either."""
    assert values.expand_cron(cron) == expanded


@pytest.mark.parametrize(
    ("cron", "reason"),
    [
        ("0 9 * *", 'must have five fields (minute hour day month weekday), like "0 9 * * mon-fri"'),
        ("60 9 * * *", 'has the minute "60", which must be from 0 to 59'),
        ("0 24 * * *", 'has the hour "24", which must be from 0 to 23'),
        ("0 0 0 * *", 'has the day "0", which must be from 1 to 31'),
        ("0 0 * 13 *", 'has the month "13", which must be from 1 to 12'),
        ("0 0 * * 8", 'has the weekday "8", which must be from 0 to 7'),
        ("0 0 * * may", 'has the weekday "may", which must be from 0 to 7'),
        (
            "0 0 * * fri-mon",
            'has the weekday "fri-mon" that can never be: ranges run upwards, steps are 1 or more',
        ),
        ("*/0 0 * * *", 'has the minute "*/0" that can never be: ranges run upwards, steps are 1 or more'),
        ("٣ 0 * * *", 'has the minute "٣" that cron does not know'),
        ("@daily 0 * * *", 'has the minute "@daily" that cron does not know'),
        ("0 0 30 feb *", "names a day that no such month has"),
    ],
)
def test_cron_mistakes_are_explained(cron: str, reason: str) -> None:
    """The end of the sentence, word for word."""
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        values.expand_cron(cron)


CRON_FIELD = st.sampled_from(["*", "*/2", "1", "3-5", "1,4", "2-6/2"])


@given(st.lists(CRON_FIELD, min_size=5, max_size=5), st.integers(0, 40_000_000))
def test_apscheduler_takes_every_expansion_and_means_the_same(fields: list[str], minute: int) -> None:
    """The next moment APScheduler finds in an expansion is one that a plain reading of cron allows too."""
    expansion = values.expand_cron(" ".join(fields))
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    for crontab in expansion:
        found = CronTrigger.from_crontab(crontab, timezone=ZoneInfo("UTC")).get_next_fire_time(None, start)
        assert found is not None
        weekday, day = matches(fields[4], found.isoweekday() % 7, 0, 7), matches(fields[2], found.day, 1, 31)
        assert matches(fields[0], found.minute, 0, 59)
        assert matches(fields[1], found.hour, 0, 23)
        assert matches(fields[3], found.month, 1, 12)
        assert (weekday or day) if len(expansion) > 1 else (weekday and day)


def matches(field: str, value: int, low: int, high: int) -> bool:
    """Return whether a value meets one field of a crontab, read naively."""
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        lowest = low if span == "*" else int(first)
        highest = high if span == "*" else int(last or first)
        if lowest <= value <= highest and (value - lowest) % int(step or 1) == 0:
            return True
    return False


def test_the_time_zone_left_out_is_the_machines_own(tmp_path: Path) -> None:
    """The settings take it where they name none; where it cannot be told, that is an error of the settings."""
    entry = load(tmp_path, 'recording.schedule = [{ start = "0 9 * * *", minutes = 5 }]').recording.schedule[
        0
    ]
    assert entry.timezone == local_timezone()
