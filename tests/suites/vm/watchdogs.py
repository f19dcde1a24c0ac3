"""Processes that are frozen, or eat: the capture process, the recorder, the deliverer; what they cost in sound."""

import itertools
import time
from typing import NamedTuple

from timecode import SLOT_SECONDS

from vm import continuity, cuts
from vm.cards import AGAIN_SECONDS
from vm.lab import Lab, Row

RECORDER, DELIVERY = "recorder-agent.service", "recorder-agent-delivery.service"
WATCHDOG_SECONDS = 30.0
LATE_SECONDS = 3.0
"""Systemd looks, kills, and says so."""
STARVED_SECONDS = 0.8
"""ALSA's buffer has a second."""
GAP_SECONDS = 1.5
"""Of slots that are not whole nothing is read: half a second more seems unheard, give or take that much. The rest is
for samples that a busy host loses beside the pause."""
BUSY_SECONDS = 2.0
"""A busy host loses samples for less than that."""
CAPTURE = "pgrep -f agent.capture.child | head -1"
DROP_IN = f"/run/systemd/system/{DELIVERY}.d/vm-eating.conf"
EATER = "/usr/lib/recorder-agent/bin/python3 /lab/eating.py run --only deliverer"
EATING = f"""mkdir -p $(dirname {DROP_IN})
printf '[Service]\\nExecStart=\\nExecStart={EATER}\\n' >{DROP_IN}
systemctl daemon-reload; systemctl restart {DELIVERY}"""


class End(NamedTuple):
    """How systemd ended a service."""

    seconds: float
    """After the moment at which it went wrong."""
    restarts: int


def run(lab: Lab) -> None:
    """Run all of it, and judge at the end that nothing is on the server twice, and that the gap log adds up."""
    lab.power_on()
    lab.machine.wait_ready()
    lab.wait_stream(12)
    begun = time.time()
    starved(lab)
    capture_frozen(lab)
    recorder_frozen(lab)
    deliverer_frozen(lab)
    deliverer_eats(lab)
    lab.wait_settled(time.time() - 25)
    cuts.judge_copies(lab)
    cuts.judge_times(lab)
    recorded, lost, elapsed = cuts.ledger(lab.queue(), outages(lab))
    figure = f"{recorded:.1f} s + {lost:.1f} s of {elapsed:.1f} s in {time.time() - begun:.0f} s"
    lab.findings.check("recorded_and_gaps", figure,
                       "±2 s", good=abs(recorded + lost - elapsed) <= 2)  # fmt: skip
    lab.machine.power_off()


def starved(lab: Lab) -> None:
    """Take the processor from the capture process for less than its buffer holds: not one sample is lost."""
    moment = time.time()
    lab.machine.run(
        f"process=$({CAPTURE}); kill -STOP $process; sleep {STARVED_SECONDS}; kill -CONT $process"
    )
    lab.machine.wait_for(lambda: any(slot.at > moment + 4 for slot in lab.collection.slots()), 120, 3)
    away = continuity.missing(lab.collection.recordings(), moment - 2, moment + 4)
    noted = continuity.noted(lab.gaps(), moment, moment + STARVED_SECONDS)
    lab.findings.check("capture_starved", f"{len(away)} slots missing, {noted:.1f} s in the gap log", "0",
                       good=not away and not noted)  # fmt: skip


def capture_frozen(lab: Lab) -> None:
    """Freeze the capture process: the recorder opens the card anew by itself."""
    moment = time.time()
    lab.machine.run(f"kill -STOP $({CAPTURE})")
    judge_sound(lab, "capture_frozen", moment, AGAIN_SECONDS)


def recorder_frozen(lab: Lab) -> None:
    """Freeze the recorder: systemd kills it for want of a sign of life, and starts it again."""
    lab.wait_stream(8)
    moment, end = freeze(lab, RECORDER)
    judge_end(lab, "recorder_frozen", end)
    judge_sound(lab, "recorder_frozen", moment, WATCHDOG_SECONDS + LATE_SECONDS + AGAIN_SECONDS)


def deliverer_frozen(lab: Lab) -> None:
    """Freeze the deliverer: recording goes on, and what was recorded is delivered once it was started again."""
    lab.wait_stream(8)
    began = time.time() - lab.microphones[1].streamed_seconds
    moment, end = freeze(lab, DELIVERY)
    judge_end(lab, "deliverer_frozen", end)
    judge_untouched(lab, "deliverer_frozen", began, moment)


def deliverer_eats(lab: Lab) -> None:
    """Let the deliverer reach its MemoryMax: the kernel ends it alone, and systemd starts it again."""
    machine = lab.machine
    machine.run(EATING)
    lab.wait_stream(8)
    began = time.time() - lab.microphones[1].streamed_seconds
    before = _restarts(lab, DELIVERY)
    moment = time.time()
    machine.run("touch /lab/eat")
    seconds = machine.wait_for(lambda: _restarts(lab, DELIVERY) > before, 60, 1)
    machine.run("rm /lab/eat")
    killed = machine.run(
        f"journalctl -u {DELIVERY} -o cat --since @{moment:.0f} | grep -c 'oom-kill'"
    ).output.strip()
    limit = machine.run(f"systemctl show -p MemoryMax --value {DELIVERY}").output.strip()
    figure = "not restarted" if seconds is None else f"restarted after {seconds:.0f} s"
    lab.findings.check("deliverer_memory_max", f"{figure}, {killed} times out of memory at {int(limit) >> 20} MB",
                       "ended by the kernel, started again", good=seconds is not None and killed != "0")  # fmt: skip
    machine.run(f"rm {DROP_IN}; systemctl daemon-reload; systemctl restart {DELIVERY}")
    judge_untouched(lab, "deliverer_memory_max", began, moment)


def freeze(lab: Lab, unit: str) -> tuple[float, End | None]:
    """Stop a service's main process; return the host time of that, and how systemd ended it, None: it did not."""
    before = _restarts(lab, unit)
    moment = time.time()
    lab.machine.run(f"kill -STOP $(systemctl show -p MainPID --value {unit})")
    command = f"journalctl -u {unit} -o short-unix --since @{moment:.0f} | grep 'Watchdog timeout'"
    waited = lab.machine.wait_for(lambda: lab.machine.run(command).code == 0, WATCHDOG_SECONDS + 30, 2)
    if waited is None:
        return moment, None
    at = float(lab.machine.run(command).output.split()[0])
    lab.machine.wait_for(lambda: _restarts(lab, unit) > before, 20, 1)
    return moment, End(at - moment, _restarts(lab, unit) - before)


def judge_end(lab: Lab, name: str, end: End | None) -> None:
    """Systemd killed it within the time of its watchdog, and started it once more."""
    figure = "not killed" if end is None else f"killed after {end.seconds:.1f} s, {end.restarts} restarts"
    in_time = end is not None and end.seconds <= WATCHDOG_SECONDS + LATE_SECONDS and end.restarts == 1
    lab.findings.check(f"{name}_killed", figure, f"{WATCHDOG_SECONDS:.0f} s, 1 restart", good=in_time)


def judge_sound(lab: Lab, name: str, moment: float, bound: float) -> None:
    """Sound comes again within a bound, and the gap log has what was not heard."""
    slot = lab.heard_after(moment + 4, 1, bound + 120)
    pause = longest_pause([each.at for each in lab.collection.slots()], moment - 2)
    if slot is None or pause is None:
        lab.findings.check(f"{name}_recording_again", "not heard", f"{bound:.0f} s", good=False)
        return
    begin, end = pause
    lab.findings.check(f"{name}_recording_again", f"{end - moment:.1f} s", f"{bound:.0f} s",
                       good=end - moment <= bound)  # fmt: skip
    noted = continuity.noted(outages(lab), begin, end)
    unheard = end - begin - SLOT_SECONDS
    lab.findings.check(f"{name}_gap", f"{noted:.1f} s in the gap log, about {unheard:.1f} s not heard",
                       f"±{GAP_SECONDS} s", good=abs(noted - unheard) <= GAP_SECONDS)  # fmt: skip


def judge_untouched(lab: Lab, name: str, began: float, moment: float) -> None:
    """The recorder took sound all the time, and it is delivered."""
    streamed = lab.microphones[1].streamed_seconds
    broken = time.time() - began - streamed
    lab.findings.check(f"{name}_recording", f"sound was taken without a break for {streamed:.0f} s", "all the time",
                       good=broken < 1)  # fmt: skip
    slot = lab.heard_after(moment + 2, 1, 180)
    pause = longest_pause([each.at for each in lab.collection.slots()], moment - 5)
    away = pause[1] - pause[0] if pause else 0.0
    figure = f"{away:.1f} s without sound" if slot else "nothing delivered"
    lab.findings.check(f"{name}_delivered", figure, f"{BUSY_SECONDS} s",
                       good=slot is not None and away <= BUSY_SECONDS)  # fmt: skip


def longest_pause(heard: list[float], moment: float) -> tuple[float, float] | None:
    """Return the end and the beginning of the sounds around the longest pause after a moment; None: there is none."""
    times = sorted({*(at for at in heard if at >= moment)})
    pauses = [
        (later - earlier, earlier + SLOT_SECONDS, later) for earlier, later in itertools.pairwise(times)
    ]
    longest = max(pauses, default=None)
    return None if longest is None or longest[0] <= 1 else longest[1:]


def outages(lab: Lab) -> list[Row]:
    """Return what the gap log has of times without a recording; samples lost within one have silence in their place."""
    return [gap for gap in lab.gaps() if gap["from"] and gap["cause"] != "overflow"]


def _restarts(lab: Lab, unit: str) -> int:
    answer = lab.machine.run(f"systemctl show -p NRestarts --value {unit}").output.strip()
    return int(answer) if answer.isdigit() else -1
