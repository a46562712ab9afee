"""The whole state of a training on disk after every epoch, so that a stopped training resumes to the same bits.

A file is written whole or not at all. It begins with a line with the format and one with the SHA-256 of the rest. The last two
are kept, so that a damaged file costs one epoch. Each training has a folder of its own, named by what decides its result: a
short try with other settings leaves the states of a long training alone, and the earlier settings resume it. The last states of
the newest training that ended are kept too: if its command was stopped before DVC took the model, nothing is trained again.

Keras' own BackupAndRestore and ModelCheckpoint are not used: they hold neither the history, nor the random generators, nor the
best weights, and do not show that a file is torn.
"""

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.lineage.environment import CLASS, processor_class
from xtcav_ml.lineage.lineage import file_md5
from xtcav_ml.system import atomic

FOLDER = "checkpoints"  # beside the model; DVC does not track, so does not remove it
FORMAT = b"xtcav checkpoint 1\n"  # another number for another layout: fingerprints ignore this module
KEPT_FILES = 2
KEPT_TRAININGS = 4
"""Unfinished trainings whose states are kept, with this one: each takes six to eight times the size of its weights."""

ENDED = "ended"  # file with the MD5 of the model of a training that has ended
ARRAY_GROUPS = ("variables", "optimizer", "best")


@dataclass(frozen=True)
class State:
    """A training after its epoch `len(history)`."""

    history: list[dict[str, float]]  # one row an epoch
    variables: list[NDArray[Any]]  # of the model, with the states of its random number generators
    optimizer: list[NDArray[Any]]  # its slots, its step and, unless it is a schedule, its learning rate
    best: list[NDArray[Any]]  # weights of the best epoch so far


class Checkpoints:
    """The states of one training, below `folder`; `identity` names and gives all that decides its result."""

    def __init__(self, folder: Path, identity: Mapping[str, str]) -> None:
        self.identity = dict(identity)
        name = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = folder / name
        self._own: list[Path] = []  # the files of this training, oldest first

    @classmethod
    def beside(cls, model: Path, identity: Mapping[str, str], device: str) -> "Checkpoints":
        """Return the states of the training on `device` that makes `model`."""
        return cls(model.parent / FOLDER, {**identity, "device": device})

    def save(self, state: State) -> None:
        """Write a state; remove all other files of this training, damaged ones too, but the one before.

        Of other trainings beyond KEPT_TRAININGS, remove the oldest by the time of their last epoch, unless they have done more
        epochs than this one.
        """
        arrays = {f"{group}.{i}": array for group in ARRAY_GROUPS for i, array in enumerate(getattr(state, group))}
        sizes = {group: len(getattr(state, group)) for group in ARRAY_GROUPS}
        content = io.BytesIO()
        np.savez(content, **arrays)
        machine = {CLASS: processor_class()}  # in words: its model is in the identity, as a hash
        values = {"identity": self.identity, "history": state.history, "sizes": sizes, "machine": machine}
        header = json.dumps(values).encode()
        body = len(header).to_bytes(8, "big") + header + content.getvalue()
        path = self.folder / f"epoch-{len(state.history):06d}.ckpt"
        with atomic.replacing(path) as temporary:
            temporary.write_bytes(FORMAT + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        self._own = [*self._own, path][-KEPT_FILES:]
        for other in set(_newest_first(self.folder)) - set(self._own):
            other.unlink()
        for folder in self._others()[KEPT_TRAININGS - 1 :]:
            if _epochs(folder) <= len(state.history):
                shutil.rmtree(folder, ignore_errors=True)  # another process may do the same at the same time

    def load(self) -> tuple[State | None, list[str]]:
        """Return the newest whole state of this very training, or None, and a line for each newer file that is damaged."""
        damaged: list[str] = []
        for path in _newest_first(self.folder):
            if (content := _read(path)) is not None:
                self._own = [path]
                return content[1], damaged
            damaged.append(f"{path}: damaged, not used")
        return None, damaged

    def remarks(self) -> list[str]:
        """Return a line for each other training with a state, with its differences, and when it will be removed."""
        lines = []
        for rank, folder in enumerate(self._others(), start=1):
            if content := next(filter(None, map(_read, _newest_first(folder))), None):
                identity, state = content[0]["identity"], content[1]
                names = sorted(self.identity.keys() | identity.keys())
                differs = ", ".join(name for name in names if self.identity.get(name) != identity.get(name))
                until = " until this training has as many" if rank >= KEPT_TRAININGS else ""
                then, here = content[0].get("machine", {}).get(CLASS), processor_class()
                machine = f"; {CLASS}: {then} there, {here} here" if then not in (None, here) else ""
                kept = f"kept{until}, {len(state.history)} epochs of a training with other {differs}"
                lines.append(f"{folder}: {kept}{machine}")
        return lines

    def end(self, model: Path) -> None:
        """Keep the last states of this training, which has made the file `model`, and of no other one that has ended."""
        with atomic.replacing(self.folder / ENDED) as temporary:
            temporary.write_text(file_md5(model))
        for mark in set(self.folder.parent.glob(f"*/{ENDED}")) - {self.folder / ENDED}:
            shutil.rmtree(mark.parent, ignore_errors=True)

    def ended(self) -> str:
        """Return the MD5 of the model if the training has ended, and its last state can be read; otherwise ""."""
        mark = self.folder / ENDED
        return mark.read_text(errors="replace") if mark.is_file() and self.load()[0] is not None else ""

    def reopen(self) -> None:
        """Let the training not have ended: the next call goes on from its last state."""
        (self.folder / ENDED).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all states: the training begins anew. The mark of its end goes last, lest a kill leave one to be continued."""
        for path in _newest_first(self.folder):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _others(self) -> list[Path]:
        """Return the folders of the other trainings that have not ended, the one with the latest epoch first."""
        others = [path for path in self.folder.parent.glob("*/") if path != self.folder and not (path / ENDED).exists()]
        return sorted(others, key=_last_change, reverse=True)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.ckpt"), reverse=True)


def _epochs(folder: Path) -> int:
    """Return the number of epochs of the newest state in a folder."""
    return max((int(path.stem.removeprefix("epoch-")) for path in _newest_first(folder)), default=0)


def _last_change(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # another process removed it meanwhile
        return 0.0


def _read(path: Path) -> tuple[dict[str, Any], State] | None:
    """Return header and state of a file; None if it is damaged or no longer there."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    format_line, digest, body = content[: len(FORMAT)], content[len(FORMAT) :][:64], content[len(FORMAT) + 65 :]
    if format_line != FORMAT or hashlib.sha256(body).hexdigest().encode() != digest:
        return None
    size = int.from_bytes(body[:8], "big")
    header = json.loads(body[8 : 8 + size])
    try:
        with np.load(io.BytesIO(body[8 + size :]), allow_pickle=False) as arrays:
            groups = {group: [arrays[f"{group}.{i}"] for i in range(header["sizes"][group])] for group in ARRAY_GROUPS}
    except (ValueError, KeyError, zipfile.BadZipFile):
        return None
    return header, State(header["history"], **groups)
