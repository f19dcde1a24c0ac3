"""The deliverer: starts its parts in their threads, watches them, speaks with systemd, and stops them in order.

Start   lock → token's files taken over → index → delivery socket → READY; behind it, in threads of their own:
        reconciliation, then delivery; heartbeats; the network's changes; what is shown.
Watch   once a second: a thread that has died ends the process; the watchdog is fed while housekeeping and publishing
        turn.
Stop    (SIGTERM, SIGINT) calls under way are cut.
"""

import os
import threading
import time
from pathlib import Path

from agent import __version__
from agent.config.loader import LoadedConfig
from agent.control.server import ControlServer
from agent.deliverer.handlers import ADMIN_COMMANDS, DelivererHandlers
from agent.deliverer.housekeeping import Housekeeping
from agent.deliverer.publisher import Publisher
from agent.deliverer.threads import SyncThreads
from agent.deliverer.wiring import DelivererWiring
from agent.errors import AgentError
from agent.index.earlier_place import bring_hint, left_elsewhere
from agent.log import get_logger
from agent.outbox.arrivals import ArrivalsSocket
from agent.process.places import service_folder
from agent.process.state_directory import DELIVERY_SOCKET, Process, StateDirectory
from agent.process.supervised import SupervisedProcess
from agent.status.board import State
from agent.status.words import delivery_sentence
from agent.sync.remote.remote_recorder import RemoteRecorder

logger = get_logger(__name__)

STACK_BYTES = 512 * 1024
"""Of each thread: a limit on memory counts them whole."""
STOP_SECONDS = 3.0
SILENT_SECONDS = 20.0
"""A disk that takes longer is said to fail."""
STALLED_SECONDS = 60.0
"""Without a turn of its loops for so long the watchdog is not fed."""


class DelivererProcess(SupervisedProcess):
    """The process that delivers."""

    process = Process.DELIVERER

    def __init__(
        self,
        loaded: LoadedConfig,
        state: StateDirectory,
        config_path: Path | None,
        *,
        settings_problem: str | None = None,
        supervised: bool = False,
    ) -> None:
        super().__init__(loaded, state, config_path, settings_problem=settings_problem, supervised=supervised)
        self._turns: dict[str, float] = {}
        """When each loop turned last, on the monotonic clock."""

    def run(self) -> int:
        """Work until told to stop."""
        threading.stack_size(STACK_BYTES)
        return super().run()

    def _cannot_begin(self, error: AgentError) -> str:
        logger.error("delivery cannot begin, and tries again", action="sync_failed", error=error)
        return "waiting"

    def _work(self) -> int:
        wiring = self._wiring = DelivererWiring(self._loaded.config, self._state)
        try:
            return self._deliver(wiring)
        finally:
            wiring.close()

    def _deliver(self, wiring: DelivererWiring) -> int:
        signals = self._signals
        wiring.board.report(settings=self._settings_problem)
        arrivals = ArrivalsSocket(self._state.runtime)
        house = self._house = Housekeeping(
            wiring,
            arrivals.wait,
            lambda: self._turned("housekeeping"),
            is_suspect=lambda: wiring.board.snapshot.state in {State.FAULT, State.STOPPED},
        )
        recorder = RemoteRecorder(lambda: self._state.socket, lambda: publisher.is_manual)
        publisher = self._publisher = Publisher(
            wiring,
            failing=self._failing,
            progress=lambda: self._turned("publisher"),
            recorder=recorder,
        )
        threads = SyncThreads(wiring, recorder, house.reconciled, signals.stopping)
        handlers = DelivererHandlers(
            wiring,
            threads,
            publisher,
            house,
            stopping=signals.stopping,
            reload=self._reload,
        )
        control = ControlServer(
            self._state.runtime / DELIVERY_SOCKET,
            handlers.handlers,
            group=self._loaded.config.control.group,
            admin_commands=ADMIN_COMMANDS,
        )
        for left in left_elsewhere(self._state, service_folder(os.environ)):
            logger.warning(
                "an earlier state directory still holds something",
                action="earlier_place",
                what=left.sentence(),
                hint=bring_hint(left),
            )
        housekeeping = self._threads.start("housekeeping", lambda: house.run(signals.stopping))
        publishing = self._threads.start("publisher", lambda: publisher.run(signals.stopping))
        online = [self._threads.start(name, work) for name, work in threads.threads.items()]
        logger.info("delivering", action="delivery_started", version=__version__, state=str(self._state.path))
        self._notifier.ready("starting")
        self._watch()
        self._notifier.stopping("ending calls")
        logger.info("stopping", action="delivery_stopping")
        wiring.outbox.store.needs_reconcile.set()
        arrivals.wake()
        wiring.board.changed.set()
        threads.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in (*online, publishing, housekeeping):
            thread.join(max(0.1, deadline - time.monotonic()))
        control.close()
        arrivals.close()
        logger.info("stopped", action="delivery_stopped")
        return 1 if self._threads.died else 0

    def _failing(self) -> str | None:
        """Return why the disk or the index fails, or that one of them does not answer at all."""
        turned = self._turns.get("housekeeping")
        waited = time.monotonic() - turned if turned is not None else 0.0
        if waited > SILENT_SECONDS:
            return f"the disk or the index has not answered for {waited:.0f} s"
        return self._house.failing

    def _turned(self, loop: str) -> None:
        self._turns[loop] = time.monotonic()

    def _disk_fails(self) -> bool:
        return self._house.disk_fails

    def _is_alive(self) -> bool:
        return time.monotonic() - min(self._turns.values(), default=0.0) < STALLED_SECONDS

    def _sentence(self) -> str:
        return delivery_sentence(self._wiring.board.snapshot, self._publisher.counts, self._publisher.failing)
