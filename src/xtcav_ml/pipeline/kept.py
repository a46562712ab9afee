"""Files that are made again only if what decides them has changed: a folder of files whose names are hashes of all that.

DVC removes the outputs of a stage before it runs it. A shard here is another name of the same file (a hard link), so that it
takes no room of its own, and one more raw file, or a prepare that was killed, costs what is missing.
"""

import functools
import hashlib
import importlib.metadata
import json
from pathlib import Path

from xtcav_ml.lineage import fingerprint
from xtcav_ml.lineage.used_code import Package

ENTRIES = ("pipeline.frames:make_shard", "pipeline.frames:dark_frame", "pipeline.prepare:redrawn_labels")
"""The functions that make what is kept."""


class Kept:
    """The kept files in a folder; others of an earlier call are removed by `prune`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._used: set[Path] = set()

    def place(self, *deciding: object) -> Path:
        """Return the file that all this decides, beside the code; its name hashes that."""
        text = json.dumps([code(), *deciding], sort_keys=True, default=str)
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.h5"
        self._used.add(path)
        return path

    def prune(self) -> None:
        """Remove all files that `place` has not returned, and what killed writers have left."""
        for path in [*self.folder.glob("*.h5"), *self.folder.glob(".*.tmp.*")]:
            if path not in self._used:
                path.unlink(missing_ok=True)


@functools.cache
def code() -> str:
    """Return a hash of the code that makes what is kept, and of its libraries' versions."""
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "h5py")}
    return fingerprint.code_of(Package(fingerprint.PACKAGE), ENTRIES, versions).fingerprint
