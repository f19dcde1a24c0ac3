"""Checks of what the state directory lies on: whether its disk is mounted, and what kind of file system it has."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from agent.doctor.examination import Finding, critical, healthy, unknown, warning
from agent.facade.context import Session
from agent.host.medium import MOUNTS, Mount, mount_of, present, unescaped
from agent.text import counted

FSTAB = Path("/etc/fstab")
WITHOUT_RIGHTS = frozenset({"vfat", "exfat", "msdos", "ntfs", "ntfs3", "fuseblk"})
"""They know no owner and no mode: whoever is on the machine reads what lies there."""
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.rclone", "ceph", "glusterfs", "afs"})
FSTAB_FIELDS = 3


@dataclass(frozen=True)
class Disks:
    """Where the checks look; another root is another machine."""

    sysfs: Path = Path("/sys")
    fstab: Path = FSTAB
    mounts: Path = MOUNTS

    def mounted(self, session: Session) -> Finding:
        """Look whether the disk that the system's table has for the state directory is there."""
        path = session.state.path
        points = {mount.point for mount in present(self.mounts)}
        if not points:
            return unknown("this machine does not tell what is mounted")
        wanted = [point for point in self._planned() if path.resolve().is_relative_to(point)]
        point = max(wanted, key=lambda each: len(each.parts), default=None)
        if point is None:
            return healthy("the state directory needs no disk of its own")
        if str(point) not in points:
            return critical(
                f"the disk that {self.fstab} has at {point} is not mounted, so {path} would lie on another one",
                f"plug it in, and `sudo mount {shlex.quote(str(point))}`",
            )
        return healthy(f"the disk at {point} is mounted")

    def _planned(self) -> list[Path]:
        """Return the mount points of the table, but for the root."""
        try:
            lines = self.fstab.read_text("utf-8", "surrogateescape").splitlines()
        except OSError:
            return []
        rows = [line.split() for line in lines if not line.lstrip().startswith("#")]
        points = [unescaped(row[1]) for row in rows if len(row) >= FSTAB_FIELDS and row[1].startswith("/")]
        return [Path(point) for point in points if point != "/"]

    def file_system(self, session: Session) -> Finding:
        """Look at the kind of file system, and at what the kernel has found wrong with it."""
        path = session.state.path
        mount = mount_of(path, self.mounts)
        if mount is None:
            return unknown("it cannot be told what the state directory lies on")
        where = f"the file system of {path} ({mount.kind} at {mount.point})"
        if mount.kind in WITHOUT_RIGHTS:
            return warning(
                f"{where} knows no owners: everybody on this machine reads recordings and token",
                "name a storage.directory on a disk with ext4",
            )
        if mount.kind in REMOTE:
            return warning(
                f"{where} is on another machine: recording stops when the network does",
                "name a storage.directory on a card or disk of this machine",
            )
        if errors := self._errors(mount):
            return warning(
                f"the kernel has found {counted(errors, 'error', 'errors')} in {where}",
                "`sudo dmesg` says which; check it with fsck while it is not mounted, or replace the disk",
            )
        return healthy(f"{path} lies on {mount.kind}")

    def _errors(self, mount: Mount) -> int:
        """Return how many errors ext4 has noted since it was last checked; 0 where it says nothing."""
        name = (self.sysfs / "dev/block" / mount.device).resolve().name
        try:
            return int((self.sysfs / "fs/ext4" / name / "errors_count").read_text())
        except (OSError, ValueError):
            return 0
