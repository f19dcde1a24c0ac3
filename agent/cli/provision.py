"""``recorder-agent provision``: settings and device token from the boot partition or a stick."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

import click
import msgspec

from agent import log
from agent.disk import Disk
from agent.errors import AgentError
from agent.facade.context import Session
from agent.hints import restart, typed
from agent.host.boot import hostname
from agent.panel.outcome import OUTCOME_FILE, Outcome
from agent.provision.offer import RefusedOffer
from agent.provision.places import boot_folder, stick_folder
from agent.provision.provisioner import Provisioner, Taken
from agent.small_file import UnusableFile, read_bytes
from agent.status.published_file import replace
from agent.terminal.output import echo

RESULT = "result.txt"
SENTENCE_LENGTH = 1000
RESTART = ("/bin/systemctl", "--no-block", "try-restart", "recorder-agent.target")
"""Nothing happens at a boot, where the recorder comes after this."""
RESTART_SECONDS = 5.0


@click.command()
@click.option(
    "--from",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Take config.toml, device-token and ca.pem from DIR, and look nowhere else.",
)
@click.pass_obj
def provision(session: Session, folder: Path | None) -> None:
    """Take settings and token from the boot partition or a stick.

    From the folder recorder-agent of the boot partition, or of a USB stick labelled RECORDER: config.toml, device-token
    and ca.pem, checked as a whole. The token is removed from there, and result.txt tells what became of it. Exit 1 when
    it is refused: then nothing was changed.
    """
    log.configure("error", "text")
    if os.geteuid() != 0 and session.config_path is None:
        raise AgentError("this needs root", f"run {typed('provision')}")
    problems = _take(session, folder) if folder is not None else _take_all(session)
    if problems:
        raise AgentError("\n".join(problems))


def _say_nothing_new(where: str) -> None:
    """Tell whoever typed it that nothing was done; at a boot that is no news."""
    if "INVOCATION_ID" not in os.environ:
        echo(f"nothing was changed: {where}")


def _take_all(session: Session) -> list[str]:
    """Take over what the boot partition brings, then what a stick does; what is wrong with one stops not the other."""
    at_boot = boot_folder()
    problems = _take(session, at_boot) if at_boot is not None else []
    try:
        with stick_folder() as stick:
            if stick is not None:
                problems += _take(session, stick)
            elif at_boot is None:
                _say_nothing_new(
                    "there is no folder recorder-agent on the boot partition, and no stick labelled RECORDER with one"
                )
    except AgentError as error:
        problems.append(str(error))
    return problems


def _take(session: Session, folder: Path) -> list[str]:
    """Take over what one folder brings, say so, and return what went wrong."""
    try:
        taken = Provisioner(session).take(folder)
    except AgentError as error:
        lines = str(error).splitlines()
        is_refused = isinstance(error, RefusedOffer)
        became = (
            "refused, and nothing was changed"
            if is_refused
            else "failed, and is tried again at the next start"
        )
        head = f"{became}:"
        _tell(folder, [head, *lines], is_accepted=False)
        return [f"{folder}: {line}" for line in lines]
    if not taken.sentences and taken.token_stays is None:
        _say_nothing_new(f"{folder} holds nothing new")
        return []
    lines = ["accepted:", *taken.sentences]
    problems: list[str] = []
    if taken.token_stays is not None:
        sentence = f"{folder}: the device token could not be removed from here ({taken.token_stays}); delete it there"
        problems.append(sentence)
        lines.append(sentence)
    _tell(folder, lines, is_accepted=not problems)
    for line in lines[1:]:
        echo(line)
    _restart(taken)
    return problems


def _restart(taken: Taken) -> None:
    """Let a recorder that runs already have the settings: the unit restarts it, by hand it is said."""
    if not taken.changes_settings:
        return
    if "INVOCATION_ID" not in os.environ:
        echo(f"what runs already goes on with the settings before; {restart()}")
        return
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(RESTART, check=False, timeout=RESTART_SECONDS)


def _tell(folder: Path, lines: list[str], *, is_accepted: bool) -> None:
    """Write the outcome beside what was brought, and for the LED; who cannot be told is not waited for."""
    text = "\r\n".join([f"Recorder {hostname()}, {time.strftime('%Y-%m-%d %H:%M')} by its clock", *lines, ""])
    data, path = text.encode(errors="replace"), folder / RESULT
    before = b""
    with contextlib.suppress(OSError, UnusableFile):
        before = read_bytes(path)
    if before.partition(b"\n")[2] != data.partition(b"\n")[2]:
        with contextlib.suppress(OSError):  # pulled, full or write-protected
            Disk().replace(path, data, "provision_result", _readable)
    if runtime := os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        outcome = Outcome(accepted=is_accepted, boot_seconds=now, sentence=" ".join(lines)[:SENTENCE_LENGTH])
        with contextlib.suppress(OSError):
            replace(Path(runtime) / OUTCOME_FILE, msgspec.json.encode(outcome), 0o644)


def _readable(descriptor: int) -> None:
    """Let everybody read the outcome; FAT has no modes to set."""
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, 0o644)
