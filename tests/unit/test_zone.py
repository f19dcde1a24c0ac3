"""The machine's own time zone: a link, two links, a copy, TZ in every form, none, nonsense."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.config.loader import check
from agent.zone import UnknownZone, is_known, local_zone, zone

BERLIN = Path("/usr/share/zoneinfo/Europe/Berlin")
SUMMER, WINTER = datetime(2026, 7, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 12, tzinfo=UTC)


def hours(name: str) -> tuple[float, float]:
    """Return the offsets of a zone in summer and in winter."""
    found = [moment.astimezone(zone(name)).utcoffset() for moment in (SUMMER, WINTER)]
    return tuple(offset.total_seconds() / 3600 for offset in found if offset is not None)  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["link", "relative link", "two links", "copy", "link to a copy"])
def test_where_localtime_leads(tmp_path: Path, kind: str) -> None:
    """However it is set up, it is Berlin."""
    localtime, other = tmp_path / "localtime", tmp_path / "other"
    if kind == "link":
        localtime.symlink_to(BERLIN)
    elif kind == "relative link":
        localtime.symlink_to(f"{'../' * 20}{str(BERLIN)[1:]}")
    elif kind == "two links":
        other.symlink_to(BERLIN)
        localtime.symlink_to(other)
    elif kind == "copy":
        shutil.copyfile(BERLIN, localtime)
    else:
        shutil.copyfile(BERLIN, other)
        localtime.symlink_to(other)
    name = local_zone({}, localtime)
    assert hours(name) == (2, 1)
    if "copy" not in kind:
        assert name == "Europe/Berlin"


def test_a_copy_that_no_zone_of_tzdata_equals(tmp_path: Path) -> None:
    """A zone of the owner's own is used by its content."""
    localtime = tmp_path / "localtime"
    content = BERLIN.read_bytes()
    localtime.write_bytes(content.replace(b"CET-1CEST", b"CET-3CEST"))
    name = local_zone({}, localtime)
    assert name == f":{localtime}"
    assert zone(name).key == name


@pytest.mark.parametrize(
    ("value", "summer", "winter"),
    [
        ("Europe/Berlin", 2, 1),
        (":Europe/Berlin", 2, 1),
        (str(BERLIN), 2, 1),
        (f":{BERLIN}", 2, 1),
        ("CET-1CEST,M3.5.0,M10.5.0/3", 2, 1),
        ("<-03>3", -3, -3),
        ("UTC0", 0, 0),
        ("UTC", 0, 0),
        ("", 0, 0),
    ],
)
def test_tz_wins(tmp_path: Path, value: str, summer: float, winter: float) -> None:
    """TZ is a zone's name, a file, or a rule, as tzset(3) has it; empty is UTC."""
    assert hours(local_zone({"TZ": value}, tmp_path / "none")) == (summer, winter)


@pytest.mark.parametrize(
    "value", ["Mars/Olympus", "nonsense 5", "../../etc/passwd", "/etc/passwd", "K\udcfc", "x" * 999]
)
def test_nonsense_in_tz_is_said(tmp_path: Path, value: str) -> None:
    """What is no zone is an error, not UTC."""
    with pytest.raises(UnknownZone, match="TZ is"):
        local_zone({"TZ": value}, tmp_path / "none")


@pytest.mark.parametrize("content", [None, b"", b"TZif", b"nonsense" * 100])
def test_no_localtime_or_nonsense_in_it_is_said(tmp_path: Path, content: bytes | None) -> None:
    """Neither a missing nor a damaged file is silently UTC."""
    localtime = tmp_path / "localtime"
    if content is not None:
        localtime.write_bytes(content)
    with pytest.raises(UnknownZone, match="localtime"):
        local_zone({}, localtime)


@pytest.mark.parametrize(
    "lines",
    [
        '[recording]\nmode = "schedule"\nschedule = [{ start = "0 9 * * *", minutes = 5 }]\n',
        '[sync]\noff_peak_hours = { start = "02:00", end = "06:00" }\n',
    ],
)
def test_a_zone_that_cannot_be_told_is_an_error_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str
) -> None:
    """The sentence names the key, why, and what to write; with the zone written the settings are right."""
    file = tmp_path / "config.toml"
    file.write_text(lines)
    monkeypatch.setenv("TZ", "Mars/Olympus")
    (problem,) = check(file)
    assert "timezone is left out, and the machine's own cannot be told: TZ is 'Mars/Olympus'" in problem
    assert 'write one like "Europe/Berlin"' in problem
    monkeypatch.setenv("TZ", "Europe/Berlin")
    assert check(file) == []


def test_names_of_tzdata_only() -> None:
    """Neither a path nor a folder of zones is a name."""
    assert is_known("Europe/Berlin")
    assert not any(map(is_known, ("Europe", "", "../UTC", ":/etc/localtime", "posix:UTC0", "\0")))
