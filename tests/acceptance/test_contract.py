"""Nothing that people and programs rely on has gone: commands, options, config keys, exit codes, log actions."""

import json
from pathlib import Path
from typing import Any

import pytest
from contract import contract

BEFORE: dict[str, Any] = json.loads((Path(__file__).parents[1] / "support" / "contract.json").read_text())
GONE: set[str] = set()
"""Log actions of what does not exist any more."""


def test_every_log_action_is_still_there() -> None:
    """Whoever filters the log by an action goes on finding it."""
    assert set(BEFORE["actions"]) - set(contract()["actions"]) == GONE


def test_every_command_and_option_is_still_there() -> None:
    """Scripts go on working."""
    now = contract()["commands"]
    for name, options in BEFORE["commands"].items():
        assert set(options) <= set(now[name]), name


@pytest.mark.parametrize("what", ["config", "exit_codes"])
def test_config_keys_and_exit_codes_are_still_there(what: str) -> None:
    """Settings go on being read, and exit codes mean what they meant."""
    before, now = BEFORE[what], contract()[what]
    assert set(before) <= set(now) if isinstance(before, list) else before.items() <= now.items()
