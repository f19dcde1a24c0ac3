"""The capture volume of a sound card, by ``amixer`` of alsa-utils: seen, and set at each opening.

amixer is what Debian keeps, knows every card through ALSA's simple mixer, and is there with alsa-utils anyway; it is
run for a moment, so that no library of the mixer stays in the process.
"""

import os
import re
import subprocess
from typing import Any, Final, NamedTuple

from agent import text
from agent.errors import MicrophoneError
from agent.hints import typed
from agent.host.sound_cards import Card
from agent.log import get_logger

log = get_logger(__name__)

SECONDS: Final = 2.0
"""How long amixer may take: a card that hangs must not hold up the opening."""
REASON_CHARS: Final = 300
"""Of what amixer complains of: with a broken ALSA configuration it does so by the page."""
PREFERRED: Final = ("capture", "mic", "microphone", "adc", "internal mic", "front mic", "line")
"""Which control is the one, where a card has more than one with a capture volume."""

_HEAD = re.compile(r"^Simple mixer control '(.*)',(\d+)$")
_VALUE = re.compile(r"\bCapture -?\d+ \[(\d+)%\]|: (?:Capture )?-?\d+ \[(\d+)%\]")
_SWITCH = re.compile(r"\bCapture .*\[(on|off)\]|: (?:Capture )?(?:-?\d+ )?(?:\[[^]]*\] )*\[(on|off)\]")


class CaptureControl(NamedTuple):
    """A control of a card's mixer that says how loud it captures."""

    control: str
    """Its name, as alsamixer shows it."""
    number: int
    """Which of those of that name."""
    percent: int | None
    """Of its quietest channel."""
    on: bool | None
    """Its capture switch; None: it has none."""

    @property
    def is_closed(self) -> bool:
        """Whether it is switched off, or turned all the way down."""
        return self.on is False or self.percent == 0

    @property
    def facts(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"control": self.control, "percent": self.percent, "on": self.on}

    @classmethod
    def of(cls, facts: dict[str, Any] | None) -> "CaptureControl | None":
        """Return what ``facts`` gave, without its number."""
        return None if facts is None else cls(facts["control"], 0, facts["percent"], facts["on"])

    @property
    def words(self) -> str:
        """Say it for a person."""
        switch = {True: ", on", False: ", switched off", None: ""}[self.on]
        return f"{self.control} {'–' if self.percent is None else self.percent} %{switch}"


class CaptureVolume:
    """Sets the capture volume at each opening; one that has none, or refuses, is said once, and opened."""

    def __init__(self, percent: int) -> None:
        self._percent = percent
        self._said = ""

    def apply(self, card: Card | None, name: str) -> None:
        """Set it, where the settings want that; ``card`` None: it cannot be told which one it is."""
        if not self._percent:
            return
        problem = (
            f"it cannot be told which sound card {name} is: audio.capture_volume_percent does nothing; set audio.input "
            f"to an id of {typed('devices')}"
        )
        if card is not None:
            try:
                control = set_capture(card.card_id, self._percent)
            except MicrophoneError as error:
                problem = str(error)
            else:
                if control is not None:
                    self._say_set(name, control)
                    return
                problem = f"{name} has no capture volume: audio.capture_volume_percent does nothing"
        if problem != self._said:
            log.warning("the capture volume was not set", action="capture_volume_failed", reason=problem)
        self._said = problem

    def _say_set(self, name: str, control: CaptureControl) -> None:
        if control.words != self._said:
            log.info(
                "the capture volume is set",
                action="capture_volume_set",
                microphone=name,
                control=control.control,
                percent=control.percent,
            )
        self._said = control.words


def capture_control(card: str) -> CaptureControl | None:
    """Return the control of a card (its number or id); None: the card has none.

    Raises:
        MicrophoneError: amixer is missing, hangs, or cannot speak with the card.
    """
    return control_of(_amixer(card, "scontents"))


def capture_control_or_none(card: str) -> CaptureControl | None:
    """Return the control of a card; None also where amixer cannot tell it."""
    try:
        return capture_control(card)
    except MicrophoneError:
        return None


def set_capture(card: str, percent: int) -> CaptureControl | None:
    """Set the capture volume of a card, and switch it on; return how it is then, None: it has no control for that.

    Raises:
        MicrophoneError: as ``capture_control``.
    """
    control = capture_control(card)
    if control is None:
        return None
    words = [f"'{control.control}',{control.number}", "capture", f"{percent}%"]
    said = _amixer(card, "sset", *words, *(["cap"] if control.on is not None else []))
    return control_of(said) or control  # it says nothing where nothing could be set


def control_of(listing: str) -> CaptureControl | None:
    """Read what ``amixer scontents`` lists; return the control that is preferred."""
    found = []
    for part in re.split(r"^(?=Simple mixer control )", listing, flags=re.MULTILINE):
        lines = part.splitlines()
        head = _HEAD.match(lines[0]) if lines else None
        if head is None:
            continue
        capabilities = next((line.split(":", 1)[1] for line in lines if "Capabilities:" in line), "").split()
        is_boost = "boost" in head[1].casefold()
        if "cvolume" in capabilities or ("volume" in capabilities and "Capture channels:" in part):
            found.append((is_boost, _rank(head[1]), _control(head[1], int(head[2]), lines, capabilities)))
    return min(found, key=lambda each: each[:2])[2] if found else None


def _rank(name: str) -> int:
    name = name.casefold()
    return PREFERRED.index(name) if name in PREFERRED else len(PREFERRED)


def _control(name: str, index: int, lines: list[str], capabilities: list[str]) -> CaptureControl:
    values, switches = [], []
    for line in lines:
        if (value := _VALUE.search(line)) and "Limits:" not in line:
            if "Playback" in line and "Capture" not in line:
                continue
            values.append(int(value[1] or value[2]))
            switch = _SWITCH.search(line)
            if switch is not None and any(word.startswith("cswitch") for word in capabilities):
                switches.append((switch[1] or switch[2]) == "on")
    return CaptureControl(name, index, min(values, default=None), all(switches) if switches else None)


def _amixer(card: str, *words: str) -> str:
    try:
        run = subprocess.run(
            ["amixer", "-c", card, *words],  # noqa: S607 - wherever it is
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise MicrophoneError(
            f"The mixer of the card {card} hangs", "unplug the card and plug it in again"
        ) from error
    except FileNotFoundError as error:
        raise MicrophoneError(
            "The capture volume needs amixer", "`sudo apt-get install alsa-utils` brings it"
        ) from error
    except OSError as error:
        raise MicrophoneError(
            f"amixer does not start ({error})", "`sudo apt-get install --reinstall alsa-utils`"
        ) from error
    if run.returncode:
        reason = text.cut(" ".join(run.stderr.split()), REASON_CHARS) or f"exit code {run.returncode}"
        raise MicrophoneError(
            f"The mixer of the card {card} cannot be used ({reason})", f"see `alsamixer -c {card}`"
        )
    return run.stdout
