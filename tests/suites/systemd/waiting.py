"""Recorders that cannot record, and wait."""

import time
from dataclasses import dataclass

from machine import STATE, Recorder

FILLER = f"{STATE}/filler"


@dataclass(frozen=True)
class Waiting:
    """A recorder that cannot record: its process, and since when (monotonic seconds)."""

    recorder: Recorder
    process: str
    since: float


def begin(recorders: dict[str, Recorder]) -> dict[str, Waiting]:
    """Bring each recorder into the state it is named by."""
    recorders["no_microphone"].configure(audio='input = "usb-1234:5678-1"')
    recorders["storage_full"].configure(storage="min_free_mb = 8")
    recorders["storage_full"].container.shell(
        f"""
        cp -a {STATE} /root/state
        mount -t tmpfs -o size=24M,mode=0700,uid=$(id -u recorder-agent),gid=$(id -g recorder-agent) tmpfs {STATE}
        cp -a /root/state/. {STATE}
        """
    )
    for recorder in recorders.values():
        recorder.systemctl("start")
    for recorder in (recorders["muted"], recorders["storage_full"]):
        recorder.wait_state("recording")
    recorders["muted"].agent("mute")
    recorders["storage_full"].container.run("dd", "if=/dev/zero", f"of={FILLER}", "bs=1M", "count=18")
    for state, recorder in recorders.items():
        recorder.wait_state(state, 30)
    return {
        state: Waiting(recorder, recorder.unit()["MainPID"], time.monotonic())
        for state, recorder in recorders.items()
    }
