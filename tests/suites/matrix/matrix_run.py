"""All cells, lived through in several processes, judged, and shown as a table."""

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matrix_agent import Cell, Life, Outcome, live
from matrix_expected import CALLS, DELIVERY, SEQUENCES, rows, word_for
from matrix_judge import differences
from matrix_sabotage import sabotaged
from matrix_single import Single

TIMES = (1, 4)
CONTRACTS = ("older", "newer")
WORKERS = 3 * (os.cpu_count() or 1)
"""Most of a cell's time is waiting for time-outs."""


@dataclass(frozen=True)
class Judged:
    """A cell with its verdict."""

    cell: Cell
    word: str
    outcome: Outcome
    differences: list[str]
    seconds: float

    def course(self) -> str:
        """Return what was seen, in a few words."""
        seen = self.outcome
        middle, end = (seen.hours or ["?"])[0], (seen.end or ["?"])[0]
        told = [seen.first, middle, *([end] if self.cell.call in DELIVERY and end != middle else [])]
        return " > ".join(told) + ("  MISMATCH" if self.differences else "")

    def __str__(self) -> str:
        return f"{self.cell}: wanted {self.word}, saw {self.course()}: {'; '.join(self.differences)}"


def cells(seed: int) -> Iterator[tuple[Cell, str]]:
    """Yield every cell of the table with its word: both contracts, the answer once and four times in a row."""
    for row in rows():
        for call, words in row.words.items():
            for contract in CONTRACTS if call in DELIVERY else CONTRACTS[:1]:
                for times in TIMES if call != "refresh" else TIMES[:1]:
                    yield Cell(call, (row.answer,) * times, contract, seed=seed), word_for(words, contract)
    for row in rows(SEQUENCES):
        for call, word in row.words.items():
            yield Cell(call, tuple(row.answer.split(",")), "older", seed=seed), word


def judge(job: tuple[Cell, str], template: Path) -> Judged:
    """Live through one cell and judge it."""
    cell, word = job
    began = time.monotonic()
    with sabotaged(cell.sabotage):
        outcome = live(cell, template, Life if cell.call in DELIVERY else Single)
    return Judged(cell, word, outcome, differences(outcome, word), time.monotonic() - began)


def judge_all(jobs: Sequence[tuple[Cell, str]], template: Path) -> list[Judged]:
    """Judge many cells at once, in their order."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=spawn) as pool:
        return list(pool.map(partial(judge, template=template), jobs))


def table(judged: Sequence[Judged]) -> str:
    """Return what was seen, as text of fixed width: a part for each call, a line for each answer."""
    return "\n".join(
        line for call in CALLS for line in _part(call, [each for each in judged if each.cell.call == call])
    )


def _part(call: str, judged: Sequence[Judged]) -> Iterator[str]:
    columns = [(contract, times) for contract in CONTRACTS for times in TIMES]
    columns = [column for column in columns if any(_column(each) == column for each in judged)]
    yield ""
    yield f"{call.upper():<22} {'wanted':<11}" + "".join(
        f" {f'{contract} contract, x{times}':<36}" for contract, times in columns
    )
    shown: dict[str, dict[tuple[str, int], Judged]] = {}
    for each in judged:
        shown.setdefault(_named(each), {})[_column(each)] = each
    for name, found in shown.items():
        words = "/".join(dict.fromkeys(each.word for each in found.values()))
        cells_of_line = (found[column].course() if column in found else "" for column in columns)
        yield f"{name:<22} {words:<11}" + "".join(f" {text:<36}" for text in cells_of_line).rstrip()


def _column(judged: Judged) -> tuple[str, int]:
    answers = judged.cell.answers
    return judged.cell.contract, len(answers) if len(set(answers)) == 1 else 1


def _named(judged: Judged) -> str:
    return ",".join(dict.fromkeys(judged.cell.answers))
