"""simulate and prepare write the same bytes at each level of instructions that this processor has; so does a training.

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
    "raw": "0820ef1cc7c511c46357e86100155c42",
    "prepared": "ab8cd66a65daf91237589f858d538c0b",
    "every step": "60933226ad27a2b75957d507514ff80a",
    "redrawn": "843df89b1ff586c17b5328e484bafe80",
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
    "X86_V3": {"OPENBLAS_CORETYPE": "Haswell", "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"},
}
"""The levels of other libraries that belong to one of numpy's."""

FEW = {"dark_shots": 4, "frames": "raw", "stored_every": 1, "no_lasing_shots": 1, "lasing_shots": [24]}
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
        "split": tree["prepare"]["split"] | {"block": 2, "gap": 0, "train": 0.7, "validation": 0.15, "test": 0.15},
        "balance": {"ratio": None, "splits": []},
    }
    few |= {"dark_run": 68, "label": None, "classes": []}
    few |= {"regression": ["truth.energy1", "truth.charge"], "features": ["bld.L3energy"]}
    for name, steps in (("prepared", few["images"]), ("every step", EVERY_STEP)):
        pixels = few["pixels"] if name == "prepared" else {"dtype": "float32", "quantum": None}
        section = validate_section(few | {"images": steps, "pixels": pixels}, PrepareParams, "prepare")
        prepare.prepare_files(data, section, folder / name)
    pulses = {
        "truth.energy1": np.arange(0.0, 60, 10),
        "truth.energy2": np.full(6, 20.0),
        "bld.L3energy": np.full(6, 3484.5),
    }
    redrawn = prepare.redrawn_labels(pulses | {"run": np.full(6, 70), "run.index": np.arange(6)}, shots)
    counts = hashlib.md5(np.stack(list(redrawn.values())).tobytes()).hexdigest()
    return {each.name: _hash(each) for each in sorted(folder.iterdir())} | {"redrawn": counts}


def _hash(folder: Path) -> str:
    return hashlib.md5(b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())).hexdigest()


def train(folder: Path) -> dict[str, str]:
    """Train a small network; return the hashes of its history and its weights."""
    from tests.conftest import write_prepared_file
    from xtcav_ml.config.train import LayerBlock, TrainParams
    from xtcav_ml.data.prepared import PreparedFile
    from xtcav_ml.learning import backend, fit

    params = validate_section(read_tree(ROOT / "params.yaml")["train"] | {"epochs": 2}, TrainParams, "train")
    sizes = {"stride": 1, "pool": "max", "pool_window": 5, "pool_stride": 3}
    blocks = (LayerBlock(channels=8, kernel=8, **sizes), LayerBlock(channels=6, kernel=5, **sizes))
    params = params.model_copy(update={"model": params.model.model_copy(update={"blocks": blocks})})
    backend.configure(params.seed, params.threads)
    rng, side = np.random.default_rng(0), np.arange(75) % 2
    frames = rng.normal(110, 5, (75, 80, 100)) + 40 * side[:, np.newaxis, np.newaxis]
    path = write_prepared_file(folder / "shots.h5", frames.astype(np.int16), side)
    with PreparedFile(path) as shots:
        fitted = fit.fit(shots, shots, params)
    weights = b"".join(values.tobytes() for values in fitted.model.get_weights())
    parts = {"history": json.dumps(fitted.history).encode(), "weights": weights}
    return {name: hashlib.md5(part).hexdigest() for name, part in parts.items()}


def at_level(level: str, function: str, folder: Path, processors: int = 0) -> dict[str, str]:
    """Return what a function of this module returns in a process at a level of the processor, with so many of them, or all."""
    above = DISPATCHED[DISPATCHED.index(level) + 1 :] if level in DISPATCHED else DISPATCHED
    lower = LOWER.get(level, {}) | ({"NPY_DISABLE_CPU_FEATURES": " ".join(above)} if above else {})
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.test_processors", function, folder, str(processors)],
        cwd=ROOT,
        env=os.environ | lower,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("level", ["X86_V2", *DISPATCHED])
def test_the_same_bytes_at_each_level_of_the_processor(level, tmp_path):
    assert at_level(level, "write", tmp_path) == KNOWN


def test_the_same_bytes_with_one_processor_which_is_one_thread(tmp_path):
    assert at_level(DISPATCHED[-1] if DISPATCHED else "X86_V2", "write", tmp_path, 1) == KNOWN


@pytest.mark.skipif("X86_V3" not in DISPATCHED, reason="a processor without AVX2 adds in another order")
def test_a_training_has_the_same_bits_with_avx2_as_with_what_this_processor_has(tmp_path):
    """Below AVX2 numba emulates the fused multiply-add: the same bits, too slow to be tried here."""
    assert at_level("X86_V3", "train", tmp_path) == at_level(DISPATCHED[-1], "train", tmp_path)


if __name__ == "__main__":
    if count := int(sys.argv[3]):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    print(json.dumps({"write": write, "train": train}[sys.argv[1]](Path(sys.argv[2]))))
