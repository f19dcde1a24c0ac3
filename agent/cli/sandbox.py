"""``recorder-agent sandbox``: the recordings API on this machine, to try an agent against."""

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.sandbox import load_server_class
from agent.terminal.output import echo

if TYPE_CHECKING:
    from agent.sandbox.server import SandboxServer


@click.command(name="sandbox")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("sandbox-data"),
    show_default=True,
    help="Where recordings, objects and the request log are kept.",
)
@click.option("--tls", is_flag=True, help="Serve https with an own CA; always on when HOST is not loopback.")
def command(port: int, host: str, directory: Path, *, tls: bool) -> None:
    """Run a local recordings API, with its storage, until Ctrl-C."""
    server = load_server_class()(directory, host=host, port=port, tls=tls, console=click.echo)
    ended = threading.Event()
    previous = signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        with server:
            echo(_introduction(server))
            ended.wait()
    except KeyboardInterrupt:
        echo()
    finally:
        signal.signal(signal.SIGTERM, previous)


def _introduction(server: "SandboxServer") -> str:
    lines = [
        f"Sandbox at {server.base_url}, keeping what it gets in {server.directory}",
        "",
        "To point an agent at it, write into its config.toml:",
        "",
        "    [api]",
        f'    base_url = "{server.base_url}"',
    ]
    if server.ca_file is not None:
        lines.append(f'    ca_file = "{server.ca_file}"')
    lines += ["", _token_advice(server), "", "Ctrl-C ends it. Requests:", ""]
    return "\n".join(lines)


def _token_advice(server: "SandboxServer") -> str:
    # The devices module needs the extra, which is there by now.
    from agent.sandbox.devices import DEFAULT_TOKEN  # noqa: PLC0415

    if server.state.devices.accepts(DEFAULT_TOKEN):
        return (
            "and give it the token:\n\n"
            f"    echo {DEFAULT_TOKEN} | recorder-agent --config config.toml token set"
        )
    return (
        f"The token {DEFAULT_TOKEN} has been refreshed or revoked in this directory: "
        "the agent goes on with the token it holds, or start with an empty --directory."
    )
