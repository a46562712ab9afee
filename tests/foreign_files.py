"""Raw files as other programs write them, made with plain h5py: the same shots in the layout of each of six kinds."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

Shots = dict[str, np.ndarray]
SHAPE = (24, 20)


def shots(run: int, count: int, *, lasing: int = 1, first: int = 0, shape: tuple[int, int] = SHAPE) -> Shots:
    """Return frames of as many bright stripes as their label, 0 to 3, and the other columns of the experiment's schema."""
    rng = np.random.default_rng([run, first])
    index = np.arange(first, first + count)
    label = rng.integers(0, 4, count) * lasing
    frames = rng.normal(100, 3, (count, *shape))
    for stripe in range(1, 4):
        frames[:, :, shape[1] // 5 * stripe] += 300 * (label >= stripe)[:, np.newaxis]
    return {
        "xtcavimg": frames.astype(np.int16),
        "acq.peaksLabel": label,
        "lasing": np.full(count, lasing),
        "bld.L3energy": rng.normal(4000, 3, count),
        "evt.seconds": 1_440_000_000 + 1000 * run + index // 120,
        "evt.nanoseconds": index % 120 * 8_333_333,
        "evt.fiducials": 3 * index,
        "run": np.full(count, run),
        "run.index": index,
    }


def packed(table: Shots) -> np.ndarray:
    """Return the times as LCLS packs them."""
    return (table["evt.seconds"].astype(np.uint64) << np.uint64(32)) | table["evt.nanoseconds"].astype(np.uint64)


def notes(file: h5py.File, table: Shots) -> None:
    """The flat schema of the experiment's notes."""
    for name, values in table.items():
        file[name] = values


def smalldata(file: h5py.File, table: Shots) -> None:
    """psana's small_data: a packed time, fiducials, groups of detectors; frames as uint16, one channel."""
    file["event_time"], file["fiducials"] = packed(table).astype(np.int64), table["evt.fiducials"].astype(np.int32)
    file["ebeam/L3_energy"] = table["bld.L3energy"]
    file["xtcav/image"] = table["xtcavimg"][:, np.newaxis].astype(np.uint16)
    file["user/peaksLabel"], file["user/lasing"] = table["acq.peaksLabel"].astype(float), table["lasing"].astype(bool)


def psana2(file: h5py.File, table: Shots) -> None:
    """psana2's smalldata: timestamps of 64 bits, compressed frames."""
    file["timestamp"] = packed(table)
    file["ebeam/ebeamL3Energy"] = table["bld.L3energy"].astype(np.float32)
    file.create_dataset(
        "xtcav/raw_image", data=table["xtcavimg"].astype(np.int32), chunks=(5, *SHAPE), compression="gzip"
    )
    file["xtcav/peaks_label"], file["xtcav/lasing"] = (
        table["acq.peaksLabel"].astype(np.int8),
        table["lasing"].astype("u1"),
    )


def extra_data(file: h5py.File, table: Shots) -> None:
    """European XFEL: train ids, sources of instruments."""
    source = "INSTRUMENT/SCS_XTCAV_CAM/DAQ:daqOutput/data/image"
    file["INDEX/trainId"] = (10**9 + 1000 * table["run"] + table["run.index"]).astype(np.uint64)
    file.create_dataset(f"{source}/pixels", data=table["xtcavimg"].astype(np.uint16), chunks=(8, *SHAPE))
    file["CONTROL/LABEL/peaksLabel"], file["CONTROL/LABEL/lasing"] = table["acq.peaksLabel"], table["lasing"]


def cxi(file: h5py.File, table: Shots) -> None:
    """CXI as Cheetah and psocake write it: times of the machine, a link to the data."""
    file["entry_1/instrument_1/detector_1/data"] = table["xtcavimg"].astype(">i2")
    file["entry_1/data_1/data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
    file["LCLS/machineTime"], file["LCLS/fiducial"] = table["evt.seconds"], table["evt.fiducials"]
    file["LCLS/machineTimeNanoSeconds"] = table["evt.nanoseconds"]
    file["entry_1/result_1/peaksLabel"], file["entry_1/result_1/lasing"] = table["acq.peaksLabel"], table["lasing"]


def calibrated(file: h5py.File, table: Shots) -> None:
    """NeXus with calibrated frames, in fractions of a count; the run is an attribute of the file's name."""
    file["entry/data/data"] = table["xtcavimg"].astype(np.float32) + 0.25
    file["entry/data/peaksLabel"], file["entry/data/lasing"] = table["acq.peaksLabel"], table["lasing"]


KINDS: dict[str, Callable[[h5py.File, Shots], None]] = {
    "notes": notes,
    "smalldata": smalldata,
    "psana2": psana2,
    "extra-data": extra_data,
    "cxi": cxi,
    "nexus": calibrated,
}
"""By preset, what writes the shots of a file."""


def write(folder: Path, kind: str, *, runs: tuple[int, ...] = (70, 71), count: int = 300) -> Path:
    """Write dark run 68 and `runs` of lasing shots, a file each, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for run in (68, *runs):
        with h5py.File(folder / f"amo86815-r{run:04d}.h5", "w") as file:
            KINDS[kind](file, shots(run, 8 if run == 68 else count, lasing=int(run != 68)))
    return folder
