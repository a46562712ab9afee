"""Made-up arrays in the layout of the public scalars of LCLS 2017, with a delay that some of the values determine."""

from pathlib import Path

import numpy as np

EBEAM = ["damageMask", "ebeamCharge", "ebeamEnergyBC2", "ebeamPkCurrBC1", "ebeamXTCAVPhase"]
GMD = ["f_11_ENRC", "f_12_ENRC"]
FEATURES = [*(f"bld.ebeam.{name}" for name in EBEAM[1:4]), *(f"bld.gasdet.{name}" for name in GMD)]


def write_arrays(folder: Path, *, run: int = 70, shots: int = 600, per_chunk: int = 400, pause_at: int | None = None):
    """Write the files of a run at 120 Hz, whose names stand in the first chunk only; return values, delay and mask."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(run)
    ebeam, gmd = rng.normal(size=(shots, len(EBEAM))), rng.uniform(0, 0.1, (shots, len(GMD)))
    ebeam[:, 0] = 0
    delay = 8 + 9 * ebeam[:, 2] + 3 * ebeam[:, 3] ** 2 + rng.normal(0, 0.3, shots)
    measured = np.arange(shots) % 2 == 0  # XTCAV sees every other shot
    nanoseconds = 1_430_144_019 * 10**9 + np.arange(shots) * 8_333_333
    nanoseconds[shots if pause_at is None else pause_at :] += 60 * 10**9
    time = np.stack([nanoseconds // 10**9, nanoseconds % 10**9], axis=1).astype(np.int32)
    for chunk, first in enumerate(range(0, shots, per_chunk)):
        rows = slice(first, first + per_chunk)
        keys = {"TimeList": time[rows], "FiducialList": 3 * np.arange(shots, dtype=np.int32)[rows, np.newaxis]}
        for kind, names, values in (("EBeam", EBEAM, ebeam), ("GMD", GMD, gmd)):
            known = np.array(names if chunk == 0 else [], "S17")
            lists = {f"{kind}ValuesList": values[rows].astype(np.float32), f"{kind}ParameterNames": known}
            mask = {f"{kind}ValuesListMask": np.ones(len(keys["TimeList"]), bool)}
            np.savez(folder / f"{kind}_run{run}_{chunk}.npz", **keys, **lists, **mask)
        lists = {"DelayValuesList": delay[rows, np.newaxis].astype(np.float32), "DelayValuesListMask": measured[rows]}
        np.savez(folder / f"Delays_run{run}_{chunk}.npz", **keys, **lists)
    return ebeam, delay, measured
