"""Scalars of LCLS shots as numpy arrays, in the format of the public data of a paper of 2017: one folder, three files a chunk.

A. Sanchez-Gonzalez et al., Nat. Commun. 8 (2017) 15461; github.com/alvarosg/DataLCLS2017. The chunks of a run are in the order
of its shots. Every file has for each shot `FiducialList` (N, 1), `TimeList` (N, 2) in s and ns, values, and a mask (N,) of the
shots of which they were measured.

| file              | values                    | columns here                                                       |
|-------------------|---------------------------|--------------------------------------------------------------------|
| EBeam_runR_C.npz  | EBeamValuesList (N, E)    | bld.ebeam.NAME, by EBeamParameterNames (E,), in the machine's units |
| GMD_runR_C.npz    | GMDValuesList (N, G)      | bld.gasdet.NAME, by GMDParameterNames (G,), mJ                     |
| Delays_runR_C.npz | DelayValuesList (N, 1)    | xtcav.delay, fs; NaN where XTCAV took no image                     |
"""

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.config.schema import EVENT_KEY
from xtcav_ml.system.errors import UserError, reason

NAME = re.compile(r"(EBeam|GMD|Delays)_run(\d{1,6})_(\d{1,6})\.npz")
KINDS = {"EBeam": "bld.ebeam.", "GMD": "bld.gasdet.", "Delays": ""}
"""Kinds of files, and how the names of their columns begin."""

DELAY, JITTER, STEADY = "xtcav.delay", "xtcav.phaseJitter", "run.steady"
DAMAGE, PHASE = "bld.ebeam.damageMask", "bld.ebeam.ebeamXTCAVPhase"

PAUSE, UNSTEADY = 10.0, 100.0
"""Seconds without shots after which the machine is set up again, and seconds for which that is seen in the delay."""

JITTER_SHOTS = 120  # 1 s, whose mean is the phase of which JITTER is the deviation

MOST_SHOTS = 10**7  # of a chunk: what a file only declares is not allocated

Chunks = Mapping[int, Mapping[str, Path]]  # of a run, by number: the file of each kind


def runs(folder: Path) -> dict[int, Chunks]:
    """Return the chunks of each run in `folder`. Raises UserError if there are none, or a chunk lacks a file."""
    found: dict[int, dict[int, dict[str, Path]]] = {}
    for path in sorted(folder.glob("*.npz")):
        if name := NAME.fullmatch(path.name):
            found.setdefault(int(name[2]), {}).setdefault(int(name[3]), {})[name[1]] = path
    if not found:
        raise UserError(
            f"{folder}: not the scalars of LCLS 2017 (found no EBeam_run*_*.npz, expected these with GMD_ and Delays_ of the "
            "same runs). Fix: name the folder that has them"
        )
    for run, chunks in found.items():
        for chunk in range(max(chunks) + 1):
            for kind in KINDS.keys() - chunks.get(chunk, {}).keys():
                raise UserError(
                    f"{folder / f'{kind}_run{run}_{chunk}.npz'}: missing (found other files of run {run}, expected all of each "
                    "chunk). Fix: copy it there"
                )
    return {run: dict(sorted(chunks.items())) for run, chunks in sorted(found.items())}


def read_run(run: int, chunks: Chunks) -> dict[str, NDArray[Any]]:
    """Return the columns (N,) of a run from its chunks: keys, scalars and delay, NaN where not measured, and STEADY.

    DAMAGE is an integer, -1 where it was not measured; from it and PHASE, if the run has them, follows JITTER. Raises UserError
    if a file cannot be read or is not of the format, or the files of a chunk are not of the same shots.
    """
    names = {kind: _names(chunks[0][kind], kind) for kind in KINDS}
    tables = [_chunk(files, names) for files in chunks.values()]
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    shots = len(columns[EVENT_KEY[0]])
    columns |= {"run": np.full(shots, run, np.int64), "run.index": np.arange(shots, dtype=np.int64)}
    columns["lasing"] = np.ones(shots, np.int8)  # two pulses, or there is no delay
    if DAMAGE in columns:
        columns[DAMAGE] = np.nan_to_num(columns[DAMAGE], nan=-1).astype(np.int64)
    if {DAMAGE, PHASE} <= columns.keys():
        columns[JITTER] = jitter(columns[PHASE], columns[DAMAGE] == 0)
    return columns | {STEADY: steady(columns[EVENT_KEY[0]] + 1e-9 * columns[EVENT_KEY[1]])}


def steady(seconds: NDArray[np.float64]) -> NDArray[np.int8]:
    """Return 0 for shots (N,) within UNSTEADY after a pause of more than PAUSE in their run, else 1; `seconds` ascend."""
    resumed = seconds[1:][np.diff(seconds) > PAUSE]
    since = np.full(len(seconds), np.inf)
    for time in resumed:
        since = np.where(seconds >= time, seconds - time, since)
    return (since >= UNSTEADY).astype(np.int8)


def jitter(phase: NDArray[np.float32], good: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the deviation of `phase` (N,), degrees, from its mean over the last JITTER_SHOTS shots, this one included.

    Shots that are not `good` (N,) do not count in the mean; NaN where none does. The phase itself drifts by degrees within
    minutes, which says nothing of the delay.
    """
    known = good & np.isfinite(phase)
    counts, sums = (
        np.concatenate([[0], np.cumsum(values)]) for values in (known, np.where(known, phase.astype(float), 0))
    )
    last = np.arange(1, len(phase) + 1)
    first = np.maximum(last - JITTER_SHOTS, 0)
    count = counts[last] - counts[first]
    mean = np.divide(sums[last] - sums[first], count, out=np.full(len(phase), np.nan), where=count > 0)
    return np.asarray(phase - mean, np.float32)


def _chunk(files: Mapping[str, Path], names: Mapping[str, list[str]]) -> dict[str, NDArray[Any]]:
    """Return the columns of a chunk but run, run.index and STEADY; `names` are those of the values of each kind."""
    tables = {kind: _read(files[kind], kind, names[kind]) for kind in KINDS}
    keys = tables["EBeam"][0]
    for kind, (own, _) in tables.items():
        if any(not np.array_equal(own[name], keys[name]) for name in EVENT_KEY):
            raise UserError(
                f"{files[kind]}: of other shots than {files['EBeam'].name} (found other times or fiducials, expected the "
                "same). Fix: copy both again"
            )
    return keys | {name: column for _, values in tables.values() for name, column in values.items()}


@contextlib.contextmanager
def _arrays(path: Path) -> Iterator[Any]:
    """Give the arrays of a file. Raises UserError for whatever is not as it should be."""
    try:
        with warnings.catch_warnings(), np.load(path, allow_pickle=False) as file:
            warnings.simplefilter("ignore", UserWarning)  # written by Python 2
            yield file
    except Exception as error:  # whatever numpy makes of other bytes
        raise UserError(
            f"{path}: not scalars of LCLS 2017 (found {reason(error)!r}, expected the lists of EBeam_, GMD_ and Delays_ "
            "files). Fix: copy it again"
        ) from None


def _names(path: Path, kind: str) -> list[str]:
    """Return the names of the columns of a run's values: its first file has them, the others need not repeat them."""
    if kind == "Delays":
        return [DELAY]
    with _arrays(path) as file:
        return [KINDS[kind] + name.decode() for name in file[f"{kind}ParameterNames"]]


def _read(
    path: Path, kind: str, names: list[str]
) -> tuple[dict[str, NDArray[np.int64]], dict[str, NDArray[np.float32]]]:
    """Return the event keys and the values of a file by `names`. Raises UserError if it is not of the format."""
    kept = "Delay" if kind == "Delays" else kind
    with _arrays(path) as file:
        time, fiducials = (_array(file, f"{name}List", width) for name, width in (("Time", 2), ("Fiducial", 1)))
        values = _array(file, f"{kept}ValuesList", len(names)).astype(np.float32)
        measured = file[f"{kept}ValuesListMask"].astype(bool).reshape(-1)
        if not len(time) == len(fiducials) == len(values) == len(measured):
            raise ValueError("lists of different lengths")
    values = np.where(measured[:, np.newaxis], values, np.float32(np.nan))
    keys = dict(zip(EVENT_KEY, (time[:, 0], time[:, 1], fiducials[:, 0]), strict=True))
    return {name: column.astype(np.int64) for name, column in keys.items()}, dict(zip(names, values.T, strict=True))


def _array(file: Any, name: str, width: int) -> NDArray[Any]:
    """Return a list (N, width) of numbers. Raises ValueError for another shape or type."""
    array: NDArray[Any] = file[name]
    if array.ndim != 2 or array.shape[1] != width or array.dtype.kind not in "iuf" or len(array) > MOST_SHOTS:
        raise ValueError(f"{name} of {array.shape} {array.dtype}")
    return array
