"""A line at the end of a file with the SHA-256 of all before it, compared before the file is used.

HDF5 and zip have no checksum over their structure: one flipped bit there is another number, or ends a reader in any way. The
line may follow both: HDF5 ignores what follows its end, and in a zip it is the comment. The frames of a prepared file, which
have checksums of their own, may be left out, so that a look at its columns does not read gigabytes.
"""

import hashlib
import re
from pathlib import Path
from typing import BinaryIO

from xtcav_ml.system.errors import UserError

LINE = re.compile(rb"xtcav sha256 ([0-9a-f]{64}) without ([0-9a-f]{16})\+([0-9a-f]{16})\n")
LENGTH = 120  # bytes of the line
ROOM = bytes(LENGTH)
"""What a file ends with until it is sealed."""

PIECE = 2**20  # bytes read at once


def seal(path: Path, part: tuple[int, int] = (0, 0)) -> None:
    """Replace the ROOM at the end of a file by the line, which leaves out a part: its first byte, and its size in bytes."""
    with path.open("r+b") as file:
        end = file.seek(-LENGTH, 2)
        line = _line(file, end, part)
        file.seek(end)
        file.write(line)


def left_out(path: Path) -> tuple[int, int] | None:
    """Return the part that the line of a file leaves out; None if the file does not end with the line of its content."""
    with path.open("rb") as file:
        end = max(file.seek(0, 2) - LENGTH, 0)
        file.seek(end)
        last = file.read()
        parts = LINE.fullmatch(last)
        part = None if parts is None else (int(parts[2], 16), int(parts[3], 16))
        return part if part is not None and _line(file, end, part) == last else None


def require_sealed(path: Path, cure: str) -> tuple[int, int]:
    """Return the part that the line leaves out. Raises UserError with the `cure` as `left_out` would return None."""
    part = left_out(path)
    if part is None:
        raise UserError(
            f"{path}: damaged, or written by another version (found other bytes than the SHA-256 at its end is of, expected "
            f"those written). Fix: {cure}"
        )
    return part


def _line(file: BinaryIO, end: int, part: tuple[int, int]) -> bytes:
    """Return the line for a file whose content ends at byte `end`."""
    first, size = part
    digest = hashlib.sha256(b"%d+%d" % part)
    for start, stop in ((0, min(first, end)), (min(first + size, end), end)):
        file.seek(start)
        while start < stop:
            piece = file.read(min(PIECE, stop - start))
            digest.update(piece)
            start += len(piece)
            if not piece:  # cut short meanwhile
                break
    return b"xtcav sha256 %s without %016x+%016x\n" % (digest.hexdigest().encode(), first, size)
