"""The card: the state directory on a file system over device-mapper, which gets full, breaks, and is good again."""

from vm.lab import Lab

STATE = "/var/lib/recorder-agent"
NOTICED_SECONDS = 45
AGAIN_SECONDS = 60
UNITS = "recorder-agent.target recorder-agent.service recorder-agent-delivery.service"
PREPARE = f"""set -e
modprobe dm_mod; modprobe loop
systemctl stop {UNITS} 2>/dev/null || true
truncate -s 160M /root/card; loop=$(losetup -f --show /root/card); size=$(blockdev --getsz $loop)
echo "0 $size linear $loop 0" >/run/card.good; echo "0 $size error" >/run/card.bad
dmsetup create card </run/card.good
mkfs.ext4 -q /dev/mapper/card; mkdir -p /mnt/card; mount /dev/mapper/card /mnt/card
cp -a {STATE}/. /mnt/card/; chown recorder-agent:recorder-agent /mnt/card; chmod 700 /mnt/card; umount /mnt/card
mount -o errors=remount-ro /dev/mapper/card {STATE}
systemctl start --no-block {UNITS} 2>/dev/null || systemctl start --no-block recorder-agent.service
"""
FILL = f"fallocate -l $(($(df -m --output=avail {STATE} | tail -1) - 20))M {STATE}/fill"
SWAP_TABLE = "dmsetup suspend --noflush --nolockfs card; dmsetup load card </run/card.{}; dmsetup resume card"
MAIN_PID = "systemctl show -p MainPID --value recorder-agent.service"
EMERGENCY = "echo 1 >/proc/sys/kernel/sysrq; echo u >/proc/sysrq-trigger; sleep 1"
WRITABLE = f"mount -o remount,rw /; mount -o remount,rw {STATE}"
REPAIR = f"""systemctl stop {UNITS} 2>/dev/null; umount {STATE}; e2fsck -fp /dev/mapper/card
mount -o errors=remount-ro /dev/mapper/card {STATE}
systemctl start --no-block {UNITS} 2>/dev/null || systemctl start --no-block recorder-agent.service"""


def run(lab: Lab) -> None:
    """Fill it, break it, repair it, make it read-only and writable; the machine ends with its state on that card."""
    prepared = lab.machine.run(PREPARE, 180)
    if prepared.code or not lab.wait_stream(5):
        lab.findings.check("card_prepared", prepared.output[-200:], "recording from it", good=False)
        return
    lab.machine.run(FILL)
    wait_state(lab, "card_full_noticed", "storage_full", NOTICED_SECONDS)
    lab.machine.run(f"rm {STATE}/fill")
    wait_state(lab, "card_room_again", "recording", AGAIN_SECONDS)
    read_only(lab)
    lab.wait_stream(5)
    lab.machine.run(SWAP_TABLE.format("bad"))
    wait_state(lab, "card_broken_noticed", "fault", NOTICED_SECONDS, "Input/output error|is read-only")
    lab.machine.run(SWAP_TABLE.format("good"))
    lab.machine.run(REPAIR, 180)
    wait_state(lab, "card_repaired_recording", "recording", AGAIN_SECONDS + 60)


def read_only(lab: Lab) -> None:
    """Make every file system read-only, as the kernel does it in an emergency, and writable again: no restart."""
    lab.wait_stream(5)
    process = lab.machine.run(MAIN_PID).output
    lab.machine.run(EMERGENCY)
    wait_state(lab, "card_read_only_noticed", "fault", NOTICED_SECONDS, "is read-only")
    lab.machine.run(WRITABLE)
    wait_state(lab, "card_writable_again", "recording", AGAIN_SECONDS)
    same = process == lab.machine.run(MAIN_PID).output
    lab.findings.check("recorder_went_on", "yes" if same else "it was restarted", "yes", good=same)


def wait_state(lab: Lab, name: str, states: str, seconds: float, fault: str = "") -> None:
    """See how soon the status says one of some states, and why: ``fault`` is a pattern."""
    answer = lab.machine.run(f"python3 /lab/wait_state.py {states} {seconds} '{fault}'", seconds + 60)
    lab.findings.check(name, answer.output.strip()[-90:] or f"code {answer.code}", f"{seconds:.0f} s",
                       good=answer.code == 0)  # fmt: skip
