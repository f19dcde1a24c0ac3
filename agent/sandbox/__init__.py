"""A local recordings API with its storage, for trying the agent and for testing it (api.md 1-4, 6, 7).

Invariants
    S1  What the API and the storage refuse, the sandbox refuses: stricter than the service, never laxer.
    S2  An object is whole or absent: streamed to a temporary name, renamed when its last byte is there.
    S3  ``recordings.json`` is replaced atomically after every change, so a restarted sandbox continues.
        There is no fsync: a kill loses nothing, a power cut may.
    S4  No token and no query string is written anywhere; a token is kept and shown as its SHA-256 only.
    S5  Switches and scripted faults live in memory: a new process begins with none.

Procedures
    P1  A call: scripted fault (delay, drop, answer) → bearer → rate limit → body → work → save → answer.
    P2  A PUT: scripted fault → one credential only → signature and expiry → length known → stream → rename →
        save.

Folder: ``objects/<recording id>/<media id>.ogg`` or ``.opus`` · ``recordings.json`` · ``requests.jsonl``,
a line per request · with TLS ``ca.pem`` and its key.

Control, on the same port, for callers on this machine:
    GET    /_sandbox/state      everything, objects with their sha256
    POST   /_sandbox/faults     a list of faults (see ``faults``); DELETE clears them
    POST   /_sandbox/switches   an object of switches to set (see ``model.Switches``)
    POST   /_sandbox/commands   {type, params, expires_in_seconds, device_id}
    POST   /_sandbox/tokens     {token, device_id, end_user_id}: bind; DELETE {token}: revoke

Starlette, uvicorn and trustme come with the extra ``sandbox``; importing this package imports none of them.
"""

from typing import TYPE_CHECKING

from agent.errors import AgentError
from agent.hints import extra

if TYPE_CHECKING:
    from agent.sandbox.server import SandboxServer

_EXTRA = frozenset({"starlette", "uvicorn", "trustme", "anyio", "h11"})


def load_server_class() -> "type[SandboxServer]":
    """Return ``SandboxServer``, or raise AgentError when the extra is not installed."""
    try:
        # Imported late: the processes must start without the extra.
        from agent.sandbox.server import SandboxServer  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise AgentError(
            f"The sandbox needs the package {error.name}, which is not installed",
            f"{extra('sandbox')} brings it.",
        ) from None
    return SandboxServer
