"""The settings: every key of the configuration file, its type, its range and its default, in this one place.

The file in use is ``--config``, else ``$RECORDER_AGENT_CONFIG``, else ``/etc/recorder-agent/config.toml``.
One that was named must exist; without any the defaults below hold. ``config/recorder-agent.toml`` is the same
list with explanations for a person.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from agent.config import values
from agent.config.values import Checked, expand_cron, render_name

__all__ = [
    "NOWHERE",
    "SYSTEM_FILE",
    "ApiConfig",
    "AudioConfig",
    "ButtonConfig",
    "Config",
    "ControlConfig",
    "HeartbeatConfig",
    "HooksConfig",
    "LedConfig",
    "LocationConfig",
    "LogConfig",
    "MetricsConfig",
    "OffPeakHours",
    "OpusConfig",
    "RecordingConfig",
    "ScheduleWindow",
    "StorageConfig",
    "SyncConfig",
    "VoiceConfig",
    "expand_cron",
    "render_name",
]

SYSTEM_FILE = Path("/etc/recorder-agent/config.toml")

AbsolutePath = Annotated[str, Checked(values.absolute_path)]
Timezone = Annotated[str, Checked(values.timezone)]
TimeOfDay = Annotated[
    str, Meta(pattern=r"\A([01][0-9]|2[0-3]):[0-5][0-9]\Z", description='a time in quotes, like "02:00"')
]
Seconds = Annotated[int, Meta(ge=1, le=86_400)]
Percent = Annotated[int, Meta(ge=0, le=100)]
Megabytes = Annotated[int, Meta(ge=0, le=100_000_000)]
Hours = Annotated[int, Meta(ge=0, le=87_600)]
HeaderGpio = Annotated[int, Meta(ge=1, le=27)]


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; unknown keys are errors."""


class ApiConfig(Section, frozen=True):
    """Where recordings go."""

    base_url: Annotated[str, Checked(values.base_url)] = "https://api.bota.dev/v1"
    token_file: AbsolutePath = ""
    content_type: Literal["audio/opus", "audio/ogg"] = "audio/opus"
    ca_file: AbsolutePath = ""
    """Empty: the system's certificates."""


class AudioConfig(Section, frozen=True):
    """What is listened to."""

    input: Annotated[str, Checked(values.audio_input)] = "default"
    """``default``, part of a device's name, a stable id, ``file:/path.wav`` or ``file:/path.wav?loop``."""
    sample_rate: Literal[8000, 12000, 16000, 24000, 48000] = 16000
    channels: Literal[1, 2] = 1
    channel: Literal["mix", "left", "right"] | Annotated[int, Meta(ge=1, le=64)] = "mix"
    """What becomes mono when a card gives two channels or more; a number: which input of an array, from 1."""
    capture_volume_percent: Percent = 0
    """Set in the card's mixer at each opening; 0: its mixer is left alone."""


class OpusConfig(Section, frozen=True):
    """How it is encoded."""

    bitrate_kbps: Annotated[int, Meta(ge=8, le=320)] = 32
    frame_ms: Literal[10, 20, 40, 60] = 20
    complexity: Annotated[int, Meta(ge=0, le=10)] = 5
    application: Literal["voip", "audio", "lowdelay"] = "voip"
    dtx: bool = False


class ScheduleWindow(Section, frozen=True):
    """A stretch of the calendar that is recorded."""

    start: Annotated[str, Checked(values.window_start)]
    """Five fields of crontab(5), which ``expand_cron`` gives in APScheduler's reading; or a moment by the sun."""
    minutes: Annotated[int, Meta(ge=1, le=10_080)] | None = None
    """None: it ends by ``end``."""
    end: Annotated[str, Checked(values.window_end)] = ""
    """A moment by the sun; empty: it ends after ``minutes``."""
    record_minutes: Annotated[int, Meta(ge=1, le=1440)] | None = None
    every_minutes: Annotated[int, Meta(ge=1, le=1440)] | None = None
    """So much of each so many minutes is recorded; both None: all."""
    voice: bool = False
    """Record in this window only what the trigger of ``[voice]`` finds."""
    timezone: Timezone = field(default_factory=values.local_timezone)


class RecordingConfig(Section, frozen=True):
    """When, and in which pieces."""

    mode: Literal["continuous", "schedule", "manual", "voice"] = "continuous"
    segment_seconds: Seconds = 600
    """Where continuous, scheduled and voice-activated recording is cut."""
    max_seconds: Seconds = 3600
    """Where one manual recording is cut."""
    min_seconds: Annotated[int, Meta(ge=0, le=86_400)] = 0
    """Shorter recordings are dropped (and noted in the gap log)."""
    keep_last_seconds: Annotated[int, Meta(ge=0, le=1800)] = 0
    """Manual mode: a recording begins with the sound of so long before it; 0: nothing is listened to unasked."""
    name: Annotated[str, Checked(values.name_template)] = "{hostname} {started_at:%Y-%m-%d %H:%M}"
    """A template; ``render_name`` fills it."""
    schedule: tuple[ScheduleWindow, ...] = ()
    metadata: Annotated[dict[str, Any], Checked(values.metadata)] = field(default_factory=dict)


class VoiceConfig(Section, frozen=True):
    """What starts and ends a voice-activated recording."""

    trigger: Literal["speech", "sound"] = "speech"
    """``speech`` needs the extra ``voice``; without it, it is ``sound``."""
    sensitivity: Literal["low", "normal", "high"] = "normal"
    pre_roll_seconds: Annotated[int, Meta(ge=2, le=60)] = 5
    """How much of what came before the trigger belongs to the recording."""
    hang_seconds: Annotated[int, Meta(ge=1, le=600)] = 10
    """How long after the last voice it ends."""


class LocationConfig(Section, frozen=True):
    """Where the recorder stands, in degrees north and east; both 0: not told."""

    latitude: Annotated[float, Meta(ge=-90, le=90, description="a number from -90 to 90")] = 0.0
    longitude: Annotated[float, Meta(ge=-180, le=180, description="a number from -180 to 180")] = 0.0


NOWHERE = LocationConfig()


class StorageConfig(Section, frozen=True):
    """Where recordings are kept, how long, and what happens when the card is full."""

    directory: AbsolutePath = ""
    flush_seconds: Annotated[int, Meta(ge=1, le=60)] = 5
    min_free_mb: Megabytes = 200
    max_mb: Megabytes = 0
    """0: no limit."""
    keep_sent_hours: Hours = 24
    keep_unverified_hours: Hours = 168
    when_full: Literal["stop", "drop_oldest"] = "stop"


class OffPeakHours(Section, frozen=True):
    """The hours of a day in which recordings are sent; an end before the start is on the next day."""

    start: TimeOfDay
    end: TimeOfDay
    timezone: Timezone = field(default_factory=values.local_timezone)


class SyncConfig(Section, frozen=True):
    """How much may be sent, and when."""

    calls_per_minute: Annotated[int, Meta(ge=1, le=1000)] = 20
    enabled_connections: tuple[Literal["ethernet", "wifi", "cellular"], ...] = (
        "ethernet",
        "wifi",
        "cellular",
    )
    """Over others recordings wait; heartbeats go."""
    allow_roaming: bool = False
    """Without it not even heartbeats go while a modem roams."""
    daily_data_limit_mb: Megabytes = 0
    """Of metered traffic; 0: no limit."""
    daily_total_limit_mb: Megabytes = 0
    """Of all traffic; 0: no limit."""
    max_kbit_per_second: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """0: no limit."""
    pause_on_low_battery: bool = True
    low_battery_threshold_percent: Percent = 20
    off_peak_hours: OffPeakHours | None = None
    """None: always."""


class HeartbeatConfig(Section, frozen=True):
    """The sign of life."""

    enabled: bool = True
    interval_seconds: Annotated[int, Meta(ge=10, le=86_400)] = 60
    remote_commands: bool = True
    device_name: Annotated[str, Meta(max_length=64), Checked(values.printable)] = ""
    """Overwrites the name that the API's portal shows; empty: not sent."""


class LedConfig(Section, frozen=True):
    """An LED that shows what the agent is doing."""

    driver: Literal["none", "sysfs", "gpio"] = "none"
    name: Annotated[
        str, Meta(pattern=r"\A[!-.0-~]+\Z", description="the name of a folder in /sys/class/leds, like ACT")
    ] = "ACT"
    """For ``sysfs``: a folder in /sys/class/leds."""
    pins: Annotated[tuple[HeaderGpio, ...], Meta(max_length=3)] = ()
    """For ``gpio``: one number (GPIO, not pin) for one colour, or three for red, green, blue."""
    active_low: bool = False
    brightness: Percent = 100


class ButtonConfig(Section, frozen=True):
    """A button that starts and stops a recording."""

    gpio: Annotated[int, Meta(ge=0, le=27)] = 0
    """0: none."""


class ControlConfig(Section, frozen=True):
    """Who may talk to the processes that run."""

    group: Annotated[
        str, Meta(pattern=r"\A([a-z_][a-z0-9_-]{0,31})?\Z", description="the name of a group, or empty")
    ] = "recorder-agent"
    """Empty: the owner of the processes and root only."""


class MetricsConfig(Section, frozen=True):
    """A text file of figures for Prometheus' node exporter."""

    file: AbsolutePath = ""
    """Empty: none."""


class HooksConfig(Section, frozen=True):
    """Commands of the owner's own."""

    on_fault: AbsolutePath = ""
    """An executable, run without a shell; empty: none."""


class ProvisionConfig(Section, frozen=True):
    """What a card or a stick may bring."""

    replace_token: bool = False
    """May it bring a device token while one is set, or change where that goes?"""


class LogConfig(Section, frozen=True):
    """What is said, and in which form."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Config(Section, frozen=True):
    """All settings."""

    api: ApiConfig = ApiConfig()
    audio: AudioConfig = AudioConfig()
    opus: OpusConfig = OpusConfig()
    recording: RecordingConfig = field(default_factory=RecordingConfig)
    voice: VoiceConfig = VoiceConfig()
    location: LocationConfig = LocationConfig()
    storage: StorageConfig = StorageConfig()
    sync: SyncConfig = SyncConfig()
    heartbeat: HeartbeatConfig = HeartbeatConfig()
    led: LedConfig = LedConfig()
    button: ButtonConfig = ButtonConfig()
    control: ControlConfig = ControlConfig()
    metrics: MetricsConfig = MetricsConfig()
    hooks: HooksConfig = HooksConfig()
    provision: ProvisionConfig = ProvisionConfig()
    log: LogConfig = LogConfig()
