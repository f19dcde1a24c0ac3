"""The services under what happens to them: frozen, killed, rebooted, without a token or with another one."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from container import RefusedError
from machine import DELIVERY, STATE, TARGET, TOKEN, UNIT, Recorder

from agent.sandbox.devices import DEFAULT_TOKEN

pytest_plugins = ["stage"]

NewRecorder = Callable[[str], Recorder]
WATCHDOG_SECONDS = 10
"""Instead of 30, for the wait's sake."""
RESTART_SECONDS = 2
SLACK_SECONDS = 12
"""A busy machine, and Python to start."""
OTHER_TOKEN = "dtok_other"  # opens nothing but a sandbox


@pytest.fixture(scope="module")
def recorder(new_recorder: NewRecorder) -> Recorder:
    """An installed machine whose service records."""
    recorder = new_recorder("service")
    for unit in (UNIT, DELIVERY):
        recorder.drop_in("sooner", f"WatchdogSec={WATCHDOG_SECONDS}", unit=unit)
    recorder.systemctl("start")
    recorder.wait_sound(20)
    return recorder


def test_a_frozen_process_is_killed_and_records_again(recorder: Recorder, new_recorder: NewRecorder) -> None:
    """Within the watchdog's time and a start, of both services; the same freeze without a watchdog lasts for ever."""
    control = new_recorder("unwatched")
    control.drop_in("unwatched", "WatchdogSec=0")
    delivery = recorder.unit(DELIVERY)
    control.systemctl("start")
    control.wait_sound(20)
    before = recorder.unit(), control.unit()
    limit = WATCHDOG_SECONDS + RESTART_SECONDS + SLACK_SECONDS

    def freeze(one: Recorder) -> float | None:
        process = one.unit()["MainPID"]
        began = time.monotonic()
        one.kill("STOP")
        if one is recorder:
            one.kill("STOP", DELIVERY)
        try:
            one.wait_new_process(UNIT, process, limit)
            one.wait_sound(limit)
        except RefusedError:
            return None
        return time.monotonic() - began

    with ThreadPoolExecutor() as pool:
        seconds, never = pool.map(freeze, (recorder, control))
    after = recorder.unit(), control.unit()
    print(f"\nfrozen: recording again after {seconds} s; without a watchdog: {never}")
    print(recorder.container.journal("recorder-agent*", "--lines=12"))
    recorder.wait_new_process(DELIVERY, delivery["MainPID"], SLACK_SECONDS)
    assert int(recorder.unit(DELIVERY)["NRestarts"]) == int(delivery["NRestarts"]) + 1
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
    delivery = recorder.unit(DELIVERY)
    recorder.kill("KILL")
    recorder.wait_new_process(UNIT, process, 20)
    recorder.wait_sound(20)
    assert recorder.unit(DELIVERY)["MainPID"] == delivery["MainPID"]
    assert recorder.unit(DELIVERY)["NRestarts"] == delivery["NRestarts"]
    print(f"\nkilled: recording again after {time.monotonic() - began:.1f} s")
    recorder.wait_delivered({open_one}, 60)
    assert recorder.copies()[open_one] == 1
    recorder.configure()
    recorder.systemctl("restart")


def test_delivery_that_is_killed_or_stopped_leaves_the_recorder_alone(recorder: Recorder) -> None:
    """It is started again; while it is stopped the recorder goes on, and says that it is missing."""
    hears = recorder.unit()
    process = recorder.unit(DELIVERY)["MainPID"]
    recorder.kill("KILL", DELIVERY)
    recorder.wait_new_process(DELIVERY, process, 20)
    recorder.systemctl("stop", DELIVERY)
    recorder.wait_sound(20)
    recorder.container.wait_for(
        lambda: recorder.answer("status")["delivery"] == "stopped", 20, "status without delivery"
    )
    waiting = recorder.finished() - set(recorder.copies())
    recorder.systemctl("start", DELIVERY)
    recorder.wait_delivered(waiting, 60)
    assert (recorder.unit()["MainPID"], recorder.unit()["NRestarts"]) == (
        hears["MainPID"],
        hears["NRestarts"],
    )
    silent = [gap for gap in recorder.answer("gaps") if gap["cause"] == "not_running"]
    assert all((gap["seconds"] or 0) < RESTART_SECONDS + SLACK_SECONDS + WATCHDOG_SECONDS for gap in silent)


def test_a_restart_of_the_target_is_one_of_both(recorder: Recorder) -> None:
    """Neither is pulled along by the other: a restart of one service is of that one alone."""

    def processes() -> tuple[str, str]:
        return recorder.unit()["MainPID"], recorder.unit(DELIVERY)["MainPID"]

    before = processes()
    recorder.systemctl("restart", TARGET)
    both = processes()
    assert not set(before) & set(both)
    recorder.systemctl("restart", UNIT)
    first = processes()
    assert first[0] != both[0]
    assert first[1] == both[1]
    recorder.systemctl("restart", DELIVERY)
    second = processes()
    assert second[0] == first[0]
    assert second[1] != first[1]
    recorder.wait_sound(20)


def test_the_token_is_hidden_from_the_recorder_also_when_it_is_replaced(recorder: Recorder) -> None:
    """What its process sees in the folder is nothing, before and after; what delivery sees is the token."""

    def seen(unit: str) -> tuple[str, str]:
        process = recorder.unit(unit)["MainPID"]
        enter = ("nsenter", f"--target={process}", "--mount", "--")
        listed = recorder.container.run(*enter, "ls", "-A", f"{STATE}/token", check=False).stdout
        read = recorder.container.run(*enter, "cat", TOKEN, f"{STATE}/device-token", check=False).stdout
        return listed, read

    for _ in range(2):
        assert seen(UNIT) == ("", "")
        listed, read = seen(DELIVERY)
        assert "device-token" in listed
        assert DEFAULT_TOKEN in read
        inode = recorder.container.path(TOKEN).stat().st_ino
        recorder.agent("token", "set", "--same-owner", text=f"{DEFAULT_TOKEN}\n")
        assert recorder.container.path(TOKEN).stat().st_ino != inode


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
    container.shell(f"rm -f {STATE}/token/device-token*")
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
        lambda: "token" in recorder.unit()["StatusText"], 20, "status line that names the token"
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
    container.shell(f"rm -f {STATE}/token/device-token*")
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
    print(recorder.container.journal("recorder-agent*", "--lines=8"))
    assert seconds < 10
    assert (unit["ActiveState"], unit["Result"]) == ("inactive", "success")
    assert not list(recorder.container.path(f"{STATE}/recording").iterdir())
