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


def test_the_figure_fails_when_calls_are_not_cut(tmp_path: Path) -> None:
    """A control: with neither the recorder woken nor its wait bounded, the stop takes longer than 10 s."""
    code = (
        "import time\nfrom agent.recording.recorder import Recorder\nstop = Recorder.stop\n"
        "def slow(self):\n    time.sleep(11)\n    stop(self)\n"
        "Recorder.stop = slow\n"
    )
    took, _ = stop_while_stalled(tmp_path, Call.PUT, code)

    assert took > 10
