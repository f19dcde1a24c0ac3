"""A keyboard's LED that is no keyboard: a real folder in /sys/class/leds, every change of which is logged.

Prints the name of the LED first, then a line for each change: time, brightness.
"""

import fcntl
import os
import struct
import time
from pathlib import Path

EV_LED, LED_CAPSL = 0x11, 0x01
UI_SET_EVBIT, UI_SET_LEDBIT, UI_DEV_SETUP, UI_DEV_CREATE = 0x40045564, 0x40045569, 0x405C5503, 0x5501
EVENT = struct.Struct("llHHi")
NAME = b"LED probe"


def folder() -> Path:
    """Return the folder of the LED that belongs to this device."""
    for device in Path("/sys/devices/virtual/input").glob("input*"):
        if (device / "name").read_text().strip() == NAME.decode():
            return next(device.glob("input*::capslock"))
    raise FileNotFoundError("the kernel has made no LED for the device")


def main() -> None:
    """Make the device, and log until killed."""
    device = os.open("/dev/uinput", os.O_RDWR)
    fcntl.ioctl(device, UI_SET_EVBIT, EV_LED)
    fcntl.ioctl(device, UI_SET_LEDBIT, LED_CAPSL)
    fcntl.ioctl(device, UI_DEV_SETUP, struct.pack("HHHH80sI", 3, 1, 1, 1, NAME, 0))
    fcntl.ioctl(device, UI_DEV_CREATE)
    time.sleep(0.5)
    print(folder().name, flush=True)
    while True:
        _, _, kind, code, value = EVENT.unpack(os.read(device, EVENT.size))
        if kind == EV_LED and code == LED_CAPSL:
            print(f"{time.time():.3f} {value}", flush=True)


if __name__ == "__main__":
    main()
