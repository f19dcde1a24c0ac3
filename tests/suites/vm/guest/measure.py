"""Measures every process of the recorder's units for measure.py SECONDS [CARD CHANNELS]: wake-ups, processor, memory.

Prints JSON: seconds of a reference loop, kB of a bare interpreter, the processes; with CARD also the share of a
processor that ``arecord | opusenc`` takes to do the same with that card, and ffmpeg where it is there, for which the
recorder is stopped a while. CHANNELS are those of the card.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

LOOPS = 500_000
GROUPS = "/sys/fs/cgroup/system.slice"
SETTLE_SECONDS = 3
TICKS = os.sysconf("SC_CLK_TCK")


def reference_seconds() -> float:
    """Return the processor time of a fixed piece of work: the median of three."""
    taken = []
    for _ in range(3):
        began = time.process_time()
        total = 0
        for number in range(LOOPS):
            total += number & 7
        taken.append(time.process_time() - began)
    return sorted(taken)[1]


def bare_interpreter() -> int:
    """Return the proportional set size, in kB, of an interpreter that does nothing."""
    process = subprocess.Popen([sys.executable, "-I", "-c", "print(flush=True); input()"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    size = pss(process.pid)
    process.kill()
    process.wait()
    return size


def pss(pid: int) -> int:
    """Return the proportional set size of a process in kB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def processes() -> dict[int, str]:
    """Return the processes of all units, with what tells them apart."""
    found = {}
    for file in Path(GROUPS).glob("recorder-agent*/**/cgroup.procs"):
        for pid in file.read_text().split():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            role = words[words.index("--only") + 1] if "--only" in words else "capture process"
            found[int(pid)] = "recorder with deliverer" if "run" in words and "--only" not in words else role
    return found


def counters(pid: int) -> tuple[int, int]:
    """Return the voluntary context switches and clock ticks of all threads of a process."""
    switches = ticks = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                switches += int(line.split()[1])
        fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return switches, ticks


def usual_tools(card: str, channels: str, seconds: float) -> dict[str, float]:
    """Return the share of a processor that others take to do the same with a card, by their names."""
    arecord = ["arecord", "-q", "-D", f"plughw:{card}", "-f", "S16_LE", "-r", "16000", "-c", "1", "-t", "wav"]
    opusenc = ["opusenc", "--quiet", "--ignorelength", "--bitrate", "32", "--comp", "5", "--framesize", "20",
               "--set-ctl-int", "4000=2048", "-", "/dev/null"]  # fmt: skip
    ffmpeg = ["ffmpeg", "-nostdin", "-loglevel", "error", "-f", "alsa", "-ac", channels, "-ar", "48000",
              "-i", f"hw:{card}", "-ac", "1", "-ar", "16000", "-c:a", "libopus", "-application", "voip",
              "-compression_level", "5", "-b:a", "32k", "-frame_duration", "20",
              "-f", "opus", "-y", "/dev/null"]  # fmt: skip
    subprocess.run(["systemctl", "stop", "recorder-agent.service"], check=True)
    shares = {"arecord | opusenc": share_of([arecord, opusenc], seconds)}
    if shutil.which("ffmpeg"):
        shares["ffmpeg"] = share_of([ffmpeg], seconds)
    subprocess.run(["systemctl", "start", "--no-block", "recorder-agent.service"], check=True)
    return shares


def share_of(commands: list[list[str]], seconds: float) -> float:
    """Run a pipeline for a while, and return the share of a processor that it takes."""
    pipeline: list[subprocess.Popen[bytes]] = []
    for command in commands:
        before_it = pipeline[-1].stdout if pipeline else subprocess.DEVNULL
        after_it = subprocess.PIPE if command is not commands[-1] else subprocess.DEVNULL
        pipeline.append(subprocess.Popen(command, stdin=before_it, stdout=after_it))
    time.sleep(SETTLE_SECONDS)
    began, before = time.monotonic(), [counters(process.pid)[1] for process in pipeline]
    time.sleep(seconds)
    passed, after = time.monotonic() - began, [counters(process.pid)[1] for process in pipeline]
    is_alive = all(process.poll() is None for process in pipeline)
    pipeline[0].terminate()
    pipeline[-1].wait(30)
    return (sum(after) - sum(before)) / TICKS / passed if is_alive else 0.0


def main() -> None:
    """Measure and print."""
    seconds = float(sys.argv[1])
    reference, bare = reference_seconds(), bare_interpreter()
    names = processes()
    before = {pid: counters(pid) for pid in names}
    began = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    rows = []
    for pid, name in names.items():
        try:
            switches, ticks = counters(pid)
            size = pss(pid)
        except OSError:
            continue
        rows.append({
            "name": name,
            "wakeups_per_second": (switches - before[pid][0]) / passed,
            "cpu_share": (ticks - before[pid][1]) / TICKS / passed,
            "pss_kb": size,
        })  # fmt: skip
    found = {"reference_seconds": reference, "bare_kb": bare, "processes": rows}
    if len(sys.argv) > 2:
        found["usual_tools"] = usual_tools(sys.argv[2], sys.argv[3], seconds)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
