"""What the agent costs, measured: processor against other encoders, memory, the first sample, delivery, its rights.

    bench.py            600 s of speech, five rounds, ten minutes recording and idle; judged by what is promised
    bench.py --short    120 s of speech, three rounds, short windows; where a short look is too noisy for the promise,
                        judged by bounds that its own spread supports

Every figure has a control beside it that breaks what keeps it small (``bench_control``), and must miss the aim: a
measurement that cannot fail says nothing.
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
import bench_rights
from bench_cpu import AGENT, DEARER, FFMPEG, LOOP, OPUSENC, Costs
from bench_device import FOLDER, Device
from bench_spread import Spread, spread

LOOP_AIM = 1.20
TOOL_AIM = 1.00
LIVE_AIM = 1.15
WAKE_UPS_AIM = 35.0
"""A second, from PulseAudio, which wakes more often than a card."""
FIRST_SAMPLE_AIM = 0.4
DELIVERY_AIM = 0.7
WAITING = 25
DELIVERIES, SHORT_DELIVERIES = 11, 5
STARTS, SHORT_STARTS = 9, 5
RECORDER_AIM_MIB, DELIVERER_AIM_MIB, CAPTURE_AIM_MIB = 20.0, 34.0, 12.0
WINDOWS, SHORT_WINDOWS = 10, 9
LIVE_SECONDS, SHORT_LIVE_SECONDS = 60.0, 4.0
"""Many short windows, of which the median counts: what a busy machine does for seconds then concerns few of them."""
WINDOW_SECONDS, SHORT_WINDOW_SECONDS = 600.0, 10.0
CONTROL_SECONDS = 10.0

# One second of CPU is too little to be exact: on two processors with a load of 2 to 18 the ratio without start-up
# spread from 1.00 to 1.23 against the loop and from 0.71 to 1.05 against ffmpeg; complexity 10 gave 1.7 to 2.3.
SHORT_LOOP_BOUND = 1.50
SHORT_TOOL_BOUND = 1.40
SHORT_LIVE_BOUND = 1.60
"""Half a minute just after the start: medians from 0.99 to 1.62 were seen, by what else the machine was doing."""
SHORT_DELIVERY_BOUND = 1.30


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
    _first_sample(device, report, short=short)
    _service(device, report, short=short)
    _delivery(device, report, short=short)
    _rights(report)
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
    held = bench_memory.measure(device, FOLDER / "speech.wav", CONTROL_SECONDS, control="memory")
    report.line("\n  recording, with a dozen modules and 8 MiB that nobody needs")
    report.control("PSS of the recorder", held.recorder.footprint.pss, RECORDER_AIM_MIB)
    report.control("PSS of the deliverer", held.deliverer.footprint.pss, DELIVERER_AIM_MIB)
    if held.capture is not None:
        report.control("PSS of the capture process", held.capture.footprint.pss, CAPTURE_AIM_MIB)


def _live(device: Device, report: Report, *, short: bool) -> None:
    seconds, windows = (SHORT_LIVE_SECONDS, SHORT_WINDOWS) if short else (LIVE_SECONDS, WINDOWS)
    bound = SHORT_LIVE_BOUND if short else LIVE_AIM
    live = bench_live.measure(device, FOLDER / "speech.wav", seconds, windows)
    _show_live(report, live)
    if short and live.ratio(bench_live.ARECORD).median > bound:
        report.line(
            f"  {live.ratio(bench_live.ARECORD).median:.2f} > {bound:g}: measured once more, which counts"
        )
        live = bench_live.measure(device, FOLDER / "speech.wav", seconds, windows)
        _show_live(report, live)
    ratio, wake_ups = live.ratio(bench_live.ARECORD), live.wake_ups
    if short:
        report.judge(
            "three processes / arecord | opusenc", ratio.median, LIVE_AIM, _text(ratio), counts=False
        )
    report.judge("three processes / arecord | opusenc", ratio.median, bound, _text(ratio))
    report.line(f"  {'three processes / ffmpeg':<34} {_text(live.ratio(bench_live.FFMPEG))}")
    report.judge("wake-ups a second", wake_ups.median, WAKE_UPS_AIM, _text(wake_ups, 1))
    busy = bench_live.measure(device, FOLDER / "speech.wav", CONTROL_SECONDS, 1, control="busy")
    report.control("with a busy thread, / arecord", busy.ratio(bench_live.ARECORD).median, bound)
    report.control("with a busy thread, wake-ups", busy.wake_ups.median, WAKE_UPS_AIM)


def _show_live(report: Report, live: bench_live.Live) -> None:
    report.line(
        f"\nOne microphone, heard by all at once, with heartbeats, in {len(live.windows)} windows of "
        f"{live.window_seconds:g} s\n  percent of a processor             median (least–most)"
    )
    for name in live.windows[0]:
        report.line(f"  {name:<34} {_text(live.cpu(name))}")


def _first_sample(device: Device, report: Report, *, short: bool) -> None:
    wav, starts = FOLDER / "speech.wav", SHORT_STARTS if short else STARTS
    report.line(f"\nFrom the exec of the recorder to its first sample, {starts} starts")
    firsts = bench_live.first_samples(device, wav, starts)
    report.judge("seconds", firsts.median, FIRST_SAMPLE_AIM, _text(firsts))
    late = bench_live.first_samples(device, wav, 1, control="late")
    report.control("begun later", late.median, FIRST_SAMPLE_AIM)


def _delivery(device: Device, report: Report, *, short: bool) -> None:
    found = bench_delivery.measure(device, WAITING, SHORT_DELIVERIES if short else DELIVERIES)
    report.line(
        f"\nDelivery of {WAITING} recordings that wait, {found.requests} requests, in turn\n"
        f"  sync {_text(found.agent)} s, curl once a request {_text(found.curl)} s"
    )
    bound = SHORT_DELIVERY_BOUND if short else DELIVERY_AIM
    if short:
        report.judge("sync / curl", found.ratio.median, DELIVERY_AIM, _text(found.ratio), counts=False)
    report.judge("sync / curl", found.ratio.median, bound, _text(found.ratio))
    report.control("with a rest before each request", found.slow, bound)


def _rights(report: Report) -> None:
    report.line("\nWhat the units leave open, by systemd-analyze security (10: everything)")
    for unit, aim in bench_rights.AIMS.items():
        score, opened = bench_rights.scores(unit)
        report.judge(unit, score, aim, f"{score:.1f}")
        report.control("with two rules less", opened, aim)


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
