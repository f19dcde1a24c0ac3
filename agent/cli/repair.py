"""``recorder-agent repair``: bring files and index together by hand, and explain each finding."""

import contextlib

import click

from agent import log
from agent.cli.output import echo, print_json
from agent.context import Session
from agent.errors import AgentError
from agent.index.database import diagnose
from agent.index.schema import migrations
from agent.parts import Parts


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print {findings, changed}.")
@click.pass_obj
def repair(session: Session, dry_run: bool, as_json: bool) -> None:
    """Compare all files with the index, and mend what does not agree; the daemon does it at every start."""
    log.configure("error", session.loaded.config.log.format)
    state = session.enter()
    if state.is_locked():
        raise AgentError("the daemon is running and repairs by itself; stop it to repair by hand")
    with state.lock(), contextlib.closing(Parts(session.loaded.config, state)) as parts:
        problem = diagnose(state.database, migrations) if dry_run else None
        sentences = (
            [f"{state.database.name}: {problem}"] if problem else parts.reconcile(dry_run=dry_run).sentences
        )
    if as_json:
        print_json({"findings": sentences, "changed": bool(sentences) and not dry_run})
        return
    for sentence in sentences:
        echo(sentence)
    if not sentences:
        echo("files and index agree")
    elif dry_run:
        echo(f"{len(sentences)} findings; nothing was changed")
