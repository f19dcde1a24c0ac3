"""What is wrong between the keys of windows that are each right by themselves: zones, ends, duty cycles, the sun."""

from collections.abc import Iterator

from agent.config import values
from agent.config.schema import Config
from agent.config.toml_file import Problem


def zones_left_out(config: Config) -> Iterator[Problem]:
    """Yield where a time zone is needed, left out, and not to be told from the machine."""
    for number, window in enumerate(config.recording.schedule):
        if not window.timezone:
            yield Problem(f"recording.schedule[{number}].timezone", values.no_timezone())
    hours = config.sync.off_peak_hours
    if hours is not None and not hours.timezone:
        yield Problem("sync.off_peak_hours.timezone", values.no_timezone())


def windows_that_cannot_be(config: Config) -> Iterator[Problem]:
    """Yield what is wrong between the keys of an entry of the schedule."""
    place = config.location
    for number, window in enumerate(config.recording.schedule):
        key = f"recording.schedule[{number}]"
        if bool(window.minutes) == bool(window.end):
            yield Problem(key, 'must have one of minutes (from 1 to 10080) and end (like "sunset")')
        record, every = window.record_minutes, window.every_minutes
        if (record is None) != (every is None):
            yield Problem(key, "must have both of record_minutes and every_minutes, or none of them")
        elif record is not None and every is not None and record > every:
            complaint = f"is {record}, but must be at most every_minutes, which is {every}"
            yield Problem(f"{key}.record_minutes", complaint)
        by_sun = any(map(values.sun_moment, (window.start, window.end)))
        if by_sun and place.latitude == 0 == place.longitude:
            yield Problem(key, "goes by the sun, which needs latitude and longitude in [location]")
