"""From the start of the unit to READY and to the first sample; and what the unit costs after an orderly stop."""

import time
from statistics import median
from typing import NamedTuple

from vm.lab import Lab, unix

BOOTS = 3
MOST_SECONDS = 0.4 * (6.8 + 1.8)
"""From the start of the unit to the first sample: 40 % of what it took before."""
STOPS = 5
STOP_SECONDS = 0.3
"""A shell is started that sees that there is nothing to do: no more than that."""
UNIT = "recorder-agent.service"
PROPERTIES = (
    "InactiveExitTimestampMonotonic",
    "ExecMainStartTimestampMonotonic",
    "ActiveEnterTimestampMonotonic",
)
DEVICE = "/dev/snd/pcmC0D0c"
OFFSET = "python3 -c 'import time; print(time.time() - time.monotonic())'"
REFERENCE = "cd /lab && python3 -c 'import measure; print(measure.reference_seconds())'"
EXIT, INACTIVE = "ExecMainExitTimestampMonotonic", "InactiveEnterTimestampMonotonic"
STOP = f"""for number in $(seq {STOPS}); do
systemctl start {UNIT}; sleep 2; systemctl stop {UNIT}
systemctl show -p {EXIT} -p {INACTIVE} {UNIT}
done"""
OTHERS, CROWDED_SECONDS = 4, 6.0
"""Busy services. Without a weight of its own it took 9.3 s beside them, with it 3.2 s."""
DROP_IN = f"/run/systemd/system/{UNIT}.d/vm-start.conf"
QUOTA_PERCENT, START_TIMEOUT_SECONDS = 10, 20
"""A machine so slow that a start takes longer than systemd waits, unless it is told that it goes on."""


class Start(NamedTuple):
    """Seconds of the kernel's monotonic clock."""

    unit: float
    process: float
    ready: float
    card: float
    """Its device was there."""
    sample: float


def run(lab: Lab) -> None:
    """Boot some times, and judge the median; then stop it some times."""
    starts = []
    for _ in range(BOOTS):
        lab.power_on()
        lab.machine.wait_ready()
        lab.wait_stream(4)
        starts.append(measured(lab))
        if len(starts) < BOOTS:
            lab.machine.power_off()
    lab.machine.run(f"systemctl restart {UNIT}")
    lab.wait_stream(4)
    for name, start in [*(("boot", start) for start in starts), ("start alone", measured(lab))]:
        process, ready, card, sample = (at - start.unit for at in start[1:])
        lab.findings.figure(
            name, f"unit {start.unit:.1f} s after the kernel; then process +{process:.2f} s, READY +{ready:.2f} s,"
            f" the card +{card:.2f} s, first sample +{sample:.2f} s",
        )  # fmt: skip
    loop = float(lab.machine.run(REFERENCE).output)
    added = median(start.sample - start.unit for start in starts)
    lab.findings.check("unit_to_first_sample", f"{added:.2f} s ({added / loop:.0f} reference loops)",
                       f"{MOST_SECONDS:.1f} s", good=added <= MOST_SECONDS)  # fmt: skip
    stops(lab)
    crowded(lab)
    slow(lab)
    lab.machine.power_off()


def measured(lab: Lab) -> Start:
    """Read the times of the last start."""
    machine = lab.machine
    lines = machine.run(
        f"systemctl show {' '.join(f'-p {name}' for name in PROPERTIES)} {UNIT}"
    ).output.split()
    times = {key: int(value) / 1e6 for key, _, value in (line.partition("=") for line in lines)}
    offset = float(machine.run(OFFSET).output)
    first = machine.json("cat /run/recorder-agent/status.json")["recording"]["started_at"]
    unit, process, ready = (times[name] for name in PROPERTIES)
    card = float(machine.run(f"stat -c %.Z {DEVICE}").output)
    return Start(unit, process, ready, card - offset, unix(first) - offset)


def stops(lab: Lab) -> None:
    """Measure from the end of the process to the end of the unit, with and without what follows a stop."""
    with_it = pauses(lab.machine.run(STOP, 180).output)
    drop_in(lab, "ExecStopPost=")
    without = pauses(lab.machine.run(STOP, 180).output)
    drop_in(lab)
    if not with_it or not without:
        lab.findings.check("stop_post", "not measured", f"{STOP_SECONDS} s", good=False)
        return
    cost = median(with_it) - median(without)
    figure = f"{cost:.2f} s more than without ({median(with_it):.2f} s and {median(without):.2f} s)"
    lab.findings.check("stop_post", figure,
                       f"{STOP_SECONDS} s", good=cost <= STOP_SECONDS)  # fmt: skip


def crowded(lab: Lab) -> None:
    """Start it beside other services that take all the processor there is: its weight brings it before them."""
    lab.machine.run(
        f"for number in $(seq {OTHERS}); do systemd-run -q --unit=busy$number sh -c 'while :; do :; done'; done"
    )
    lab.machine.run(f"systemctl restart {UNIT}")
    lab.wait_stream(4)
    start = measured(lab)
    lab.machine.run("systemctl stop 'busy*.service'")
    taken = start.ready - start.unit
    lab.findings.check("ready_beside_busy_services", f"{taken:.1f} s", f"{CROWDED_SECONDS:.0f} s",
                       good=taken <= CROWDED_SECONDS)  # fmt: skip


def slow(lab: Lab) -> None:
    """Start it with a tenth of a processor and less time than that takes: systemd waits, because it is told to."""
    drop_in(lab, f"CPUQuota={QUOTA_PERCENT}%", f"TimeoutStartSec={START_TIMEOUT_SECONDS}")
    began = time.monotonic()
    answer = lab.machine.run(f"systemctl start {UNIT}; systemctl show -p NRestarts --value {UNIT}", 240)
    taken = time.monotonic() - began
    lab.findings.check("slow_start", f"{taken:.0f} s, {answer.output.strip()} restarts",
                       f"more than {START_TIMEOUT_SECONDS} s, 0 restarts",
                       good=taken > START_TIMEOUT_SECONDS and answer.output.strip() == "0")  # fmt: skip
    drop_in(lab)


def drop_in(lab: Lab, *lines: str) -> None:
    """Change the unit until the next boot, or change it back."""
    text = "\n".join(("[Service]", *lines))
    lab.machine.run(f"mkdir -p $(dirname {DROP_IN}); echo '{text}' >{DROP_IN}; systemctl daemon-reload")


def pauses(output: str) -> list[float]:
    """Return the seconds from each end of the process to that of the unit, as ``systemctl show`` prints them in µs."""
    found: dict[str, list[int]] = {EXIT: [], INACTIVE: []}
    for line in output.splitlines():
        key, _, value = line.partition("=")
        if key in found and value.isdigit():
            found[key].append(int(value))
    return [(end - process) / 1e6 for process, end in zip(found[EXIT], found[INACTIVE], strict=True)]
