"""The list of checks, in the order of cause and effect."""

from agent.doctor import extras, local, network, processes, sound
from agent.doctor.copy import ListenCopy
from agent.doctor.examination import Check
from agent.doctor.machine import Machine
from agent.doctor.trial import Trial


def checks(
    machine: Machine | None = None, trial: Trial | None = None, copy: ListenCopy | None = None
) -> list[Check]:
    """Return the checks of a machine; with ``trial`` one test recording is sent behind them, and kept by ``copy``."""
    machine = machine or Machine()
    disks = machine.disks
    found = [
        Check("config", local.config),
        Check("service access", machine.access, needs=("config",)),
        Check("mount", disks.mounted, needs=("config",)),
        Check("state directory", local.state_directory, needs=("config", "service access", "mount")),
        Check("file system", disks.file_system, needs=("state directory",)),
        Check("earlier place", local.earlier_place, needs=("state directory",)),
        Check("disk space", local.disk_space, needs=("state directory",)),
        Check("disk speed", local.disk_speed, needs=("disk space",)),
        Check("SQLite", local.sqlite_version),
        Check("index", local.index, needs=("SQLite", "state directory")),
        Check("daemon", processes.answers, needs=("config",)),
        Check("extras", extras.extras, needs=("config",)),
        Check("libopus", sound.libopus),
        Check("PortAudio", sound.portaudio),
        Check("voice trigger", sound.voice, needs=("config",)),
        Check("capture volume", sound.capture_volume, needs=("config",)),
        Check("microphone", sound.microphone, needs=("config", "state directory", "daemon", "PortAudio")),
        Check("recorder", processes.recorder, needs=("daemon",)),
        Check("delivery", processes.delivery, needs=("daemon",)),
        Check("clock", machine.clock),
        Check("DNS", network.dns, needs=("config",)),
        Check("TLS", network.tls, needs=("DNS",)),
        Check("API", network.api, needs=("TLS",)),
        Check("device token", network.token, needs=("API", "daemon")),
        Check("light", machine.status_led, needs=("config",)),
        Check("metrics", extras.metrics, needs=("config", "service access")),
        Check("service", machine.service),
        Check("temperature", machine.temperature),
    ]
    if trial is not None:
        sane = ("config", "state directory", "disk space", "libopus", "microphone", "recorder")
        found += [
            Check("test recording", trial.record, needs=sane),
            *([copy.check] if copy is not None else []),
            Check("test delivery", trial.deliver, needs=("test recording", "device token")),
        ]
    return found
