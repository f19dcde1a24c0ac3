"""The demo's eye on one recording: level while it is recorded, then queue and delivery."""

import contextlib
import re
import threading
import time
from typing import TYPE_CHECKING, Any

from agent.control.server import ask
from agent.demo.process import Process
from agent.demo.screen import Screen
from agent.disk import Disk
from agent.errors import AgentError
from agent.index.reading import Recordings, open_for_reading
from agent.outbox.entry import Entry, Status
from agent.outbox.files import Files
from agent.outbox.queue_row import row_of
from agent.process.state_directory import StateDirectory
from agent.status.status_document import StatusDocument, merged, status_document
from agent.terminal.output import duration, meter, size

if TYPE_CHECKING:
    from agent.index.table.store import Store

GRACE_SECONDS = 30.0
"""How much longer than the recording it may take to make it."""
DELIVERY_SECONDS = 240.0
"""More than the 180 s for which a recording may wait until this machine's clock is set."""
POLL_SECONDS = 0.1
"""How often the recorder is asked for level and state."""
CLOSE_POLL_SECONDS = 0.004
"""How often the queue is read when something is about to change: a delivery on one machine is quick."""
CLOSE_MS = 1000
END_SECONDS = 2.0
"""How soon a recorder that hangs up has ended, and has a reason to show."""

_REQUEST = re.compile(r"^\S+ ([A-Z]+ /\S+) (\d{3}|no answer) (\d+)$")
_MEANING = {
    Status.READY: "finished, and safe on the disk",
    Status.CREATED: "the API knows of it",
    Status.STORED: "its audio has arrived",
    Status.UPLOADED: "the API has confirmed it, nothing waits",
}


class Follower:
    """Has the recorder make one recording, and shows what becomes of it."""

    def __init__(
        self,
        screen: Screen,
        state: StateDirectory,
        sandbox: Process,
        recorder: Process,
        seconds: float,
    ) -> None:
        self._screen, self._state = screen, state
        self._sandbox, self._recorder = sandbox, recorder
        self._seconds = seconds
        self._asking = threading.Thread(target=self._ask, name="record", daemon=True)
        self._error: AgentError | None = None
        self._store: Store | None = None
        self._shown: Status | None = None
        self._waiting = ""
        self._poll_at = 0.0
        self._closely = False

    def follow(self) -> dict[str, Any]:
        """Return the row of the recording when it is delivered.

        Raises:
            AgentError: it was not recorded, or not delivered; says why.
        """
        self._screen.say("recording", f"{self._seconds:g} seconds")
        self._asking.start()
        limit = time.monotonic() + self._seconds + GRACE_SECONDS
        recorded = False
        try:
            while True:
                if not recorded and not self._asking.is_alive():
                    recorded = self._closely = True
                    limit = time.monotonic() + DELIVERY_SECONDS
                entry = self._step(recorded=recorded)
                if entry is not None and entry.status is Status.UPLOADED:
                    return row_of(entry, Files(self._state.path, Disk()))
                if time.monotonic() > limit:
                    what = f"delivered ({self._waiting or 'no reason is known'})" if recorded else "recorded"
                    raise AgentError(f"nothing was {what} in time", f"see {self._recorder.log}")
                time.sleep(CLOSE_POLL_SECONDS if self._closely else POLL_SECONDS)
        finally:
            if self._store is not None:
                self._store.close()

    def _ask(self) -> None:
        """Ask the recorder for the recording, and wait until it is made."""
        try:
            ask(self._state.socket, {"command": "record", "seconds": self._seconds})
        except AgentError as error:
            self._error = error
        except OSError as error:
            self._error = AgentError(
                f"the recorder cannot be asked ({error.strerror})", f"see {self._recorder.log}"
            )

    def _step(self, *, recorded: bool) -> Entry | None:
        """Show what is new; raises AgentError when something has failed."""
        self._sandbox.check()
        self._recorder.check()
        if self._error is not None:
            self._recorder.check(END_SECONDS)
            raise self._error
        if time.monotonic() >= self._poll_at:
            self._poll_at = time.monotonic() + POLL_SECONDS
            self._show_recorder(recorded=recorded)
        for line in self._sandbox.new_lines():
            if request := _REQUEST.match(line):
                call, answer, sent = request.groups()
                self._screen.say("sandbox", f"{call} ({size(int(sent))}) is answered with {answer}")
        return self._show_queue() if self._closely else None

    def _status(self) -> StatusDocument:
        try:
            now = status_document(ask(self._state.socket, {"command": "status"}))
        except (AgentError, OSError):
            self._recorder.check(END_SECONDS)
            raise
        with contextlib.suppress(AgentError, OSError):
            deliverer = ask(self._state.delivery_socket, {"command": "status"})
            now = merged(now, status_document(deliverer))
        return now

    def _show_recorder(self, *, recorded: bool) -> None:
        now = self._status()
        if recorded:
            reason = now.waiting.reason if now.waiting else ""
            if reason and reason != self._waiting:
                self._screen.say("waiting", reason)
            self._waiting = reason or self._waiting
            return
        recording = now.recording
        if recording is None:
            if not self._closely:
                self._screen.move("level", "waiting for sound")
            return
        level = meter(now.microphone.level_dbfs)
        self._screen.move("level", f"{level}  {duration(recording.duration_ms)}")
        self._closely |= recording.duration_ms > self._seconds * 1000 - CLOSE_MS

    def _show_queue(self) -> Entry | None:
        """Show how far the recording is; AgentError when it will get no further by itself."""
        if self._store is None:
            self._store = open_for_reading(self._state)
        entry = next(self._store.all(), None) if self._store is not None else None
        if entry is None:  # the deliverer has not heard of it yet
            entry = next(iter(Recordings(None, Files(self._state.path, Disk())).all()), None)
        if entry is None or entry.status is self._shown:
            return entry
        self._shown = entry.status
        if entry.status not in _MEANING:
            raise AgentError(
                f"the recording is {entry.status.value} ({entry.last_error})", f"see {self._recorder.log}"
            )
        facts = (
            f"{duration(entry.duration_ms)}, {size(entry.size_bytes)}, "
            if self._shown is Status.READY
            else ""
        )
        self._screen.say("queue", f"{entry.status.value}: {facts}{_MEANING[entry.status]}")
        return entry
