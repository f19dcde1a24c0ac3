"""``recorder-agent report``: of each day what was recorded, missing and delivered."""

import time
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from agent.bounds import MOST_DAYS
from agent.facade.context import Session
from agent.facade.report import report as rows_of
from agent.host.boot import hostname
from agent.host.target_folder import TargetFolder
from agent.report import words
from agent.report.bars import text_bar
from agent.status.words import local_moment
from agent.terminal.output import echo, print_json

BAR_WIDTH = 24
WEEK = 7


@click.command()
@click.option(
    "--days",
    metavar="N",
    type=click.IntRange(1, MOST_DAYS),
    default=WEEK,
    show_default=True,
    help="How many days, today included.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print a list of days, oldest first; lengths in seconds."
)
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it as one HTML file with a picture, which needs no other.",
)
@click.pass_obj
def report(session: Session, days: int, as_json: bool, html: Path | None) -> None:
    """Show what was recorded, missing and delivered each day.

    A day is one of the machine's zone. The bar is 24 hours: # recorded, x missing, . not wanted.
    """
    if html is None:
        _print(rows_of(session, days), as_json=as_json)
        return
    from agent.report.html import html_of  # noqa: PLC0415 - the template library, for a file only

    with TargetFolder(html.absolute().parent) as target:  # before the rights of whoever asks are given up
        rows = rows_of(session, days)
        page = html_of(rows, title=f"Recorder {hostname()}", made_at=time.strftime("%Y-%m-%d %H:%M"))
        target.replace(html.name, page.encode(errors="replace"))
    if as_json:
        print_json(rows)
    else:
        echo(html.absolute())


def _print(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
    elif not rows:
        echo("nothing has been recorded yet")
    else:
        table = [
            (
                words.day(row["date"]),
                f"|{text_bar(row, BAR_WIDTH)}|",
                words.length(row["recorded_seconds"]),
                words.missing_words(row),
                words.delivered(row),
            )
            for row in rows
        ]
        echo(
            tabulate(table, headers=("day", "24 hours", "recorded", "missing", "delivered"), tablefmt="plain")
        )
        if rows[-1]["until"]:
            echo(f"known up to {local_moment(rows[-1]['until'])}")
