"""simulate and prepare write the same bytes at each level of instructions that this processor has.

numpy, OpenBLAS, numba and the C library choose their code when a process starts, so that each level is a process of its own,
with a lower level of all of them at once.
"""

import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from xtcav_ml.config.base import read_tree, validate_section
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.prepare import PrepareParams
from xtcav_ml.config.simulate import SimulateParams
from xtcav_ml.pipeline import prepare, simulate

KNOWN = {
    "raw": "dbfd2c9297726d95b12cb6b499a860fb",
    "prepared": "fe7d2864d6a1415495e283770d5a1bd7",
    "every step": "21c6d804ab876a561c7b073cb2c32ff7",
    "redrawn": "633fe77ee86ca74ecba1ebd8d38a7090",
}
"""Of the files of each folder, and of labels drawn again.

Other hashes are other data: every result of the project then changes."""

DISPATCHED = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
LOWER = {
    "X86_V2": {
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NUMBA_CPU_NAME": "generic",
    },
    "X86_V3": {"OPENBLAS_CORETYPE": "Haswell", "NUMBA_CPU_NAME": "haswell"},
}
"""The levels of other libraries that belong to one of numpy's."""

FEW = {"dark_shots": 4, "no_lasing_shots": 1, "lasing_shots": [24]}
EVERY_STEP = [
    {"step": "subtract_dark"},
    {"step": "mend_hot_pixels", "threshold": 8},
    {"step": "roi", "rows": [50, 701], "columns": [100, 500]},
    {"step": "log"},
    {"step": "block_mean", "size": 3},
    {"step": "clip", "low": 0.1, "high": 7},
    {"step": "contrast", "floor": 0.1},
]


def write(folder: Path) -> dict[str, str]:
    """Simulate and prepare a few shots of full size into `folder`; return the hash of each of its folders."""
    tree = read_tree(ROOT / "params.yaml")
    shots = validate_section(tree["simulate"] | FEW, SimulateParams, "simulate")
    (folder / "raw").mkdir()
    simulate._finished = multiprocessing.Value("q")  # as in a worker
    for file in simulate.plan_files(shots):
        simulate.write_file(shots, file, folder / "raw")
    data = validate_section(tree["data"] | {"raw": str(folder / "raw")}, DataParams, "data")
    few = tree["prepare"] | {
        "split": tree["prepare"]["split"] | {"block": 2, "gap": 0},
        "balance": {"ratio": None, "splits": []},
    }
    few |= {"label": None, "classes": [], "regression": ["truth.energy1", "truth.charge"], "features": ["bld.L3energy"]}
    for name, steps in (("prepared", few["images"]), ("every step", EVERY_STEP)):
        pixels = few["pixels"] if name == "prepared" else {"dtype": "float32", "quantum": None}
        section = validate_section(few | {"images": steps, "pixels": pixels}, PrepareParams, "prepare")
        prepare.prepare_files(data, section, folder / name)
    pulses = {
        "truth.energy1": np.arange(0.0, 60, 10),
        "truth.energy2": np.full(6, 20.0),
        "bld.L3energy": np.full(6, 4e3),
    }
    redrawn = prepare.redrawn_labels(pulses | {"run": np.full(6, 70), "run.index": np.arange(6)}, shots)
    counts = hashlib.md5(np.stack(list(redrawn.values())).tobytes()).hexdigest()
    return {each.name: _hash(each) for each in sorted(folder.iterdir())} | {"redrawn": counts}


def _hash(folder: Path) -> str:
    return hashlib.md5(b"".join(path.read_bytes() for path in sorted(folder.iterdir()))).hexdigest()


@pytest.mark.parametrize("level", ["X86_V2", *DISPATCHED])
def test_the_same_bytes_at_each_level_of_the_processor(level, tmp_path):
    above = DISPATCHED[DISPATCHED.index(level) + 1 :] if level in DISPATCHED else DISPATCHED
    lower = LOWER.get(level, {}) | ({"NPY_DISABLE_CPU_FEATURES": " ".join(above)} if above else {})
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.test_processors", tmp_path],
        cwd=ROOT,
        env=os.environ | lower,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == KNOWN


if __name__ == "__main__":
    print(json.dumps(write(Path(sys.argv[1]))))
