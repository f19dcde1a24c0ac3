"""Both processes in one, on one clock: what one writes the other sees at once, and both report to one board."""

from typing import cast

from agent.deliverer.wiring import DelivererWiring
from agent.disk import Disk
from agent.index.arrivals import Arrivals, arrivals_of
from agent.index.outbox import Outbox
from agent.recorder.sink import OutboxFolder
from agent.recorder.wiring import RecorderWiring
from agent.recording.recorder import Recorder
from agent.sync.remote.remote_recorder import RemoteRecorder


def join(recorder: RecorderWiring, deliverer: DelivererWiring) -> Arrivals:
    """Let the deliverer adopt each file as soon as it is finished; return what looks for others."""
    recorder.environment.board = deliverer.board
    return adopt_at_once(recorder.sink, deliverer.outbox, deliverer.disk)


def adopt_at_once(sink: OutboxFolder, outbox: Outbox, disk: Disk) -> Arrivals:
    """Let an outbox adopt each file as soon as it is finished."""
    arrivals = arrivals_of(outbox, disk)
    setattr(sink, "_announce", arrivals.poll)  # noqa: B010 - in the place of the datagram
    return arrivals


def as_remote(recorder: Recorder) -> RemoteRecorder:
    """Return the recorder of this process in the place of the one behind a socket: it is told the same."""
    return cast("RemoteRecorder", recorder)
