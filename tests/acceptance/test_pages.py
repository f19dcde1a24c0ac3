"""Every command that README and docs print: read from the page, and run, or known to a suite that runs it.

A command of ours runs here, beside a service with a recording and a sandbox. What installs, or changes the machine, is
run by the suites that have machines of their own: here it must name what there is.
"""

# ruff: noqa: F401, F811 - fixtures are imported by name

import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance import Machine, machine, server, wait_for
from speech import speech, write_wav

from agent.sandbox.devices import DEFAULT_TOKEN

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OURS = re.compile(r"^(?:sudo )?(?:\.venv/bin/)?recorder-agent (.+)$")
SETTING = re.compile(r"\[\w+\]$|[a-z_]+ = ")
"""A line of the configuration file."""
GOES_ON = ("status --watch", "level", "run", "sandbox", "demo", "web")
"""These go on until Ctrl-C; what only begins here is run to its end by tests of its own."""
NO_CARD = {"devices": 69}
"""What a machine without a sound card answers."""
MACHINE = {
    "sudo": {
        "apt",
        "apt-get",
        "systemctl",
        "timedatectl",
        "usermod",
        "cryptsetup",
        "mkfs.ext4",
        "dpkg-reconfigure",
    }
    | {"journalctl", "alsactl", "/opt/recorder-agent/uninstall", "./systemd/install", "modprobe"},
    "": {"git", "journalctl", "alsamixer", "arecord", "systemd-analyze", "apt", "apt-get"},
}
"""Programs that a page may name, with and without sudo; the suite of the first hour sees that they are there."""


def printed(page: Path) -> list[str]:
    """Return the commands of a page: lines of its code blocks, and whole commands in backquotes."""
    text = page.read_text("utf-8")
    blocks = re.findall(r"^    (\S.*)$", text, re.MULTILINE)
    inline = re.findall(r"`((?:sudo |make |git |recorder-agent |\./|journalctl )[^`]+)`", text)
    lines = [re.sub(r"\s+#.*$", "", line) for line in [*blocks, *inline] if not SETTING.match(line)]
    return [part.strip() for line in lines for part in line.split(" && ")]


def all_printed() -> list[str]:
    """Return the commands of all pages, each once."""
    return list(dict.fromkeys(command for page in PAGES for command in printed(page)))


OUR_COMMANDS = [found[1] for command in all_printed() if (found := OURS.match(command))]


def test_the_pages_have_commands() -> None:
    """What reads them finds some: an empty list would pass every other test here."""
    assert len(all_printed()) > 25
    assert len(OUR_COMMANDS) > 10


@pytest.mark.parametrize("command", [each for each in all_printed() if not OURS.match(each)])
def test_what_is_not_ours_names_what_there_is(command: str) -> None:
    """Targets of make, options of the installer, units of ours, and programs that a Debian has."""
    words = shlex.split(command.replace("<", "").replace(">", ""))
    if "make" in words[:2]:
        targets = [word for word in words[words.index("make") + 1 :] if "=" not in word]
        done = subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return
    if words[0] == "cd":
        return
    sudo, program, rest = ("sudo", words[1], words[2:]) if words[0] == "sudo" else ("", words[0], words[1:])
    assert program.removeprefix(f"{ROOT}/") in MACHINE[sudo] | {"./systemd/install", "apt-get"}, command
    if program.endswith(("systemd/install", "/uninstall")):
        script = (ROOT / "systemd" / program.rpartition("/")[2]).read_text("utf-8")
        for option in filter(lambda word: word.startswith("--"), rest):
            assert f"    {option}" in script or f"#   {option}" in script, command
    for unit in filter(lambda word: word.startswith("recorder-agent"), rest):
        name = unit if "." in unit or program != "systemctl" else f"{unit}.service"
        known = {path.name for path in (ROOT / "systemd").iterdir()}
        assert (
            name in known or f"{name}.service" in known or program in {"apt", "apt-get", "dpkg-reconfigure"}
        )


@pytest.fixture
def served(machine: Machine, tmp_path: Path) -> Iterator[Machine]:
    """A machine whose service records speech, with a delivered recording."""
    wav = write_wav(tmp_path / "FILE.wav", 16_000, 1, speech(16_000, 1, 20 * 16_000))
    machine.configure(
        audio={"input": f"file:{wav}?loop"},
        recording={"segment_seconds": 60},
        api={"token_file": ""},
        led={"driver": "none"},
    )
    machine.environment["HOME"] = str(tmp_path)
    machine.ok("token", "set", stdin=f"{DEFAULT_TOKEN}\n")
    machine.record(wav)
    with machine.daemon() as daemon:
        wait_for(lambda: daemon.status()["state"] == "recording")
        yield machine
        assert daemon.stop() == 0


def test_every_command_of_ours_runs_as_printed(served: Machine, tmp_path: Path) -> None:
    """Beside a service, with an id for ID and a folder for a person's own: none is wrong usage, none fails."""
    earlier = tmp_path / "earlier"
    (earlier / "outbox").mkdir(parents=True)
    stands_for = {"ID": served.queue()[0]["id"], "DIR": str(earlier), "/var/lib/recorder-agent": str(earlier)}
    failed = {}
    for command in dict.fromkeys(OUR_COMMANDS):
        words = [stands_for.get(word, word.replace("~", str(tmp_path))) for word in shlex.split(command)]
        if command.startswith(GOES_ON):
            if command.split()[0] in {"run", "sandbox", "demo", "web"}:
                done = served.run(words[0], "--help")
                code, said = done.code, done.err
            else:
                code, said = leave(served, words)
        else:
            done = served.run(*words, stdin=f"{DEFAULT_TOKEN}\n" if words[:2] == ["token", "set"] else "")
            code, said = done.code, done.err + done.out
        if code not in {0, NO_CARD.get(command, 0)} and not only_warns_of_the_clock(command, code, said):
            failed[command] = (code, said)
    assert failed == {}


def only_warns_of_the_clock(command: str, code: int, said: str) -> bool:
    """Whether the doctor saw nothing but that this machine's clock is not synchronised, as in a container."""
    troubles = [line for line in said.splitlines() if line.startswith(("warning", "CRITICAL"))]
    return command.startswith("doctor") and code == 1 and [line.split()[1] for line in troubles] == ["clock"]


def leave(machine: Machine, words: list[str]) -> tuple[int, str]:
    """Start a command that goes on, and leave it by Ctrl-C once it has shown something."""
    with machine.popen(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[1]
        return process.returncode, said
