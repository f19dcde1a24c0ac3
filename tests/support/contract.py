"""What people and programs rely on, read out of the source: commands, options, config keys, log actions, JSON keys.

``python tests/support/contract.py`` prints it as JSON; ``tests/support/contract.json`` is what it was
before the recorder and the deliverer became two processes.
"""

import ast
import json
from pathlib import Path
from typing import Any

import click
import msgspec

from agent.cli.root import COMMANDS, root
from agent.config.schema import Config
from agent.errors import AgentError, ConfigError, CredentialError, MicrophoneError, StillWaiting

AGENT = Path(__file__).parents[2] / "agent"


def contract() -> dict[str, Any]:
    """Return all of it, sorted."""
    return {
        "actions": sorted(_actions()),
        "commands": _commands(),
        "config": sorted(_config_keys()),
        "exit_codes": {
            error.__name__: error.exit_code
            for error in (AgentError, ConfigError, CredentialError, MicrophoneError, StillWaiting)
        },
    }


def _actions() -> set[str]:
    """Return every string that is given as an ``action``, or stands in a call that passes one on."""
    found = set()
    for path in AGENT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "action":
                found |= {leaf.value for leaf in ast.walk(node.value) if isinstance(leaf, ast.Constant)}
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                (".found", ".left_alone", "_say_once")
            ):
                found |= {word.value for word in node.args[1:2] if isinstance(word, ast.Constant)}
    return {str(action) for action in found}


def _commands() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    context = click.Context(root)

    def note(name: str, command: click.Command) -> None:
        found[name] = sorted(option for parameter in command.params for option in parameter.opts)
        if isinstance(command, click.Group):
            for inner, sub in command.commands.items():
                note(f"{name} {inner}", sub)

    for name in COMMANDS:
        command = root.get_command(context, name)
        assert command is not None
        note(name, command)
    return dict(sorted(found.items()))


def _config_keys() -> set[str]:
    sections = msgspec.to_builtins(Config())
    return {f"{section}.{key}" for section, keys in sections.items() for key in keys}


if __name__ == "__main__":
    print(json.dumps(contract(), indent=1))
