"""The sound cards the kernel knows, each with an id that survives a reboot and another order of plugging."""

import contextlib
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from agent.text import shown

COMMON_RATES = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
"""Hz; what is named of a device that takes any rate within a range."""

_PCM = re.compile(r"pcm(?:C\d+D)?(\d+)c")
_OWNER = re.compile(r"^owner_pid\s*:\s*([1-9][0-9]{0,9})\s*$", re.MULTILINE)
_LONGEST_NAME = 32
_CAPTURE_FACT = re.compile(r"^\s+(Channels|Rates): (.+)$", re.MULTILINE)


class Card(NamedTuple):
    """One sound card as it is now."""

    number: int
    """ALSA's number: another one after each plugging."""
    card_id: str
    """ALSA's id, as in ``hw:CARD=<id>``: unique, but two equal cards swap theirs."""
    name: str
    """For a person."""
    ids: tuple[str, ...]
    """Stable ids it answers to, the shortest first; all of them contain all that the ones before say."""
    stable_id: str
    """The shortest of them that no other card has: what ``devices`` shows."""
    capture_device: int | None
    """The first device of the card that captures, or None: it only plays."""
    channel_counts: tuple[int, ...] | None
    """How many channels it can capture, ascending; None: the kernel does not tell."""
    sample_rates: tuple[int, ...] | None
    """Hz it can capture at, ascending; None: the kernel does not tell."""

    @property
    def capture(self) -> bool:
        """Whether it has an input."""
        return self.capture_device is not None

    @property
    def channels(self) -> int | None:
        """The most channels it can capture."""
        return max(self.channel_counts) if self.channel_counts else None


class SoundCards:
    """Lists the cards from sysfs, with what /proc/asound adds."""

    def __init__(self, sysfs_root: Path = Path("/sys"), proc_root: Path = Path("/proc")) -> None:
        self._sysfs = sysfs_root
        self._proc = proc_root
        self._asound = proc_root / "asound"

    def present(self) -> list[Card]:
        """Return the cards of this moment by number; a card that vanishes meanwhile is left out.

        A USB card is ``usb-<vendor>:<product>-<serial>``, without a serial ``…-<port path>``. When two cards
        share a serial (cheap ones all say the same) each is shown with its port path behind it, and when even
        that is shared (two functions of one device) with its interface behind that. A card answers to its
        longer ids even while a shorter one would do. Any other card's stable id is ALSA's id.
        """
        cards = []
        for folder in self._sysfs.glob("class/sound/card[0-9]*"):
            try:
                cards.append(self._card(folder))
            except (OSError, ValueError):
                continue
        taken = Counter(identifier for card in cards for identifier in card.ids)
        named = [card._replace(stable_id=_first_unique(card, taken)) for card in cards]
        return sorted(named, key=lambda card: card.number)

    def holder(self, card: Card | None) -> str | None:
        """Return which program has opened the input of a card, or of any when none is given; None: none has.

        Its name is what the kernel calls it; of another user's, a service may see no more than the number.
        """
        which = "card*/pcm*c" if card is None else f"card{card.number}/pcm{card.capture_device or 0}c"
        for path in sorted(self._asound.glob(f"{which}/sub*/status")):
            try:
                found = _OWNER.search(path.read_text(errors="replace"))
            except OSError:
                continue
            if found is not None:
                return self._program(found[1])
        return None

    def _program(self, number: str) -> str:
        with contextlib.suppress(OSError):
            name = (self._proc / number / "comm").read_text(errors="replace").strip()[:_LONGEST_NAME]
            if name:
                return f"{shown(name)} (process {number})"
        return f"process {number}"

    def capturing(self) -> list[Card]:
        """Return the cards that have an input."""
        return [card for card in self.present() if card.capture]

    def _card(self, folder: Path) -> Card:
        number = int(folder.name.removeprefix("card"))
        card_id = (folder / "id").read_text().strip()
        interface = (folder / "device").resolve()
        usb = self._usb_device(interface)
        counts, rates = self._capture_facts(number)
        return Card(
            number=number,
            card_id=card_id,
            name=self._long_name(number) or (usb and _attribute(usb, "product")) or card_id,
            ids=_usb_ids(usb, interface) if usb else (card_id,),
            stable_id=card_id,
            capture_device=self._capture_device(number, folder),
            channel_counts=counts,
            sample_rates=rates,
        )

    def _usb_device(self, interface: Path) -> Path | None:
        top = self._sysfs.resolve()
        for folder in (interface, *interface.parents):
            if folder == top:
                return None
            if (folder / "idVendor").exists():
                return folder
        return None

    def _long_name(self, number: int) -> str:
        """Return ALSA's name from /proc/asound/cards: `` 1 [Device         ]: USB-Audio - A name``."""
        try:
            text = (self._asound / "cards").read_text(errors="replace")
        except OSError:
            return ""
        found = re.search(rf"^\s*{number} \[.*?\]: (?:.*? - )?(.+)$", text, re.MULTILINE)
        return found[1].strip() if found else ""

    def _capture_device(self, number: int, folder: Path) -> int | None:
        names = [path.name for path in folder.glob("pcmC*c")]
        names += [path.name for path in (self._asound / f"card{number}").glob("pcm*c")]
        return min((int(found[1]) for name in names if (found := _PCM.fullmatch(name))), default=None)

    def _capture_facts(self, number: int) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
        """Return channel counts and rates from the ``stream`` files that USB cards have."""
        channels: set[int] = set()
        rates: set[int] = set()
        for path in (self._asound / f"card{number}").glob("stream[0-9]*"):
            _, _, capture = path.read_text(errors="replace").partition("\nCapture:")
            for key, value in _CAPTURE_FACT.findall(capture):
                if key == "Channels":
                    channels.add(int(value))
                else:
                    rates.update(_rates(value))
        return tuple(sorted(channels)) or None, tuple(sorted(rates)) or None


def _first_unique(card: Card, taken: Counter[str]) -> str:
    return next((identifier for identifier in card.ids if taken[identifier] == 1), card.card_id)


def _rates(value: str) -> list[int]:
    """Read ``48000, 44100`` or ``8000 - 48000 (continuous)``."""
    numbers = [int(number) for number in re.findall(r"\d+", value)]
    if "continuous" in value:
        return [rate for rate in COMMON_RATES if min(numbers) <= rate <= max(numbers)]
    return numbers


def _usb_ids(device: Path, interface: Path) -> tuple[str, ...]:
    product = f"usb-{_attribute(device, 'idVendor')}:{_attribute(device, 'idProduct')}"
    serial = re.sub(r"[^!-~]+", "_", _attribute(device, "serial")).strip("_")
    # The folder's name is the port path ("1-1.2"); the interface's adds ":<configuration>.<number>".
    tails = [serial] if serial else []
    tails.append("-".join([*tails, device.name]))
    tails.append(tails[-1] + interface.name.removeprefix(device.name))
    return tuple(f"{product}-{tail}" for tail in tails)


def _attribute(device: Path, name: str) -> str:
    try:
        return (device / name).read_text(errors="replace").strip()
    except OSError:
        return ""
