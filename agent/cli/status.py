"""``recorder-agent status``: what the recorder is doing, and what waits."""

import contextlib
import os
import time
from typing import Any

import click

from agent.cli.output import duration, meter, percent, print_json, size
from agent.context import Session
from agent.report import open_for_reading, stopped_status
from agent.status.control import NoDaemon, ask
from agent.status.words import local_time
from agent.sync.credentials import Credentials

WATCH_SECONDS = 0.5


@click.command()
@click.option("--watch", is_flag=True, help="Show it anew twice a second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON (one line each time with --watch).")
@click.pass_obj
def status(session: Session, watch: bool, as_json: bool) -> None:
    """Show state, queue, microphone, storage, clock and device token; exit 0 also when no daemon runs."""
    session.look()
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            now = _status(session)
            if as_json:
                print_json(now)
            else:
                click.echo(("\x1b[H\x1b[2J" if watch else "") + _text(now))
            if not watch:
                return
            time.sleep(WATCH_SECONDS)


def _status(session: Session) -> dict[str, Any]:
    config, state = session.loaded.config, session.state
    try:
        return dict(ask(state.socket, {"command": "status"}))
    except NoDaemon:
        store = open_for_reading(state)
        try:
            return stopped_status(
                config, state, store, Credentials(state.path, config.api.token_file, os.environ)
            )
        finally:
            if store is not None:
                store.close()


def _text(now: dict[str, Any]) -> str:
    recording, waiting, transfer = now["recording"], now["waiting"], now["transfer"]
    microphone, storage, clock = now["microphone"], now["storage"], now["clock"]
    lines = [("state", now["state"].replace("_", " ") + (f": {now['fault']}" if now["fault"] else ""))]
    if recording:
        lines.append(("recording", f"{duration(recording['duration_ms'])} since {recording['started_at']}"))
    lines.append(("microphone", f"{microphone['name']}, {microphone['state']}"))
    if microphone["level_dbfs"] is not None and recording:
        lines.append(("level", meter(microphone["level_dbfs"])))
    queue = f"{now['pending']} waiting, {now['parked']} parked, {now['held']} held"
    if now["oldest_pending_at"]:
        queue += f", oldest from {now['oldest_pending_at']}"
    if now["pending"] and now["drain_seconds"] is not None:
        queue += f", delivered in about {duration(1000 * round(now['drain_seconds']))}"
    lines.append(("queue", queue))
    if now.get("held_reason"):
        lines.append(("held", now["held_reason"].removeprefix("held: ")))
    if waiting:
        until = f"until {local_time(waiting['until'])} " if waiting["until"] else ""
        lines.append(("waiting", f"{until}({waiting['reason']})"))
    if transfer:
        sent, total = transfer["sent_bytes"], transfer["total_bytes"]
        lines.append(("uploading", f"{percent(sent, total)}{size(sent)} of {size(total)}"))
    lines += [
        ("last delivery", now["last_delivery_at"] or "none yet"),
        ("API", {True: "reached", False: "not reached", None: "not tried yet"}[now["online"]]),
        ("device token", f"{now['credential']['state']} {now['credential']['fingerprint'] or ''}".strip()),
        ("storage", f"{storage['free_mb']} MB free" + (", full" if storage["full"] else "")),
        ("clock", clock["source"] or "unknown"),
        ("version", now["version"]),
    ]
    return "\n".join(f"{name:<14} {value}" for name, value in lines)
