"""Minutes at 48 kHz stereo, recorded as 16 kHz mono: drift, lost samples, and what it costs, idle to delivering."""

import time
from statistics import median
from typing import Any

from vm import continuity, settings
from vm.board import MOST_PSS_KB, MOST_WAKEUPS
from vm.lab import CARD, Lab, unix

CHANNELS = 2
PACKAGES = ("ffmpeg",)
SECONDS = 15
"""How long each measurement takes."""
SETTLED_SECONDS = 15
ROUNDS = 3
LONGEST_SEGMENT = 600
DRIFT_SECONDS = 0.05
BACKLOG_SECONDS = 75
SLOW_KBIT = 32
"""As slow as the sound itself: it is always sending."""
UNITS = "recorder-agent.service recorder-agent-delivery.service"

Row = dict[str, Any]


def run(lab: Lab, minutes: int) -> None:
    """Measure idle, record for so long, deliver slowly, and measure what others take."""
    lab.power_on()
    lab.machine.wait_ready()
    lab.wait_stream(5)
    idle(lab)
    recording(lab, minutes)
    delivering(lab)
    compare(lab)
    lab.machine.power_off()


def idle(lab: Lab) -> None:
    """Measure while nothing is wanted."""
    settings.write(lab.machine, {"recording": {"mode": "manual"}})
    lab.machine.run(f"systemctl restart {UNITS}")
    lab.machine.run("python3 /lab/wait_state.py idle 60", 90)
    time.sleep(SETTLED_SECONDS)
    tell(lab, "idle", [measured(lab)])


def recording(lab: Lab, minutes: int) -> None:
    """Record so many minutes; measure in the middle of each file, when the one before it is delivered."""
    segment = min(LONGEST_SEGMENT, 20 * minutes)
    settings.write(lab.machine, {"recording": {"segment_seconds": segment}})
    begun = time.time()
    lab.machine.run(f"systemctl restart {UNITS}")
    lab.machine.wait_for(lambda: lab.microphones[1].streamed_seconds > 0, 60, 0.2)
    streaming = time.time() - lab.microphones[1].streamed_seconds
    rows = []
    for number in range(60 * minutes // segment):
        time.sleep(max(0.0, streaming + (number + 0.5) * segment - SECONDS / 2 - time.time()))
        rows.append(measured(lab))
    time.sleep(max(0.0, streaming + 60 * minutes + 2 - time.time()))
    ended = time.time()
    wakeups = tell(lab, "recording", rows)
    lab.findings.check("recording: wake-ups", f"{wakeups:.0f} a second", f"{MOST_WAKEUPS}",
                       good=wakeups <= MOST_WAKEUPS)  # fmt: skip
    lab.wait_settled(ended - 3)
    judge_sound(lab, begun, streaming + 60 * minutes)


def judge_sound(lab: Lab, begun: float, until: float) -> None:
    """Judge drift, samples that were lost, and slots that were not heard."""
    recordings = [
        each for each in lab.collection.recordings() if each.slots and begun < each.started_at < until - 1
    ]
    drift = continuity.drift(recordings)
    if drift is None:
        lab.findings.check("drift", "nothing was heard", f"{DRIFT_SECONDS} s", good=False)
        return
    figure = f"{1000 * drift.worst:.0f} ms at worst, {drift.per_million:+.1f} ppm over {drift.seconds:.0f} s"
    lab.findings.check("drift", figure,
                       f"{1000 * DRIFT_SECONDS:.0f} ms", good=drift.worst <= DRIFT_SECONDS)  # fmt: skip
    slots = [slot for each in recordings for slot in each.slots]
    first, last = min(slot.at for slot in slots), max(slot.at for slot in slots)
    away = continuity.missing(recordings, first - 0.01, last + 0.6)
    lab.findings.check("unheard", f"{len(away)} slots of {2 * (last - first):.0f}", "0", good=not away)
    gaps = [
        gap for gap in lab.gaps() if gap["cause"] == "overflow" and gap["from"] and unix(gap["from"]) >= first
    ]
    seconds = sum(gap["seconds"] or 0 for gap in gaps)
    lab.findings.check("xruns", f"{len(gaps)}, {seconds:.2f} s", "0", good=not gaps)


def delivering(lab: Lab) -> None:
    """Measure while it records and sends a backlog over a slow line."""
    lab.machine.run("systemctl stop recorder-agent-delivery.service")
    settings.write(lab.machine, {"sync": {"max_kbit_per_second": SLOW_KBIT}})
    lab.machine.run("systemctl restart recorder-agent.service")
    time.sleep(BACKLOG_SECONDS)
    lab.machine.run("systemctl start recorder-agent-delivery.service")
    time.sleep(SETTLED_SECONDS)
    tell(lab, "delivering", [measured(lab)])


def compare(lab: Lab) -> None:
    """Let others do the same with the card, each soon after the recorder; judge the median of the rounds."""
    settings.write(lab.machine, {"recording": {"segment_seconds": LONGEST_SEGMENT}})
    lab.machine.run(f"systemctl restart {UNITS}")
    ratios: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        lab.wait_stream(2 * SETTLED_SECONDS)
        found = lab.machine.json(f'python3 /lab/measure.py {SECONDS} "{CARD}" {CHANNELS}', 240)
        own = sum(each["cpu_share"] for each in found["processes"])
        for name, share in found["usual_tools"].items():
            ratios.setdefault(name, []).append(own / share if share else 0.0)
    for name, each in ratios.items():
        middle = median(each)
        figure = f"{middle:.2f} ({', '.join(f'{ratio:.2f}' for ratio in each)}; 0: it does not run)"
        if name == "ffmpeg":
            lab.findings.check("recording / ffmpeg", figure, "below 1", good=0 < middle < 1)
        else:
            lab.findings.figure(f"recording / {name}", figure)


def measured(lab: Lab) -> Row:
    """Measure once."""
    found: Row = lab.machine.json(f"python3 /lab/measure.py {SECONDS}", SECONDS + 90)
    return found


def tell(lab: Lab, state: str, rows: list[Row]) -> float:
    """Tell the medians of some measurements, process by process, and return the wake-ups of all together."""
    loop, bare = median(row["reference_seconds"] for row in rows), median(row["bare_kb"] for row in rows)
    lab.findings.figure(
        f"{state}: reference", f"loop {loop:.2f} s, interpreter {bare:.0f} kB, {len(rows)} measurements"
    )
    names = list(dict.fromkeys(each["name"] for row in rows for each in row["processes"]))
    share = wakeups = 0.0
    for name in names:
        each = [found for row in rows for found in row["processes"] if found["name"] == name]
        cpu, wakes = (median(found[key] for found in each) for key in ("cpu_share", "wakeups_per_second"))
        size = max(found["pss_kb"] for found in each)
        share, wakeups = share + cpu, wakeups + wakes
        figure = (f"{wakes:.1f} wake-ups/s, CPU {100 * cpu:.1f} % ({cpu / loop:.2f} loops/s), "
                  f"PSS {size} kB ({size / bare:.1f} interpreters)")  # fmt: skip
        most = MOST_PSS_KB[name]
        lab.findings.check(f"{state}: {name}", figure, f"PSS {most} kB", good=size <= most)
    lab.findings.figure(
        f"{state}: all", f"{wakeups:.1f} wake-ups/s, CPU {100 * share:.1f} % ({share / loop:.2f} loops/s)"
    )
    return wakeups
