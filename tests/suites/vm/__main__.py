"""Runs the suite: ``python -m vm [--short] [--deb FILE] [PART...]``; exit code 0 when all is as expected."""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import priority

from vm import board, cards, control, cuts, long_run, short, startup, unplugs, volume, watchdogs
from vm.findings import Findings, known_reds, table, verdict
from vm.image import CACHE, PROJECT, Image, agent_image, mounted
from vm.lab import Lab, lab
from vm.machine import accelerator, require_tools
from vm.problem import CannotRunError

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT = ("var/log/journal", "var/lib/recorder-agent")
PARTS = ("cuts", "cards", "unplugs", "volume", "watchdogs", "start", "board", "long", "control")


def main() -> int:
    """Return the exit code."""
    wanted = arguments()
    signal.signal(signal.SIGTERM, interrupted)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", flush=True)

    findings = Findings(say)
    work = Path(tempfile.mkdtemp(prefix="recorder-agent-vm-", dir="/var/tmp"))
    try:
        require_tools()
        say(f"SEED={wanted.seed}, images are kept in {CACHE}")
        with priority.suite_preferred():
            run(wanted, work, findings, say)
    except CannotRunError as error:
        say(f"the suite cannot run: {error}")
        return 1
    finally:
        try:
            if wanted.keep:
                keep(work, wanted.keep)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    reds = known_reds()
    print(f"\n{table(findings.all, reds)}\n")
    for line in findings.not_run:
        print(f"not run: {line}")
    for key, reason in reds.items():
        print(f"known red: {key}: {reason}")
    failures = verdict(findings.all, reds)
    for line in failures:
        print(f"FAILED: {line}")
    say("failed" if failures else "as expected")
    return 1 if failures else 0


def run(wanted: argparse.Namespace, work: Path, findings: Findings, say: cuts.Say) -> None:
    """Run the parts that were asked for."""
    rng = random.Random(wanted.seed)
    image = agent_image(wanted.deb or newest_deb(), say)
    options, why = accelerator(image, work)
    say(why)
    if wanted.short:
        with lab(image, work / "short", findings, rng, options) as one:
            short.run(one)
            findings.host(one.machine.waited_share)
        return
    for part in wanted.parts or PARTS:
        say(f"part {part}")
        findings.begin(part)
        with lab(
            image_of(part, wanted, say),
            work / part,
            findings,
            rng,
            options,
            microphones=2 if part == "cards" else 1,
            with_line_in=part == "cards",
            channels=long_run.CHANNELS if part == "long" else 1,
        ) as one:
            run_part(part, one, wanted)
            findings.host(one.machine.waited_share)


def image_of(part: str, wanted: argparse.Namespace, say: cuts.Say) -> Image:
    """Return the image that a part needs."""
    deb = wanted.deb or newest_deb()
    if part == "control":
        return agent_image(deb, say, without_sync=True)
    return agent_image(deb, say, more_packages=long_run.PACKAGES if part == "long" else ())


def run_part(part: str, one: Lab, wanted: argparse.Namespace) -> None:
    """Run a part on a machine of its own."""
    runs: dict[str, Callable[[], object]] = {
        "cuts": lambda: cuts.run_with_each_flush(one, wanted.cuts),
        "cards": lambda: cards.run(one),
        "unplugs": lambda: unplugs.run(one, wanted.unplugs),
        "volume": lambda: volume.run(one),
        "watchdogs": lambda: watchdogs.run(one),
        "start": lambda: startup.run(one),
        "board": lambda: board.run(one),
        "long": lambda: long_run.run(one, wanted.minutes),
        "control": lambda: control.run(one),
    }
    runs[part]()
    if one.machine.is_on():
        one.machine.power_off()


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="make test-vm", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; all when none is named"
    )
    parser.add_argument("--short", action="store_true", help="three cuts, one unplug, the LED, one reboot")
    parser.add_argument("--deb", type=Path, help="the package; the newest in dist/ when left out")
    parser.add_argument("--cuts", type=int, default=12, help="power cuts in the part cuts")
    parser.add_argument("--unplugs", type=int, default=5, help="unplugs in the part unplugs")
    parser.add_argument("--minutes", type=int, default=3, help="minutes of sound in the part long")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--keep", type=Path, help="a folder for serial lines, journals and recordings")
    wanted = parser.parse_args()
    unknown = set(wanted.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}: {', '.join(PARTS)}")
    return wanted


def newest_deb() -> Path:
    """Return the package that was built last.

    Raises:
        CannotRunError: none was built.
    """
    built = sorted((PROJECT / "dist").glob("recorder-agent_*.deb"), key=lambda path: path.stat().st_mtime)
    if not built:
        raise CannotRunError("there is no package in dist/: run make deb.")
    return built[-1]


def keep(work: Path, folder: Path) -> None:
    """Copy what each lab leaves: serial lines, what the API was given, the machine's journal and recordings."""
    for lab_folder in work.glob("*/"):
        kept = folder / lab_folder.name
        kept.mkdir(parents=True, exist_ok=True)
        for log in lab_folder.glob("*.log"):
            shutil.copy(log, kept)
        _copy(lab_folder / "api", kept / "api")
        with mounted(lab_folder / "disk") as root:
            for inside in KEPT:
                _copy(root / inside, kept / Path(inside).name)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, symlinks=True)


def interrupted(number: int, frame: FrameType | None) -> None:
    """End in order, so that nothing is left running."""
    del frame
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
