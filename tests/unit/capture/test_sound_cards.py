"""Sound cards out of sysfs and /proc/asound, their stable ids, and how an input's name finds them."""

from pathlib import Path

import pytest

from agent.capture.devices import resolve_input
from agent.errors import MicrophoneError
from agent.host.sound_cards import Card, SoundCards

STREAM = """\
Maker USB Mic at usb-0000:01:00.0-1.2, full speed : USB Audio

Playback:
  Status: Stop
  Interface 1
    Altset 1
    Format: S16_LE
    Channels: 8
    Rates: 192000

Capture:
  Status: Stop
  Interface 2
    Altset 1
    Format: S16_LE
    Channels: 1
    Rates: 44100, 48000
  Interface 2
    Altset 2
    Format: S16_LE
    Channels: 2
    Rates: 8000 - 24000 (continuous)
"""


class Machine:
    """A fake /sys and /proc that cards are plugged into; laid out as the kernel does it."""

    def __init__(self, root: Path) -> None:
        self.sys, self.proc = root / "sys", root / "proc"
        (self.sys / "class/sound").mkdir(parents=True)
        (self.proc / "asound").mkdir(parents=True)

    def cards(self) -> SoundCards:
        """Return the lister of this machine."""
        return SoundCards(self.sys, self.proc)

    def plug_usb(
        self, number: int, card_id: str, port: str, *, serial: str = "", function: str = "1.0"
    ) -> None:
        """Plug in a USB microphone; the same port again adds a function to the device."""
        device = self.sys / "devices/platform/soc/usb1" / port.partition(".")[0] / port
        device.mkdir(parents=True, exist_ok=True)
        (device.parent / "idVendor").write_text("1d6b\n")
        facts = {"idVendor": "0d8c", "idProduct": "0014", "product": "USB Mic", "serial": serial}
        for name, value in facts.items():
            if value:
                (device / name).write_text(value + "\n")
        self._card(device / f"{port}:{function}", number, card_id, "pcmC{}D0c")

    def plug_platform(self, number: int, card_id: str, pcm: str) -> None:
        """Plug in a card that is no USB device."""
        self._card(self.sys / "devices/platform/soc/sound", number, card_id, pcm)

    def describe(self, lines: str) -> None:
        """Fill /proc/asound/cards."""
        (self.proc / "asound/cards").write_text(lines)

    def _card(self, parent: Path, number: int, card_id: str, pcm: str) -> None:
        folder = parent / f"sound/card{number}"
        (folder / pcm.format(number)).mkdir(parents=True)
        (folder / "id").write_text(card_id + "\n")
        (folder / "device").symlink_to(parent)
        (self.sys / f"class/sound/card{number}").symlink_to(folder)


BUSY = """\
state: RUNNING
owner_pid   : 4711
trigger_time: 1234.567890123
"""


class Opened:
    """What /proc/asound says of an input."""

    def __init__(self, machine: Machine, number: int, device: int = 0) -> None:
        self._machine = machine
        self._status = machine.proc / f"asound/card{number}/pcm{device}c/sub0/status"
        self._status.parent.mkdir(parents=True)
        self._status.write_text("closed\n")

    def by(self, program: str | None) -> None:
        """Let a program have it; None: the kernel hides its name."""
        self._status.write_text(BUSY)
        if program is not None:
            (self._machine.proc / "4711").mkdir()
            (self._machine.proc / "4711/comm").write_text(program + "\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_usb_card_is_known_by_its_serial(machine: Machine) -> None:
    """Vendor, product and serial make the id, wherever the device is plugged."""
    machine.plug_usb(1, "Mic", "1-1.2", serial="AB 12")
    [card] = machine.cards().present()
    assert card.stable_id == "usb-0d8c:0014-AB_12"
    assert (card.number, card.card_id, card.name, card.capture_device) == (1, "Mic", "USB Mic", 0)


def test_equal_cards_without_serial_differ_by_port(tmp_path: Path) -> None:
    """Two identical microphones are told apart, and keep their ids when their numbers and ALSA ids swap."""
    for ports in (["1-1.2", "1-1.3"], ["1-1.3", "1-1.2"]):
        machine = Machine(tmp_path / ports[0])
        machine.plug_usb(1, "Mic", ports[0])
        machine.plug_usb(2, "Mic_1", ports[1])
        ids = [card.stable_id for card in machine.cards().present()]
        assert ids == [f"usb-0d8c:0014-{port}" for port in ports]


def test_a_duplicate_serial_is_told_apart_by_port(machine: Machine) -> None:
    """Cards that lie about their serial show the port behind it, and still answer to that when alone."""
    machine.plug_usb(1, "Mic", "1-1.2", serial="0001")
    alone = machine.cards().present()
    machine.plug_usb(2, "Mic_1", "1-1.3", serial="0001")
    both = machine.cards().present()
    assert [card.stable_id for card in alone] == ["usb-0d8c:0014-0001"]
    assert [card.stable_id for card in both] == ["usb-0d8c:0014-0001-1-1.2", "usb-0d8c:0014-0001-1-1.3"]
    assert resolve_input(both[0].stable_id, alone)[0].card == alone[0]
    with pytest.raises(MicrophoneError, match=r"0001-1-1\.2 .*0001-1-1\.3"):
        resolve_input("usb-0d8c:0014-0001", both)


def test_two_functions_of_one_device_differ_by_interface(machine: Machine) -> None:
    """One USB device that makes two cards gives two ids."""
    machine.plug_usb(1, "Mic", "1-1.2", serial="7")
    machine.plug_usb(2, "Mic_1", "1-1.2", serial="7", function="1.3")
    ids = [card.stable_id for card in machine.cards().present()]
    assert ids == ["usb-0d8c:0014-7-1-1.2:1.0", "usb-0d8c:0014-7-1-1.2:1.3"]


def test_other_cards_are_known_by_alsas_id(machine: Machine) -> None:
    """An I2S card is its ALSA id, its name comes from /proc, and the first device that captures counts."""
    machine.plug_platform(0, "sndrpii2s", "pcmC{}D1c")
    machine.describe(" 0 [sndrpii2s      ]: simple-card - snd_rpi_i2s\n                      snd_rpi_i2s\n")
    [card] = machine.cards().present()
    assert (card.stable_id, card.name, card.capture_device) == ("sndrpii2s", "snd_rpi_i2s", 1)
    assert (card.channels, card.sample_rates) == (None, None)


def test_a_card_that_only_plays_is_no_microphone(machine: Machine) -> None:
    """HDMI is a card, but not among those that capture."""
    machine.plug_platform(0, "vc4hdmi", "pcmC{}D0p")
    assert [card.capture for card in machine.cards().present()] == [False]
    assert machine.cards().capturing() == []


def test_channels_and_rates_are_those_of_the_capture_side(machine: Machine) -> None:
    """The stream file of a USB card tells both, with ranges; its playback side does not count."""
    machine.plug_usb(1, "Mic", "1-1.2")
    (machine.proc / "asound/card1").mkdir()
    (machine.proc / "asound/card1/stream0").write_text(STREAM)
    [card] = machine.cards().present()
    assert (card.channel_counts, card.channels) == ((1, 2), 2)
    assert card.sample_rates == (8000, 11025, 16000, 22050, 24000, 44100, 48000)


def test_a_card_that_vanishes_while_listed_is_left_out(machine: Machine) -> None:
    """A dangling link in /sys/class/sound, as in the middle of an unplugging, hides only that card."""
    machine.plug_usb(2, "Mic", "1-1.2")
    (machine.sys / "class/sound/card1").symlink_to(machine.sys / "gone")
    assert [card.number for card in machine.cards().present()] == [2]


def test_a_machine_without_sound_has_no_cards(tmp_path: Path) -> None:
    """Neither /sys/class/sound nor /proc/asound need exist."""
    assert SoundCards(tmp_path / "sys", tmp_path / "proc").present() == []


def _card(number: int, stable_id: str, name: str, *, capture: bool = True) -> Card:
    return Card(number, f"C{number}", name, (stable_id,), stable_id, 0 if capture else None, None, None)


USB = _card(1, "usb-0d8c:0014-1-1.2", "USB PnP Sound Device")
I2S = _card(2, "sndrpii2s", "snd_rpi_i2s")
HDMI = _card(0, "vc4hdmi", "USB to HDMI", capture=False)


@pytest.mark.parametrize("wanted", ["usb-0d8c:0014-1-1.2", "C1", "pnp sound", "USB"])
def test_an_input_finds_its_card(wanted: str) -> None:
    """By stable id, ALSA id, or a part of the name in any case; cards that only play are out of the race."""
    [target] = resolve_input(wanted, [HDMI, USB, I2S])
    assert (target.id, target.name, target.card) == (USB.stable_id, USB.name, USB)


def test_default_falls_back_to_the_only_card() -> None:
    """ALSA's default comes first, then the card, unless there are two to choose from."""
    assert [target.id for target in resolve_input("default", [HDMI, USB])] == ["default", USB.stable_id]
    assert [target.id for target in resolve_input("default", [USB, I2S])] == ["default"]


def test_an_ambiguous_name_lists_the_candidates() -> None:
    """The sentence names both ids, so that one of them can be copied."""
    with pytest.raises(MicrophoneError, match=r"(?s)'s'.*usb-0d8c:0014-1-1\.2.*sndrpii2s"):
        resolve_input("s", [USB, I2S])


def test_an_absent_usb_device_lists_what_there_is() -> None:
    """A USB id that is not there is an error that names the cards that are."""
    with pytest.raises(MicrophoneError, match=r"usb-1:2-3 is not connected.*sndrpii2s"):
        resolve_input("usb-1:2-3", [I2S])


def test_any_other_name_is_a_pcm() -> None:
    """What no card answers to is left to ALSA."""
    [target] = resolve_input("dsnooped", [USB])
    assert (target.id, target.card) == ("dsnooped", None)


def test_this_machine_agrees_with_the_kernel() -> None:
    """On the machine of the test the list has as many cards as /proc/asound/cards."""
    listed = Path("/proc/asound/cards")
    numbers = (
        [line.split()[0] for line in listed.read_text().splitlines() if "]:" in line]
        if listed.exists()
        else []
    )
    assert [str(card.number) for card in SoundCards().present()] == numbers


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("arecord", "arecord (process 4711)"),
        (None, "process 4711"),
        ("", "process 4711"),
        ("\x1b[2Jevil", "\\x1b[2Jevil (process 4711)"),
    ],
)
def test_who_has_opened_an_input_is_told(machine: Machine, program: str | None, said: str) -> None:
    """By its name as far as it can be seen, never with its control characters; other cards have no holder."""
    machine.plug_usb(1, "Mic", "1-1.2", serial="AB12")
    machine.plug_usb(2, "Mic_1", "1-1.3", serial="CD34")
    first, second = machine.cards().present()
    opened, other = Opened(machine, 1), Opened(machine, 2)
    assert machine.cards().holder(first) is None
    assert machine.cards().holder(None) is None
    opened.by(program)

    assert machine.cards().holder(first) == said
    assert machine.cards().holder(second) is None
    assert machine.cards().holder(None) == said
    del other


@pytest.mark.parametrize(
    "status", ["", "closed\n", "state: RUNNING\n", "owner_pid   : -1\n", "owner_pid   : 0\n", "\0" * 99]
)
def test_a_status_that_names_nobody(machine: Machine, status: str) -> None:
    """Whatever the kernel writes there, no holder is made up."""
    machine.plug_usb(1, "Mic", "1-1.2", serial="AB12")
    folder = machine.proc / "asound/card1/pcm0c/sub0"
    folder.mkdir(parents=True)
    (folder / "status").write_text(status)
    assert machine.cards().holder(machine.cards().present()[0]) is None
