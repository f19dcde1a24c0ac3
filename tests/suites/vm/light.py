"""The LED by its log: what was shown from one moment to another."""

import itertools
import re
from dataclasses import dataclass
from statistics import median

from vm.lab import Lab

SETTLE_SECONDS = 60
DROP_IN = "/run/systemd/system/recorder-agent.service.d/vm-led.conf"
LOG = "/run/led.log"


@dataclass(frozen=True)
class Shown:
    """A piece of the LED's life."""

    seconds: float
    on: list[float]
    off: list[float]

    @property
    def share(self) -> float:
        """How much of the time it was lit."""
        return sum(self.on) / max(0.01, sum(self.on) + sum(self.off))

    def __str__(self) -> str:
        on, off = (f"{median(each):.2f}" if each else "-" for each in (self.on, self.off))
        flashes = len(self.on) / self.seconds
        return f"lit {100 * self.share:.0f} %, {flashes:.2f} flashes a second, on {on} s, off {off} s"

    @property
    def is_recording(self) -> bool:
        """On, with one short gap every two seconds."""
        return self.share > 0.7 and 0.3 <= len(self.off) / self.seconds <= 0.7

    @property
    def is_no_microphone(self) -> bool:
        """Three blinks and a pause: two short gaps for each long one."""
        if len(self.off) < 5:
            return False
        pause = max(self.off)
        short = [each for each in self.off if each < 0.6 * pause]
        return 0.15 < self.share < 0.6 and 1.6 <= len(short) / max(1, len(self.off) - len(short)) <= 2.6


def set_up(lab: Lab) -> str:
    """Give the machine an LED of its own, and the recorder the right to it; return its name."""
    machine = lab.machine
    machine.run(f"setsid python3 /lab/led_probe.py >{LOG} 2>&1 </dev/null &")
    machine.wait_for(lambda: machine.run(f"grep -q capslock {LOG}").code == 0, SETTLE_SECONDS, 1)
    name = machine.run(f"head -1 {LOG}").output.strip()
    folder = f"/sys/class/leds/{name}"
    machine.run(
        f"mkdir -p $(dirname {DROP_IN}); printf '[Service]\\nReadWritePaths=-{folder}\\n' >{DROP_IN}; "
        f"chgrp recorder-agent {folder}/brightness {folder}/trigger; chmod g+w {folder}/brightness {folder}/trigger; "
        f'printf \'[led]\\ndriver = "sysfs"\\nname = "{name}"\\n\' >>/etc/recorder-agent/config.toml; '
        "systemctl daemon-reload; systemctl restart recorder-agent.service"
    )
    return name


def shown(lab: Lab, seconds: float) -> Shown:
    """Watch the LED for so long, by the machine's clock."""
    answer = lab.machine.run(f"date +%s.%N; sleep {seconds}; date +%s.%N; cat {LOG}", seconds + 60)
    lines = answer.output.splitlines()
    start, end = float(lines[0]), float(lines[1])
    changes = [
        (float(found[1]), int(found[2]))
        for line in lines[2:]
        if (found := re.fullmatch(r"(\S+) (\d+)", line))
    ]
    within = [change for change in changes if start <= change[0] <= end]
    on: list[float] = []
    off: list[float] = []
    for (at, value), (until, _) in itertools.pairwise(within):
        (on if value else off).append(until - at)
    return Shown(end - start, on, off)
