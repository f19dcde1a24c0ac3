"""The board: what the service costs, its LED, a reboot, the clock, a disk that fails, suspend."""

import time

from vm import disk, light, suspend
from vm.cards import START_SECONDS, choose
from vm.lab import CARD, Lab, began
from vm.settings import NAMED

MEASURED_SECONDS = 15
TOOLS = "arecord | opusenc"
MOST_RATIO = 1.43
"""All processes together cost less than ffmpeg, which takes so much of what arecord | opusenc does."""
MOST_WAKEUPS = 25
MOST_PSS_KB = {"recorder": 20 << 10, "capture process": 16 << 10, "deliverer": 34 << 10}
AGAIN_SECONDS = 150.0
SHUTDOWN_SECONDS = 60
KEPT_SECONDS = 0.5
"""Before a shutdown, sound may be missing for so long: what is inside the USB."""
DAY = 86_400


def run(lab: Lab) -> None:
    """Run all of it."""
    lab.power_on()
    lab.machine.wait_ready()
    default(lab)
    choose(lab, NAMED)
    lab.wait_stream(10)
    measure(lab)
    light.set_up(lab)
    judge_led(lab)
    clock(lab)
    suspend.run(lab)
    reboot(lab)
    disk.run(lab)
    lab.findings.skip("gpio-sim", "the package for amd64 has no lgpio, without which it drives no pins")
    orderly_power_off(lab)


def default(lab: Lab) -> None:
    """Let ALSA choose, as fresh settings do."""
    choose(lab, "default")
    chosen = time.time()
    slot = lab.heard_after(chosen, 1)
    figure = f"{slot.at - chosen:.1f} s" if slot else "not heard"
    lab.findings.check("default_by_its_sound", figure, f"{START_SECONDS:.0f} s",
                       good=slot is not None and slot.at - chosen <= START_SECONDS)  # fmt: skip


def measure(lab: Lab) -> None:
    """Tell wake-ups, processor time and memory of each process, as ratios to references of the same boot."""
    measured = lab.machine.json(
        f'python3 /lab/measure.py {MEASURED_SECONDS} "{CARD}" 1', 4 * MEASURED_SECONDS + 90
    )
    loop, bare, tools = measured["reference_seconds"], measured["bare_kb"], measured["usual_tools"][TOOLS]
    lab.findings.figure("reference", f"loop {loop:.2f} s, {TOOLS} {100 * tools:.0f} %, interpreter {bare} kB")
    share = wakeups = 0.0
    for row in measured["processes"]:
        share += row["cpu_share"]
        wakeups += row["wakeups_per_second"]
        lab.findings.figure(
            f"cost of {row['name']}",
            f"{row['wakeups_per_second']:.1f} wake-ups/s, CPU {row['cpu_share'] / loop:.2f} loops/s"
            f" ({100 * row['cpu_share']:.0f} %), PSS {row['pss_kb'] / bare:.1f} interpreters ({row['pss_kb']} kB)",
        )
        most = MOST_PSS_KB[row["name"]]
        name = f"memory of {row['name']}"
        lab.findings.check(name, f"{row['pss_kb']} kB", f"{most} kB", good=row["pss_kb"] <= most)
    ratio = share / tools
    lab.findings.check("processor", f"{ratio:.2f} × {TOOLS}", f"{MOST_RATIO}", good=ratio <= MOST_RATIO)
    lab.findings.check("wake-ups", f"{wakeups:.0f} a second", f"{MOST_WAKEUPS}", good=wakeups <= MOST_WAKEUPS)


def judge_led(lab: Lab) -> None:
    """See the pattern of a recording."""
    lab.wait_stream(20)
    shown = light.shown(lab, 12)
    lab.findings.check("led_recording", str(shown), "on, a short gap every 2 s", good=shown.is_recording)


def reboot(lab: Lab) -> None:
    """Reboot in order: nothing said before is lost, and it records again."""
    boot = lab.machine.run("cat /proc/sys/kernel/random/boot_id").output
    moment = time.time()
    lab.machine.run("systemctl reboot", 10)
    changed = lab.machine.wait_for(lambda: _booted_anew(lab, boot), 240, 2)
    lab.findings.check("rebooted", "yes" if changed else "no", "yes", good=changed is not None)
    lab.wait_stream(5)
    slot = lab.heard_after(time.time() - lab.microphones[1].streamed_seconds - 0.5, 1)
    ends = [each.heard_until or 0.0 for each in lab.collection.recordings() if each.started_at < moment]
    lost = moment - max(ends, default=0.0)
    lab.findings.check("lost_at_reboot", f"{lost:.1f} s", f"{KEPT_SECONDS} s", good=lost <= KEPT_SECONDS)
    figure = f"{slot.at - moment:.0f} s" if slot else "not heard"
    lab.findings.check("recording_after_reboot", figure, f"{AGAIN_SECONDS:.0f} s",
                       good=slot is not None and slot.at - moment <= AGAIN_SECONDS)  # fmt: skip


def clock(lab: Lab) -> None:
    """Set the clock a day forward and back while recording: it goes on, and lengths stay true."""
    before = time.time()
    lab.machine.run(f"date -s @$(($(date +%s) + {DAY}))")
    time.sleep(15)
    lab.machine.run(f"date -s @$(($(date +%s) - {DAY}))")
    time.sleep(10)
    streaming = lab.microphones[1].streamed_seconds
    lab.findings.check("clock_day_forward_and_back", f"sound was taken for {streaming:.0f} s", "without a break",
                       good=streaming >= time.time() - before)  # fmt: skip
    odd = [row for row in lab.queue() if (row["duration_ms"] or 0) > 60_000 or began(row) > time.time() + 60]
    lab.findings.check("clock_lengths", f"{len(odd)} recordings too long or of tomorrow", "0", good=not odd)


def orderly_power_off(lab: Lab) -> None:
    """Shut down; the service does not hold it up."""
    began_at = time.monotonic()
    orderly = lab.machine.power_off()
    seconds = time.monotonic() - began_at
    lab.findings.check("power_off", f"{seconds:.0f} s{'' if orderly else ', killed'}", f"{SHUTDOWN_SECONDS} s",
                       good=orderly and seconds <= SHUTDOWN_SECONDS)  # fmt: skip


def _booted_anew(lab: Lab, boot: str) -> bool:
    answer = lab.machine.run("cat /proc/sys/kernel/random/boot_id", 10)
    return answer.code == 0 and answer.output != boot
