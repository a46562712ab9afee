"""The whole state of a training on disk, after every epoch: what it needs to go on as if it had never been stopped.

A file is written whole or not at all, and says what it should be: a line with the format, one with the SHA-256 of the rest. The
last two are kept, so that a damaged one costs one epoch.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.system import atomic

FORMAT = b"xtcav checkpoint 1\n"
KEPT = 2
GROUPS = ("variables", "optimizer", "best")


@dataclass(frozen=True)
class State:
    """What a training is after its epoch `len(history)`."""

    history: list[dict[str, float]]  # one row an epoch
    variables: list[NDArray[Any]]  # of the model, the states of its random number generators included
    optimizer: list[NDArray[Any]]  # its slots, its step and, where it is one, its learning rate
    best: list[NDArray[Any]]  # weights of the best epoch so far


class Checkpoints:
    """The states of one training in a folder. `identity` says of which: what its result depends on, by name."""

    def __init__(self, folder: Path, identity: Mapping[str, str]) -> None:
        self.folder, self.identity = folder, dict(identity)
        self.refused: list[str] = []  # why files that are there were not used
        self._own: list[Path] = []  # the files of this training, oldest first

    def save(self, state: State) -> None:
        """Write a state, and remove all but it and the one before: also what is damaged or of another training."""
        content = io.BytesIO()
        arrays = {f"{group}.{i}": array for group in GROUPS for i, array in enumerate(getattr(state, group))}
        np.savez(content, **arrays)
        header = json.dumps({"identity": self.identity, "history": state.history, "sizes": _sizes(state)}).encode()
        body = len(header).to_bytes(8, "big") + header + content.getvalue()
        path = self.folder / f"epoch-{len(state.history):06d}.ckpt"
        with atomic.replacing(path) as temporary:
            temporary.write_bytes(FORMAT + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        self._own = [*self._own, path][-KEPT:]
        for other in set(self._files()) - set(self._own):
            other.unlink()

    def load(self) -> State | None:
        """Return the newest whole state of this very training, or None; `refused` then says why others were not taken."""
        self.refused = []
        for path in self._files():
            found = _read(path)
            if found is None:
                self.refused.append(f"{path.name} is damaged")
                continue
            header, state = found
            differs = [
                name
                for name in sorted(self.identity.keys() | header["identity"].keys())
                if self.identity.get(name) != header["identity"].get(name)
            ]
            if not differs:
                self._own = [path]
                return state
            self.refused.append(f"{path.name} is of a training with other {', '.join(differs)}")
        return None

    def clear(self) -> None:
        """Remove all states: the training is done."""
        for path in self._files():
            path.unlink()

    def _files(self) -> list[Path]:
        """Return the files, newest first."""
        return sorted(self.folder.glob("epoch-*.ckpt"), reverse=True)


def _sizes(state: State) -> dict[str, int]:
    return {group: len(getattr(state, group)) for group in GROUPS}


def _read(path: Path) -> tuple[dict[str, Any], State] | None:
    """Return header and state of a file, or None if it is not what was written."""
    content = path.read_bytes()
    format_line, digest, body = content[: len(FORMAT)], content[len(FORMAT) :][:64], content[len(FORMAT) + 65 :]
    if format_line != FORMAT or hashlib.sha256(body).hexdigest().encode() != digest:
        return None
    size = int.from_bytes(body[:8], "big")
    header = json.loads(body[8 : 8 + size])
    try:
        with np.load(io.BytesIO(body[8 + size :]), allow_pickle=False) as arrays:
            groups = {group: [arrays[f"{group}.{i}"] for i in range(header["sizes"][group])] for group in GROUPS}
    except (ValueError, KeyError, zipfile.BadZipFile):
        return None
    return header, State(header["history"], **groups)
