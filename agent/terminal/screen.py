"""A terminal whose lines are drawn over and over: no flicker, no wrapped lines, and the cursor comes back."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

HOME, TO_END_OF_LINE, TO_END_OF_SCREEN, ALL = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[2J"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Screen:
    """Draws on standard output; what has not changed is not drawn again."""

    def __init__(self) -> None:
        self._drawn = ""
        self._size = (0, 0)

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines and no other, as many and as much of them as there is room for."""
        columns, rows = size = shutil.get_terminal_size()
        fitting = [fit(line, columns) for line in lines[: max(1, rows - 1)]]
        drawn = HOME + "".join(f"{line}{TO_END_OF_LINE}\r\n" for line in fitting) + TO_END_OF_SCREEN
        if size != self._size:  # at the start, and when the window has another size
            drawn = ALL + drawn
        if drawn == self._drawn:
            return
        self._drawn, self._size = drawn.removeprefix(ALL), (columns, rows)
        sys.stdout.write(drawn)
        sys.stdout.flush()


def fit(line: str, columns: int) -> str:
    """Return as much of a line as one row holds, without anything that would move the cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)[:columns]


@contextmanager
def screen() -> Iterator[Screen]:
    """Give a screen; the cursor, hidden meanwhile, comes back below what was drawn last."""
    sys.stdout.write(HIDE_CURSOR)
    try:
        yield Screen()
    finally:
        sys.stdout.write(SHOW_CURSOR)
        sys.stdout.flush()
