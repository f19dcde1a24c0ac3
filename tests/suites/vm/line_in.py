"""What the emulated HDA card hears: the code of the time, by a PulseAudio that QEMU listens to through ALSA."""

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from timecode import SLOT_SECONDS, Player
from virtual_microphone import VirtualMicrophone

from vm.microphones import CODES_APART

NUMBER = 3
"""Its sound is that of a third microphone; it is some tenths of a second late."""
SETTINGS = 'pcm.line_in { type pulse device "mic" }\npcm.nothing { type null }\n'


class LineIn:
    """Plays from its beginning to its end; ``options`` and ``environment`` are what QEMU needs for it."""

    def __init__(self, folder: Path) -> None:
        self._microphone = VirtualMicrophone(folder / "line-in")
        settings = folder / "line-in" / "qemu.conf"
        settings.write_text(SETTINGS)
        self.environment = self._microphone.env | {"ALSA_CONFIG_PATH": str(settings)}
        self.options = [
            "-audiodev", "alsa,id=line,in.dev=line_in,out.dev=nothing,in.try-poll=off,out.try-poll=off",
            "-device", "intel-hda,id=hda", "-device", "hda-duplex,bus=hda.0,audiodev=line",
        ]  # fmt: skip
        code_zero = time.monotonic() - time.time() - (NUMBER - 1) * CODES_APART * SLOT_SECONDS
        self._player = Player(self._microphone.env, code_zero)

    def __enter__(self) -> Self:
        self._microphone.start()
        self._player.play()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._player.stop()
        self._microphone.stop()
