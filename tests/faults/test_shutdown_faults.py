"""SIGTERM while an upload stalls: the daemon ends within 10 s with everything queued."""

import time
from pathlib import Path

import pytest
from acceptance import Machine, wait_for
from rig import sabotage, say_figures
from speech import speech, write_wav

from agent.sandbox.faults import Call, Fault
from agent.sandbox.server import SandboxServer

RATE = 16_000
STALL_SECONDS = 60.0


def stop_while_stalled(tmp_path: Path, call: Call, code: str = "") -> tuple[float, list[dict[str, object]]]:
    """Stop a daemon whose call does not get an answer; return how long that took, and its queue."""
    with SandboxServer(tmp_path / "sandbox") as server:
        machine = Machine(tmp_path / "machine", server)
        wav = write_wav(tmp_path / "loop.wav", RATE, 1, speech(RATE, 1, 10 * RATE))
        machine.configure(
            audio={"input": f"file:{wav}?loop"}, recording={"mode": "continuous", "segment_seconds": 2}
        )
        if code:
            sabotage(machine, code)
        server.faults.add(Fault(call, delay_seconds=STALL_SECONDS))
        with machine.daemon() as daemon:
            wait_for(lambda: not server.faults.pending())
            time.sleep(1)
            start = time.monotonic()
            daemon.process.terminate()
            daemon.process.wait(2 * STALL_SECONDS)
            took = time.monotonic() - start
            ended = daemon.process.returncode
        rows = machine.queue()
        server.faults.clear()
    assert ended == 0
    assert not list((machine.state / "recording").iterdir())
    return took, rows


@pytest.mark.parametrize("call", [Call.CREATE, Call.PUT, Call.COMPLETE])
def test_a_stop_during_a_stalled_call(tmp_path: Path, call: Call) -> None:
    """The call is cut, the open recording is finished and queued whole, nothing is parked."""
    took, rows = stop_while_stalled(tmp_path, call)

    say_figures(f"stopped during a stalled {call}", [took])
    assert took < 10
    assert len(rows) >= 2
    assert {row["status"] for row in rows} <= {"ready", "created", "stored"}
    assert not any(row["recovered"] for row in rows)
