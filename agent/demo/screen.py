"""What the demo prints: a labelled line for each thing that happens, and one that moves on a terminal."""

import sys
import time
from collections.abc import Callable

import click

PLAIN_SECONDS = 1.0
"""Where the output is no terminal, a new line a second stands for the one that moves."""
_LABEL_WIDTH = 11


class Screen:
    """Prints to standard output; ``move`` replaces the line that was moved before."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._terminal = sys.stdout.isatty()
        self._monotonic = monotonic
        self._moving = ""
        self._moved_at = 0.0

    def say(self, label: str, text: str) -> None:
        """Print a line that stays."""
        self.settle()
        click.echo(_line(label, text))

    def move(self, label: str, text: str) -> None:
        """Show a line that the next one replaces."""
        if self._terminal:
            self._moving = _line(label, text)
            click.echo(f"\r\x1b[K{self._moving}", nl=False)
        elif self._monotonic() - self._moved_at >= PLAIN_SECONDS:
            self._moved_at = self._monotonic()
            click.echo(_line(label, text))

    def settle(self) -> None:
        """Let the moving line stay as it is."""
        if self._moving:
            self._moving = ""
            click.echo()


def _line(label: str, text: str) -> str:
    return f"{label:<{_LABEL_WIDTH}} {text}".rstrip()
