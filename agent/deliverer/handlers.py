"""What people ask of the deliverer, by ``delivery.sock``."""

import threading
from collections.abc import Callable
from typing import Any

from agent.control.server import Handler, Peer, Request
from agent.deliverer.days_now import delivered_now
from agent.deliverer.housekeeping import Housekeeping
from agent.deliverer.publisher import Publisher
from agent.deliverer.threads import SyncThreads
from agent.deliverer.wiring import DelivererWiring
from agent.errors import AgentError
from agent.index.actions import ACTIONS
from agent.index.reading import reading
from agent.outbox.queue_row import queue_rows
from agent.status.board import CredentialState
from agent.sync.result import answer_of
from agent.token.store import Token
from agent.zone import zone, zone_of_days

ADMIN_COMMANDS = frozenset({"delete", "release", "retry", "refresh", "repair", "token"})
"""Not for the group: what decides over recordings that are there, or over the token."""
PROGRESS_SECONDS = 0.5
"""How often a command that waits for an upload hears of it."""


class DelivererHandlers:
    """The handlers of the delivery socket, each in the asking connection's thread.

    ``reload`` reads the settings anew and returns the keys that need a restart.
    """

    def __init__(
        self,
        wiring: DelivererWiring,
        threads: SyncThreads,
        publisher: Publisher,
        house: Housekeeping,
        *,
        stopping: threading.Event,
        reload: Callable[[], list[str]],
    ) -> None:
        self._wiring = wiring
        self._threads = threads
        self._publisher = publisher
        self._house = house
        self._stopping = stopping
        self._reload = reload

    @property
    def handlers(self) -> dict[str, Handler]:
        """Every command of the delivery socket."""
        return {
            "status": lambda _request, _peer: self._publisher.status(),
            "sync": self._sync,
            "reload": lambda _request, _peer: {"needs_restart": self._reload()},
            "refresh": self._refresh,
            "token": self._set_token,
            "queue": self._queue,
            "report": self._report,
            "repair": self._repair,
            **{name: self._queue_action(action) for name, action in ACTIONS.items()},
        }

    def _sync(self, request: Request, peer: Peer) -> Any:
        """Try everything now, and tell the asking side how far each upload is."""
        self._house.poll()
        syncer = self._threads.syncer
        told, is_left = 0.0, False

        def tell(recording_id: str, sent: int, total: int) -> None:
            nonlocal told, is_left
            now = self._wiring.clock.monotonic()
            if not is_left and (now - told > PROGRESS_SECONDS or sent == total):
                told = now
                try:
                    peer.tell(event="transfer", id=recording_id, sent_bytes=sent, total_bytes=total)
                except OSError:  # nobody listens any more; the upload goes on
                    is_left = True

        with syncer.listening(tell):
            done = syncer.drain(everything=True, any_network=request.any_network)
            return answer_of(done, self._wiring.outbox.store)

    def _set_token(self, request: Request, _peer: Peer) -> Any:
        """Try a device token and put it in use; what the API says of it is known to ``status`` at once."""
        from agent.token.setting import ACCEPTED, set_token  # noqa: PLC0415 - as for ``refresh``

        wiring = self._wiring
        new = Token(request.token or "")
        answer = set_token(wiring.credentials, new, wiring.config.api, same_owner=request.same_owner)
        self._has_token(is_accepted=answer["verdict"] == ACCEPTED)
        return answer

    def _refresh(self, _request: Request, _peer: Peer) -> Any:
        """Exchange the device token for a new one."""
        from agent.token.refresh import refresh  # noqa: PLC0415 - once in the life of a token

        wiring = self._wiring
        try:
            answer = refresh(wiring.credentials, wiring.api, wiring.connection.pause_left())
        finally:
            wiring.outbox.arrived.set()
        wiring.credentials.accepted = answer["fingerprint"]
        self._has_token(is_accepted=True)
        return answer

    def _has_token(self, *, is_accepted: bool) -> None:
        """Say what is known of a token that has just come into use, and deliver with it."""
        state = CredentialState.ACCEPTED if is_accepted else CredentialState.UNKNOWN
        self._wiring.board.report(credential=state)
        self._wiring.outbox.arrived.set()

    def _queue(self, _request: Request, peer: Peer) -> Any:
        """Tell all rows to those who may not read the index."""
        with reading(self._wiring.state) as recordings:
            rows = queue_rows(recordings.all(), recordings.files)
        peer.tell_rows(rows)
        return {"rows": len(rows)}

    def _report(self, request: Request, peer: Peer) -> Any:
        """Tell what was delivered on the newest days to those who may not read it."""
        wiring = self._wiring
        home = zone(zone_of_days())
        with reading(wiring.state) as recordings:
            rows = delivered_now(recordings, home, wiring.time.now_ms(), request.days)
        peer.tell_rows(rows)
        return {"rows": len(rows)}

    def _repair(self, request: Request, _peer: Peer) -> Any:
        """Bring files and index together now, or only tell what would be done."""
        return {"sentences": self._wiring.reconcile(self._stopping.is_set, dry_run=request.dry_run).sentences}

    def _queue_action(self, action: Callable[..., list[str]]) -> Handler:
        def do(request: Request, _peer: Peer) -> Any:
            ids, transfer = request.ids, self._wiring.board.snapshot.transfer
            if transfer is not None and any(transfer.id.startswith(one) for one in ids or ()):
                raise AgentError(
                    f"{transfer.id} is being delivered at this moment", "try again when that is over"
                )
            return action(self._wiring.outbox, ids)

        return do
