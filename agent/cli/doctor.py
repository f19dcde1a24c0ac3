"""``recorder-agent doctor``: is everything there that the recorder needs?"""

import click

from agent import log
from agent.cli.output import print_json
from agent.context import Session
from agent.doctor import local, machine, network, sound
from agent.doctor.examination import Check, Health, examine

CHECKS = (
    Check("config", local.config),
    Check("state directory", local.state_directory, needs=("config",)),
    Check("disk space", local.disk_space, needs=("state directory",)),
    Check("disk speed", local.disk_speed, needs=("disk space",)),
    Check("SQLite", local.sqlite_version),
    Check("index", local.index, needs=("SQLite", "state directory")),
    Check("libopus", sound.libopus),
    Check("PortAudio", sound.portaudio),
    Check("microphone", sound.microphone, needs=("config", "state directory", "PortAudio")),
    Check("clock", machine.clock),
    Check("DNS", network.dns, needs=("config",)),
    Check("TLS", network.tls, needs=("DNS",)),
    Check("API", network.api, needs=("TLS",)),
    Check("device token", network.token, needs=("API",)),
    Check("light", machine.light, needs=("config",)),
    Check("service", machine.service),
    Check("temperature", machine.temperature),
)
MARKS = {
    "healthy": "ok",
    "warning": "warning",
    "critical": "CRITICAL",
    "unknown": "unknown",
    "skipped": "skipped",
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a list of {check, state, message, hint}.")
@click.pass_obj
def doctor(session: Session, as_json: bool) -> int:
    """Look at everything the recorder needs; exit 1 when something critical is found."""
    log.configure("error", "text")
    results = []
    for result in examine(session, CHECKS):
        results.append(result)
        if not as_json:
            click.echo(f"{MARKS[result.state]:<9} {result.check:<16} {result.message}")
            if result.hint:
                click.echo(f"{'':<26} → {result.hint}")
    if as_json:
        print_json([result._asdict() for result in results])
    return int(any(result.state == Health.CRITICAL for result in results))
