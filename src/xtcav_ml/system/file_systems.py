"""Which file system a folder is on: some are shared by machines, and databases in files lose data there."""

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

SHARED = re.compile(
    r"nfs\d?|lustre|gpfs|cifs|smb\w*|ceph|afs|9p|beegfs\w*|wekafs|panfs|pvfs2|orangefs|glusterfs|ocfs2|gfs2"
    r"|fuse\.(ceph\w*|gluster\w*|sshfs|s3fs|rclone|beegfs|weka\w*|juicefs|gcsfuse|mfs)"
)
"""Types, as Linux names them, of file systems that several machines may have mounted."""


def shared(path: Path) -> str:
    """Return the type of the file system that `path` is or would be on, if other machines may share it; otherwise ""."""
    there = path.resolve()
    found = max((mount for mount in _mounts() if there.is_relative_to(mount[0])), key=_depth, default=(there, ""))
    return found[1] if SHARED.fullmatch(found[1]) else ""


def _depth(mount: tuple[Path, str]) -> int:
    return len(mount[0].parts)


def _mounts() -> list[tuple[Path, str]]:
    """Return where file systems are mounted, and their types, the latest last."""
    try:
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:  # another system than Linux
        return []
    rows = [line.partition(" - ") for line in lines]
    return [(Path(_unescaped(first.split()[4])), last.split()[0]) for first, _, last in reversed(rows)]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), text)
