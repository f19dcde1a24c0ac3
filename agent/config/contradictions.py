"""Settings that are each right by themselves, and cannot be together."""

from collections.abc import Iterator

from agent.config.schema import Config
from agent.config.toml_file import Problem
from agent.config.windows import windows_that_cannot_be, zones_left_out


def contradictions(config: Config) -> Iterator[Problem]:
    """Yield what is wrong between settings that are each right by themselves."""
    recording, led = config.recording, config.led
    yield from zones_left_out(config)
    yield from windows_that_cannot_be(config)
    yield from _of_hearing(config)
    if recording.mode == "schedule" and not recording.schedule:
        yield Problem(
            "recording.schedule", 'is empty, but must have an entry when recording.mode is "schedule"'
        )
    for key in ("segment_seconds", "max_seconds"):
        if recording.min_seconds > (longest := getattr(recording, key)):
            yield Problem(
                "recording.min_seconds",
                f"is {recording.min_seconds}, but must be at most recording.{key}, which is {longest}",
            )
    hours = config.sync.off_peak_hours
    if hours is not None and hours.start == hours.end:
        yield Problem(
            "sync.off_peak_hours", "starts and ends at the same time; leave it out to send at any hour"
        )
    if led.driver != "gpio":
        return
    if len(led.pins) not in {1, 3} or len(set(led.pins)) != len(led.pins):
        yield Problem(
            "led.pins", f'is {list(led.pins)}, but led.driver "gpio" needs one number, or three different'
        )
    if config.button.gpio in led.pins:
        yield Problem("button.gpio", f"is {config.button.gpio}, but led.pins uses that one already")


def _of_hearing(config: Config) -> Iterator[Problem]:
    """Yield what is wrong between settings of what is listened to."""
    recording = config.recording
    if isinstance(config.audio.channel, int) and config.audio.channels != 1:
        yield Problem(
            "audio.channel", f"is {config.audio.channel}, one input, but audio.channels is 2; set that to 1"
        )
    if recording.keep_last_seconds and recording.mode != "manual":
        yield Problem(
            "recording.keep_last_seconds",
            f'is {recording.keep_last_seconds}, but is for recording.mode "manual" only; set it to 0',
        )
    if recording.keep_last_seconds > recording.max_seconds:
        yield Problem(
            "recording.keep_last_seconds",
            f"is {recording.keep_last_seconds}, but must be at most recording.max_seconds, "
            f"which is {recording.max_seconds}",
        )
