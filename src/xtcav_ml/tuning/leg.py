"""A part of a trial on a worker: from its checkpoint to its next rung, in a process of its own."""

import hashlib
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtcav_ml.config.train import TrainParams
from xtcav_ml.lineage.environment import deciding
from xtcav_ml.system import variables
from xtcav_ml.system.child_process import ChildProcess
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.workers import Tell
from xtcav_ml.tuning.trial import imported, train_trial

LIBRARIES = ("keras", "tensorflow", "jax", "numpy", "numba", "h5py")
SOURCES = Path(__file__).parent.parent

Row = dict[str, float]


class OtherWorker(UserError):
    """A worker would compute something else than the driver, or cannot compute: no fault of the trial."""


@dataclass(frozen=True)
class Ran:
    """What a leg has done: all epochs of the trial so far, and, if it has ended, its `shots` (see `train_trial`)."""

    rows: list[Row]
    shots: list[float] | None
    ended: bool


def run_leg(
    tell: Tell, like: dict[str, str], number: int, params: TrainParams, folders: tuple[Path, Path], until: int
) -> Ran:
    """Train trial `number` until the end of epoch `until`, telling each epoch and its values; 0 trains to the end.

    `folders` are the prepared data and the trial's checkpoints. Raises OtherWorker unless this one computes `like` the driver,
    otherwise as `train_trial`.
    """
    require_like(like, folders[0])
    rows = list[Row]()
    how = {"subject": f"trial {number}", "cure": "lower tune.memory_gb"}
    training = ChildProcess(train_trial, params, *folders, **how, imported=imported())
    for epoch, values in training:
        rows.append(values)
        training.stop = not tell([epoch, values]) or epoch == until
    return Ran(rows, training.result, not training.stop)


def computes(data: Path) -> dict[str, str]:
    """Return all that decides what a process computes with `data` but the parameters: code, libraries, variables, files.

    The processor is no part of it: with as many threads, AVX2 and AVX-512 give the same bits.
    """
    known = {name: value for name, value in deciding(LIBRARIES).items() if name != "cpu"}
    device = "a GPU" if variables.has_gpu() else "a CPU"
    return {**known, **variables.counted(), "device": device, "code": _code(), "data": _sizes(data)}


def require_like(like: dict[str, str], data: Path) -> None:
    """Raise OtherWorker if this process computes other than as `like`, or may have no child."""
    where = f"worker on {os.uname().nodename}"
    if multiprocessing.current_process().daemon:
        raise OtherWorker(
            f"{where}: may start no training (found a worker below a nanny, expected one that may have child processes). Fix: "
            "start it with DASK_DISTRIBUTED__WORKER__DAEMON=False in the environment, or with --no-nanny"
        )
    own = computes(data)
    for name in sorted({*own, *like}):
        if own.get(name) != like.get(name):
            raise OtherWorker(
                f"{where}: other {name} (found {own.get(name, 'none')}, expected {like.get(name, 'none')} as where the search "
                "runs). Fix: start it in the environment of this project, in a folder that all machines share"
            )


def _code() -> str:
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in sorted(SOURCES.rglob("*.py"))]
    return hashlib.sha256(b"".join(digests)).hexdigest()[:16]


def _sizes(data: Path) -> str:
    """Return the size of each file that a trial reads, in bytes; that a file is missing is what the driver has refused."""
    sizes: list[Any] = [path.stat().st_size for path in (data / "train.h5", data / "validation.h5") if path.exists()]
    return f"{data}: {', '.join(map(str, sizes)) or 'missing'}"
