"""Every command of ours that a sentence tells to type runs, beside a service with a recording."""

# ruff: noqa: F401, F811 - fixtures are imported by name

import re
import shlex
from pathlib import Path

from acceptance import Machine, machine, server
from catalogue import ours, sources
from test_pages import GOES_ON, NO_CARD, leave, only_warns_of_the_clock, served

from agent.sandbox.devices import DEFAULT_TOKEN

COMMANDS = sorted({command.text for command in ours(sources())})
TYPED = {"token set": f"{DEFAULT_TOKEN}\n", "web password": "a password\n"}
NO_LIGHT = {"led identify": 1}
"""It is told only where a light is configured."""


def test_every_command_that_a_sentence_names_runs(served: Machine, tmp_path: Path) -> None:
    """With the id of a recording, or a folder, for what is known only when it is said."""
    recording = served.queue()[0]["id"]
    earlier = tmp_path / "earlier"
    (earlier / "outbox").mkdir(parents=True)
    failed = {}
    for command in sorted(COMMANDS, key=lambda each: "delete" in each):
        text = re.sub(r"\{[^}]*id\}", recording, command)
        text = re.sub(r"\{[^}]*\}", shlex.quote(str(earlier)), text)
        words = [
            word.replace(".", str(tmp_path / "copies")) if word == "." else word for word in shlex.split(text)
        ]
        if words[0] == "run":
            done = served.run("run", "--help")
            code, said = done.code, done.err
        elif command in GOES_ON:
            code, said = leave(served, words)
        else:
            done = served.run(*words, stdin=TYPED.get(" ".join(words[:2]), ""))
            code, said = done.code, done.err + done.out
        allowed = {0, NO_CARD.get(command, 0), NO_LIGHT.get(command, 0)}
        is_well = code in allowed or only_warns_of_the_clock(command, code, said)
        if not is_well or "Traceback" in said:
            failed[command] = (code, said)
    assert len(COMMANDS) > 20
    assert failed == {}
