"""Every sentence that a person can meet says what to do, and what it tells to type is no guess.

The sentences are read from the code (``catalogue``). That the commands of ours run is shown beside a service, by the
acceptance tests; that the system's programs are there, by the suite of the first hour.
"""

import ast
import shlex
from pathlib import Path

import pytest
from catalogue import Sentence, errors, findings, of_scripts, of_the_system, ours, sources
from click import Command, Context, Group

from agent.cli.root import root

MODULES = sources()
SENTENCES = [*errors(MODULES), *findings(MODULES), *of_scripts()]
MANY = "'\\n'.join("
"""So begins what joins sentences of others, a line each, each with its own remedy."""
USAGE = "systemd/install"
"""What is said of a wrong option ends with the option that lists them all."""


def without_hint(sentences: list[Sentence]) -> list[Sentence]:
    """Return those that do not say what to do."""
    return [each for each in sentences if each.hint in {"", "''"}]


def test_the_catalogue_is_no_empty_list() -> None:
    """What reads the code finds each kind, in many rooms."""
    rooms = {each.where.split("/")[1] for each in SENTENCES}
    assert len(SENTENCES) > 250
    assert rooms >= {"api", "audio", "capture", "control", "doctor", "index", "process", "recorder", "token"}
    assert any(each.where.startswith("systemd/install") for each in SENTENCES)


def test_every_sentence_says_what_to_do() -> None:
    """An error has a hint, a finding of the doctor too, and so has the installer where it gives up."""
    left = [
        each
        for each in without_hint(SENTENCES)
        if not each.what.startswith(MANY) and each.where.split(":")[0] != USAGE
    ]
    assert left == []
    usage = [each for each in without_hint(SENTENCES) if each.where.startswith(USAGE)]
    assert all("needs a value" in each.what or "no option" in each.what for each in usage)
    assert "--help lists the options" in Path(__file__).parents[2].joinpath(USAGE).read_text("utf-8")


def test_one_without_a_hint_is_found() -> None:
    """The control: an error that says nothing to do, and a class that hides its message, do not pass."""
    text = (
        "class Odd(AgentError):\n    def __init__(self, number):\n        super().__init__(f'it is {number}')\n"
        "def f():\n    raise AgentError('the disk is away')\n"
    )
    path = Path(__file__).parents[2] / "agent/odd.py"
    found = without_hint(list(errors({path: ast.parse(text)})))
    assert sorted(each.where for each in found) == ["agent/odd.py:3", "agent/odd.py:5"]


def command_of(words: list[str]) -> tuple[Command, list[str]]:
    """Return the command that words of the command line mean, and its arguments; an AssertionError for none."""
    command: Command = root
    while isinstance(command, Group):
        assert words, f"{command.name} needs a command"
        found = command.get_command(Context(command), words[0])
        assert found is not None, f"there is no command {words[0]}"
        command, words = found, words[1:]
    return command, words


@pytest.mark.parametrize("text", sorted({each.text for each in ours(MODULES)}))
def test_what_is_told_to_type_is_a_command(text: str) -> None:
    """Each is one of ours, with arguments that it takes."""
    command, words = command_of([word if "{" not in word else "x" for word in shlex.split(text)])
    command.make_context(command.name, list(words), parent=Context(root, obj=None))


def test_a_command_that_does_not_exist_is_found() -> None:
    """The control: a word that is no command does not pass."""
    with pytest.raises(AssertionError, match="there is no command lsit"):
        command_of(["queue", "lsit"])


def test_no_command_of_ours_is_written_by_hand() -> None:
    """``typed`` knows whether sudo is needed; where it is not used, the text says how it is without a service."""
    by_hand = {
        each.where.split(":")[0] for each in of_the_system(MODULES) if "recorder-agent " in each.text[:15]
    }
    assert by_hand <= {"agent/hints.py"}
