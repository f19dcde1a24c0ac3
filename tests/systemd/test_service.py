"""The service under what happens to it: frozen, killed, rebooted, without a token or with another one."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from container import RefusedError
from machine import STATE, Recorder

from agent.sandbox.devices import DEFAULT_TOKEN

pytest_plugins = ["stage"]

NewRecorder = Callable[[str], Recorder]
WATCHDOG_SECONDS = 30
RESTART_SECONDS = 2
SLACK_SECONDS = 12
"""A busy machine, and Python to start."""
OTHER_TOKEN = "dtok_other"  # opens nothing but a sandbox


@pytest.fixture(scope="module")
def recorder(new_recorder: NewRecorder) -> Recorder:
    """An installed machine whose service records."""
    recorder = new_recorder("service")
    recorder.systemctl("start")
    recorder.wait_sound(20)
    return recorder


def test_a_frozen_process_is_killed_and_records_again(recorder: Recorder, new_recorder: NewRecorder) -> None:
    """Within the watchdog's time and a start; the same freeze without a watchdog lasts for ever."""
    control = new_recorder("unwatched")
    control.drop_in("unwatched", "WatchdogSec=0")
    control.systemctl("start")
    control.wait_sound(20)
    before = recorder.unit(), control.unit()
    limit = WATCHDOG_SECONDS + RESTART_SECONDS + SLACK_SECONDS

    def freeze(one: Recorder) -> float | None:
        process = one.unit()["MainPID"]
        began = time.monotonic()
        one.kill("STOP")
        try:
            one.container.wait_for(lambda: one.unit()["MainPID"] not in {process, "0"}, limit, "new process")
            one.wait_sound(limit)
        except RefusedError:
            return None
        return time.monotonic() - began

    with ThreadPoolExecutor() as pool:
        seconds, never = pool.map(freeze, (recorder, control))
    after = recorder.unit(), control.unit()
    print(f"\nfrozen: recording again after {seconds} s; without a watchdog: {never}")
    print(recorder.container.journal("recorder-agent", "--lines=12"))
    assert seconds is not None
    assert seconds < limit
    assert never is None
    assert int(after[0]["NRestarts"]) == int(before[0]["NRestarts"]) + 1
    assert after[1]["NRestarts"] == before[1]["NRestarts"]
    control.close()


def test_killed_it_records_again_and_loses_nothing(recorder: Recorder) -> None:
    """After kill -9 the open recording is repaired and delivered with the others, each once."""
    recorder.configure(recording="segment_seconds = 600")
    recorder.systemctl("restart")
    recorder.wait_sound(
        20
    )  # a page of the long recording is on the card: without one there is nothing to repair
    open_one = next(key for key, row in recorder.queue().items() if row["status"] == "recording")
    began = time.monotonic()
    process = recorder.unit()["MainPID"]
    recorder.kill("KILL")
    recorder.container.wait_for(lambda: recorder.unit()["MainPID"] not in {process, "0"}, 20, "new process")
    recorder.wait_sound(20)
    print(f"\nkilled: recording again after {time.monotonic() - began:.1f} s")
    recorder.wait_delivered({open_one}, 60)
    assert recorder.copies()[open_one] == 1
    recorder.configure()
    recorder.systemctl("restart")


@pytest.mark.parametrize("way", ["reboot", "power_cut"])
def test_a_queue_outlives_a_reboot(recorder: Recorder, way: str) -> None:
    """Without the API recordings wait; after the boot it records by itself, and each is delivered once."""
    recorder.sandbox.stop()
    recorder.container.wait_for(
        lambda: sum(row["status"] == "ready" for row in recorder.queue().values()) >= 3, 30, "queue"
    )
    waiting = {key for key, row in recorder.queue().items() if row["status"] == "ready"}
    began = time.monotonic()
    getattr(recorder.container, way)()
    recorder.wait_sound(20)
    seconds = time.monotonic() - began
    kept = set(recorder.queue())
    recorder.sandbox.start()
    delivered = recorder.wait_delivered(waiting, 120)
    print(
        f"\n{way}: recording {seconds:.1f} s later; {len(waiting)} delivered {delivered:.1f} s after the API was back"
    )
    assert waiting <= kept
    assert {recorder.copies()[each] for each in waiting} == {1}


def test_tokens_missing_wrong_and_replaced(recorder: Recorder) -> None:
    """Recording never stops for a token; a refused one is not kept; another one counts at once, without a restart."""
    container = recorder.container
    recorder.systemctl("stop")
    container.shell(f"rm {STATE}/device-token*")
    recorder.systemctl("start")
    recorder.wait_sound(20)
    container.wait_for(
        lambda: recorder.answer("status")["credential"]["state"] == "missing", 10, "missing token"
    )
    assert recorder.agent("token", "status", check=False).returncode == 77
    process = recorder.unit()["MainPID"]

    wrong = recorder.agent("token", "set", text="dtok_wrong\n", check=False)
    assert wrong.returncode == 77
    assert wrong.stderr.count("\n") == 1
    assert recorder.answer("token", "status")["state"] == "missing"

    waiting = {key for key, row in recorder.queue().items() if row["status"] == "ready"}
    recorder.agent("token", "set", "--same-owner", text=f"{DEFAULT_TOKEN}\n")
    began = time.monotonic()
    container.wait_for(
        lambda: recorder.answer("status")["credential"]["state"] == "accepted", 30, "accepted token"
    )
    print(f"\nset: accepted after {time.monotonic() - began:.1f} s, {len(waiting)} waited")

    recorder.sandbox.state.devices.bind(OTHER_TOKEN)
    recorder.sandbox.state.devices.revoke(DEFAULT_TOKEN)
    container.wait_for(
        lambda: recorder.answer("status")["credential"]["state"] == "refused", 30, "refused token"
    )
    container.wait_for(
        lambda: "token" in recorder.unit()["StatusText"], 10, "status line that names the token"
    )
    print(f"refused: {recorder.unit()['StatusText']}")
    recorder.agent("token", "set", "--same-owner", text=f"{OTHER_TOKEN}\n")
    held = {
        key
        for key, row in recorder.queue().items()
        if row["status"] not in {"recording", "parked", "uploaded"}
    }
    seconds = recorder.wait_delivered(held, 60)
    print(f"replaced: {len(held)} delivered after {seconds:.1f} s")
    assert recorder.unit()["MainPID"] == process
    assert recorder.state() == "recording"
    for token in (DEFAULT_TOKEN, OTHER_TOKEN, "dtok_wrong"):
        assert token not in container.journal()


def test_a_token_from_the_credential_store(recorder: Recorder) -> None:
    """It is handed over from /etc/credstore/device-token where there is one: no path of it is needed in the unit."""
    container = recorder.container
    recorder.systemctl("stop")
    container.shell(f"rm {STATE}/device-token*")
    container.write("/etc/credstore/device-token", f"{OTHER_TOKEN}\n", 0o600)
    container.path("/etc/credstore").chmod(0o700)
    recorder.systemctl("start")
    container.wait_for(
        lambda: recorder.answer("status")["credential"]["state"] == "accepted", 30, "accepted token"
    )


def test_stopped_in_order_within_ten_seconds(recorder: Recorder) -> None:
    """``systemctl stop`` ends the recording as a whole file, and says nothing frightening."""
    began = time.monotonic()
    recorder.systemctl("stop")
    seconds = time.monotonic() - began
    unit = recorder.unit()
    print(f"\nstopped after {seconds:.1f} s: {unit}")
    print(recorder.container.journal("recorder-agent", "--lines=8"))
    assert seconds < 10
    assert (unit["ActiveState"], unit["Result"]) == ("inactive", "success")
    assert not list(recorder.container.path(f"{STATE}/recording").iterdir())
