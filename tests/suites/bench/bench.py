"""What the agent costs, measured: processor against other encoders, memory, the first sample, delivery.

    bench.py            600 s of speech, five rounds, 10 min recording, 10 min idle; exit code 1 when an aim is missed
    bench.py --short    120 s of speech, three rounds, 10 s each; exit code 1 only beyond the bounds that noise leaves

Every figure has a control beside it that must miss the aim: a measurement that cannot fail says nothing.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))  # what all tests share

import bench_cpu
import bench_delivery
import bench_live
import bench_memory
from bench_cpu import AGENT, DEARER, FFMPEG, LOOP, OPUSENC, Costs, Spread, spread
from bench_device import FOLDER, Device

LOOP_AIM = 1.20
TOOL_AIM = 1.00
LIVE_AIM = 1.15
FIRST_SAMPLE_AIM = 0.4
DELIVERY_AIM = 0.7
# Not met: on two processors, start of the command included, the ratio spread from 0.86 to 1.15.
DELIVERY_BOUND = 1.3
WAITING = 25
STARTS, SHORT_STARTS = 9, 5
RECORDER_AIM_MIB, DELIVERER_AIM_MIB, CAPTURE_AIM_MIB = 20.0, 34.0, 12.0
WINDOW_SECONDS, SHORT_WINDOW_SECONDS = 600.0, 10.0

# One second of CPU is too little to be exact: on two processors with a load of 2 to 18 the ratio without start-up
# spread from 1.00 to 1.23 against the loop and from 0.71 to 1.05 against ffmpeg; complexity 10 gave 1.7 to 2.3.
SHORT_LOOP_BOUND = 1.50
SHORT_TOOL_BOUND = 1.40
# Of ten seconds, in which a heartbeat and a turn of each loop count for much: it spread from 0.98 to 1.21.
SHORT_LIVE_BOUND = 1.50


class Report:
    """Prints figures beside what they ought to be, and keeps what was missed."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def line(self, text: str = "") -> None:
        """Print a line."""
        print(text, flush=True)

    def judge(self, name: str, figure: float, bound: float, text: str, *, counts: bool = True) -> None:
        """Print a figure that should not be above a bound; one that does not count only says whether it is."""
        good = figure <= bound
        self.line(
            f"  {name:<34} {text:<34} {'aim' if counts else 'full aim'} ≤ {bound:g}: {'met' if good else 'MISSED'}"
        )
        if counts and not good:
            self.missed.append(name)

    def control(self, name: str, figure: float, bound: float) -> None:
        """Print a figure that must be above a bound."""
        seen = figure > bound
        self.line(f"  {name:<34} {figure:<34.2f} control > {bound:g}: {'seen' if seen else 'NOT SEEN'}")
        if not seen:
            self.missed.append(f"control: {name}")


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="What the agent costs.")
    parser.add_argument("--short", action="store_true", help="less audio, generous bounds; for CI")
    short = parser.parse_args().short
    began = time.monotonic()
    FOLDER.mkdir(exist_ok=True)
    device, report = Device(), Report()
    device.build()
    report.line(f"set-up: {time.monotonic() - began:.0f} s")
    _processor(device, report, short=short)
    _live(device, report, short=short)
    _service(device, report, short=short)
    _delivery(device, report)
    report.line(f"took {time.monotonic() - began:.0f} s")
    report.line(f"missed: {', '.join(report.missed)}" if report.missed else "all met")
    return 1 if report.missed else 0


def _processor(device: Device, report: Report, *, short: bool) -> None:
    audio_seconds, rounds = (120, 3) if short else (600, 5)
    costs = bench_cpu.measure(device, audio_seconds, rounds)
    report.line(
        f"\nCPU (user and system, whole process) for {audio_seconds} s of speech, {rounds} interleaved rounds\n"
        f"16 kHz mono, voip, complexity {bench_cpu.COMPLEXITY}, {bench_cpu.KBITS} kbit/s, "
        f"{bench_cpu.FRAME_MS} ms frames; {_versions()}\n"
        "opusenc resamples to 48 kHz first; the C loop is libopus alone and writes no Ogg\n"
    )
    _table(report, costs)
    report.line("\n  ratio, round by round              median (least–most)")
    whole = {name: costs.ratios(AGENT, name) for name in (LOOP, FFMPEG, OPUSENC)}
    bare = {name: costs.ratios(AGENT, name, without_start_up=True) for name in whole}
    for name, ratios in whole.items():
        aim = LOOP_AIM if name == LOOP else TOOL_AIM
        report.judge(f"agent / {name}", ratios.median, aim, _text(ratios), counts=not short)
    for name, ratios in bare.items():
        title, bound = (
            f"agent without start-up / {name}",
            SHORT_LOOP_BOUND if name == LOOP else SHORT_TOOL_BOUND,
        )
        if short:
            report.judge(title, ratios.median, bound, _text(ratios))
        else:
            report.line(f"  {title:<34} {_text(ratios)}")
    dearer = costs.ratios(DEARER, LOOP, without_start_up=short)
    report.control("agent at complexity 10 / C loop", dearer.median, SHORT_LOOP_BOUND if short else LOOP_AIM)


def _table(report: Report, costs: Costs) -> None:
    report.line("  CPU seconds                        median (least–most)            bytes written")
    for name, seconds in costs.seconds.items():
        report.line(f"  {name:<34} {_text(spread(seconds), 3):<30} {costs.sizes[name]:>9}")


def _service(device: Device, report: Report, *, short: bool) -> None:
    window = SHORT_WINDOW_SECONDS if short else WINDOW_SECONDS
    report.line(
        f"\nThe whole service for {window:g} s each, from a virtual microphone, with heartbeats, after a delivery\n"
        "PSS as the kernel counts it; alone: as if no other process had mapped the same files (libc, Python)"
    )
    for mode, title in (("continuous", "recording"), ("manual", "idle")):
        found = bench_memory.measure(device, FOLDER / "speech.wav", window, mode=mode)
        if (found.capture is None) != (mode == "manual"):
            raise SystemExit(
                f"{title}: the capture process is {'missing' if found.capture is None else 'there, unasked'}"
            )
        report.line(f"\n  {title}, {found.delivered} recording delivered")
        _resident(report, "recorder", found.recorder, RECORDER_AIM_MIB)
        _resident(report, "deliverer", found.deliverer, DELIVERER_AIM_MIB)
        if found.capture is not None:
            _resident(report, "capture process", found.capture, CAPTURE_AIM_MIB)
    report.line()
    for aim in (RECORDER_AIM_MIB, DELIVERER_AIM_MIB, CAPTURE_AIM_MIB):
        report.control(f"PSS of a process holding {aim:g} MiB", bench_memory.control(device, round(aim)), aim)


def _live(device: Device, report: Report, *, short: bool) -> None:
    window = SHORT_WINDOW_SECONDS if short else WINDOW_SECONDS
    live = bench_live.measure(device, FOLDER / "speech.wav", window)
    report.line(f"\nOne microphone, heard by all at once for {window:g} s (CPU seconds)")
    for name, seconds in live.seconds.items():
        report.line(f"  {name:<34} {seconds:.3f}")
    arecord, ffmpeg = (live.seconds[name] for name in (bench_live.ARECORD, bench_live.FFMPEG))
    ratio = live.service / arecord
    report.judge("three processes / arecord | opusenc", ratio, LIVE_AIM, f"{ratio:.2f}", counts=not short)
    bound = SHORT_LIVE_BOUND if short else LIVE_AIM
    if short:
        report.judge("the same, of a short window", ratio, bound, f"{ratio:.2f}")
    report.line(f"  three processes / ffmpeg           {live.service / ffmpeg:.2f}")
    twice = 2 * live.service / arecord
    report.control("all of it done twice", twice, bound)
    firsts = bench_cpu.spread(
        bench_live.first_samples(device, FOLDER / "speech.wav", SHORT_STARTS if short else STARTS)
    )
    ratio = firsts.median / FIRST_SAMPLE_AIM
    report.judge("first sample after exec / promise", ratio, 1.0, f"{ratio:.2f}; seconds {_text(firsts)}")


def _delivery(device: Device, report: Report) -> None:
    found = bench_delivery.measure(device, WAITING)
    report.line(f"\nDelivery of {WAITING} recordings that wait: {found.requests} requests")
    text = f"{found.ratio:.2f} ({found.agent:.2f} s, curl {found.curl:.2f} s)"
    report.judge("sync / curl once a request", found.ratio, DELIVERY_AIM, text, counts=False)
    report.judge("the same, as far as it has come", found.ratio, DELIVERY_BOUND, text)
    report.control("two of them one after the other", 2 * found.ratio, DELIVERY_BOUND)


def _resident(report: Report, name: str, resident: bench_memory.Resident, aim: float) -> None:
    memory, activity = resident
    text = f"{memory.pss:.1f} MiB (alone {memory.alone:.1f}, RSS {memory.rss:.1f})"
    report.judge(f"PSS of the {name}", memory.pss, aim, text)
    report.line(
        f"    a second: {activity.wake_ups:.1f} wake-ups, {activity.written:.0f} bytes written, "
        f"{100 * activity.cpu:.2f} % of a processor"
    )


def _text(found: Spread, digits: int = 2) -> str:
    return f"{found.median:.{digits}f} ({found.least:.{digits}f}–{found.most:.{digits}f})"


def _versions() -> str:
    """Return what the tools call themselves."""
    said = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n", 1)[0]
        for command in (["ffmpeg", "-version"], ["opusenc", "--version"])
    ]
    return f"{' '.join(said[0].split()[:3])}; {said[1]}"


if __name__ == "__main__":
    sys.exit(main())
