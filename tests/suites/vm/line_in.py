"""What the emulated HDA card hears: a file of code, which QEMU reads through ALSA at the pace of the machine."""

import time
from pathlib import Path

import numpy as np
from timecode import RATE, SLOT_SECONDS, slot

from vm.microphones import CODES_APART

NUMBER = 3
"""Its sound is that of a third microphone; only this, and not the time, can be judged by it."""
SECONDS = 240


def prepare(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Write the sound, and return the options of QEMU and the environment that it needs."""
    sound, settings = folder / "line-in.raw", folder / "line-in.conf"
    first = int(time.time() / SLOT_SECONDS) + (NUMBER - 1) * CODES_APART
    with sound.open("wb") as file:
        for number in range(first, first + round(SECONDS / SLOT_SECONDS)):
            file.write(np.repeat(slot(number & 0xFFFF, RATE), 2).tobytes())
    settings.write_text(
        f'pcm.line_in {{ type file slave.pcm {{ type null }} file "/dev/null" infile "{sound}" format "raw" }}\n'
        "pcm.nothing { type null }\n"
    )
    options = [
        "-audiodev", "alsa,id=line,in.dev=line_in,out.dev=nothing,in.try-poll=off,out.try-poll=off",
        "-device", "intel-hda,id=hda", "-device", "hda-duplex,bus=hda.0,audiodev=line",
    ]  # fmt: skip
    return options, {"ALSA_CONFIG_PATH": str(settings)}
