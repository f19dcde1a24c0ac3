"""What a USB microphone plays: the code of this host's time, behind a switch and a volume."""

import numpy as np
from timecode import RATE, SLOT_SECONDS, Samples, slot

QUIETEST, LOUDEST, VOLUME_STEP = -0x3000, 0x1000, 0x100
"""Volume in 1/256 dB. At its loudest the code is far beyond what 16 bits hold."""
AS_MADE = 0
PAUSE_SECONDS, PAUSE_EVERY, PAUSE_GAIN = 1, 4, 0.01
"""With pauses, one second of each four is so much quieter: something stands out, as with speech."""
FULL = 32_767


class UsbSound:
    """The sound of one device; ``offset`` is added to the numbers of the code, so that its sound names it."""

    def __init__(self, offset: int, channels: int) -> None:
        self._offset, self._channels = offset, channels
        self._slots: dict[int, Samples] = {}
        self.rate = RATE
        self.muted = False
        self.volume = AS_MADE
        self.silent = False
        self.pauses = False

    def packet(self, began: float, sent_ms: int) -> bytes:
        """Return the samples of all channels of one millisecond of a stream that began at a host time."""
        count = (sent_ms + 1) * self.rate // 1000 - sent_ms * self.rate // 1000
        if self.silent or self.muted:
            return bytes(2 * count * self._channels)
        at = began + sent_ms / 1000
        number = int(at / SLOT_SECONDS)
        first = round((at - number * SLOT_SECONDS) * RATE)
        where = first + np.arange(count) * RATE // self.rate
        length = round(SLOT_SECONDS * RATE)
        both = np.concatenate((self._code(number), self._code(number + 1)))
        sound = both[np.minimum(where, 2 * length - 1)]
        gain = 10 ** (self.volume / 256 / 20)
        if self.pauses and int(at) % PAUSE_EVERY < PAUSE_SECONDS:
            gain *= PAUSE_GAIN
        if gain != 1:
            sound = np.clip(np.rint(sound * gain), -FULL - 1, FULL).astype(np.int16)
        return bytes(np.repeat(sound, self._channels).tobytes())

    def _code(self, number: int) -> Samples:
        number = (number + self._offset) & 0xFFFF
        if number not in self._slots:
            if len(self._slots) > 4:
                self._slots.clear()
            self._slots[number] = slot(number)
        return self._slots[number]
