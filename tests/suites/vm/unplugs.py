"""The microphone is pulled out and plugged in at random moments: what is lost, noticed, and heard again."""

import time
from statistics import median

from vm import cards, cuts
from vm.lab import Lab

STREAMED_SECONDS = (2.0, 15.0)
ABSENT_SECONDS = ((0.2, 1.5), (2.0, 12.0))
"""As somebody does who wiggles at the plug, and as somebody who carries the microphone elsewhere."""
AT_ONCE_SHARE = 0.2
"""So often it is pulled before it was heard again."""
AT_ONCE_SECONDS = (0.1, 3.0)
KEPT_SECONDS = 1.0
"""Sound before the pull that may be missing: what is inside USB, ALSA and the capture process."""


def run(lab: Lab, count: int) -> None:
    """Pull it so many times, let all be delivered, and judge."""
    lab.power_on()
    lab.machine.wait_ready()
    cards.name_first(lab)
    pulls, plugged = campaign(lab, count)
    recording = lab.wait_stream(8)
    lab.findings.check("recording_after_unplugs", "yes" if recording else "no", "yes", good=recording)
    restarts = lab.machine.run("systemctl show -p NRestarts --value 'recorder-agent*.service'").output.split()
    lab.findings.check("restarts", " ".join(restarts), "0", good=not any(map(int, restarts)))
    lab.heard_after(plugged, 1)
    waiting = lab.wait_settled(plugged + 1)
    lab.findings.check("stuck", str(len(waiting)), "0", good=not waiting)
    judge(lab, pulls, plugged)
    lab.machine.power_off()


def campaign(lab: Lab, count: int) -> tuple[list[cuts.Cut], float]:
    """Pull and plug so many times; return each pull as a cut of the sound, and when it was plugged in last."""
    microphone, rng = lab.microphones[1], lab.rng
    pulls: list[cuts.Cut] = []
    plugged = lab.machine.started_at
    for number in range(1, count + 1):
        if number > 1 and rng.random() < AT_ONCE_SHARE:
            time.sleep(rng.uniform(*AT_ONCE_SECONDS))
        else:
            lab.wait_stream(rng.uniform(*STREAMED_SECONDS))
        streamed = microphone.streamed_seconds
        pulls.append(cuts.Cut(number, plugged, microphone.command("unplug"), streamed))
        time.sleep(rng.uniform(*rng.choice(ABSENT_SECONDS)))
        plugged = microphone.command("plug")
        print(f"    pull {number}: after {streamed:.1f} s of sound, away for {plugged - pulls[-1].killed_at:.1f} s",
              flush=True)  # fmt: skip
    return pulls, plugged


def judge(lab: Lab, pulls: list[cuts.Cut], until: float) -> None:
    """Judge what was lost before each pull and after each plug, copies, times, and the gap log."""
    lost = cuts.losses(lab, pulls)
    worst, mean = max(lost, default=0.0), sum(lost) / max(1, len(lost))
    lab.findings.check("lost_before_pull", f"at most {worst:.1f} s, mean {mean:.1f} s, {len(lost)} pulls",
                       f"{KEPT_SECONDS:.0f} s", good=bool(lost) and worst <= KEPT_SECONDS)  # fmt: skip
    again = after_plugs([slot.at for slot in lab.collection.slots()], pulls, until)
    slowest = max(again, default=0.0)
    figure = f"at most {slowest:.1f} s, median {median(again or [0]):.1f} s, {len(again)} plugs"
    lab.findings.check("recording_again", figure,
                       f"{cards.AGAIN_SECONDS:.0f} s", good=bool(again) and slowest <= cards.AGAIN_SECONDS)  # fmt: skip
    cuts.judge_copies(lab)
    cuts.judge_times(lab)
    cuts.judge_gaps(lab, pulls, until)


def after_plugs(heard: list[float], pulls: list[cuts.Cut], until: float) -> list[float]:
    """Return the seconds from each plug to the first sound; plugs that were pulled again before that are left out."""
    plugs = [each.powered_at for each in pulls[1:]] + [until]
    found = []
    for plug, following in zip(plugs, [*pulls[1:], None], strict=True):
        end = following.killed_at if following else float("inf")
        first = min((at for at in heard if plug <= at <= end), default=None)
        if first is not None:
            found.append(first - plug)
        elif following is None or following.streamed > 0:
            found.append(end - plug)
    return found
