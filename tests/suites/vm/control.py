"""The control: without the fsync of the file layer, power cuts must cost more than the settings promise."""

from vm import cuts
from vm.lab import Lab

CUTS = 3


def run(lab: Lab) -> None:
    """Cut the power of a machine whose agent syncs nothing; it is good when the judge of ``cuts`` finds it bad."""
    done = cuts.campaign(lab, CUTS, blind=False)
    lab.power_on()
    booted = lab.machine.started_at
    lab.machine.wait_ready()
    lab.wait_stream(5)
    lab.wait_settled(booted)
    lost = cuts.losses(lab, done)
    worst, bound = max(lost, default=0.0), cuts.bound_seconds(lab)
    lab.findings.check("cuts_fail_without_fsync", f"lost {worst:.1f} s", f"more than {bound:.0f} s",
                       good=worst > bound)  # fmt: skip
