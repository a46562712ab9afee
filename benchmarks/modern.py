"""The modern small network (experiments/modern.yaml) beside the default one: the same shots, several seeds, paired tests.

Each is trained on data/prepared (make repro first) with each seed, in turns, in processes of their own, and says what it sees
in the test shots. Printed are accuracy with interval, seconds of wall and CPU time of the training, McNemar's test of each
modern network against the default one of the same seed, a paired bootstrap of the shots over all seeds, and the ceiling that
the noise of the labels sets.

    .venv/bin/python benchmarks/modern.py [--seeds 1 2 3]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
PREPARED = ROOT / "data/prepared"


def train(name: str, seed: int) -> None:
    """Print, as JSON, the seconds of a training and which test shots it is right on."""
    from xtcav_ml.config import params_file
    from xtcav_ml.data.prepared import PreparedFile
    from xtcav_ml.learning import backend, fit
    from xtcav_ml.learning.batches import Batches
    from xtcav_ml.learning.layer_plan import CLASS_HEAD
    from xtcav_ml.notes2016 import experiments

    params = experiments.train_params(name) if name == "modern" else params_file.load_params().train
    params = params.model_copy(update={"seed": seed})
    backend.configure(seed, params.threads)
    with PreparedFile(PREPARED / "train.h5") as learned, PreparedFile(PREPARED / "validation.h5") as validation:
        wall, cpu = time.perf_counter(), time.process_time()
        fitted = fit.fit(learned, validation, params)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    with PreparedFile(PREPARED / "test.h5") as test:
        said = fitted.model.predict(Batches(test, 64), verbose=0)[CLASS_HEAD].argmax(axis=1)
        right, truth = (said == test.labels).tolist(), test.truth
        ceiling = None if truth is None else int((truth == test.labels).sum())
    print(json.dumps({"wall": wall, "cpu": cpu, "right": right, "ceiling": ceiling}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.chdir(ROOT)
    if arguments.only:
        train(arguments.only[0], int(arguments.only[1]))
        return
    from xtcav_ml.science import metrics, significance

    seconds: dict[str, list[tuple[float, float]]] = {"default": [], "modern": []}
    wrong: dict[str, list[np.ndarray]] = {"default": [], "modern": []}
    for seed in arguments.seeds:
        right = {}
        for name, spent in seconds.items():
            command = [sys.executable, __file__, "--only", name, str(seed)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            right[name] = np.array(found["right"])
            spent.append((found["wall"], found["cpu"]))
            wrong[name].append(~right[name])
            hits, shots = int(right[name].sum()), len(right[name])
            low, high = metrics.wilson_interval(hits, shots)
            print(
                f"seed {seed}  {name:<8} {hits} of {shots}, {hits / shots:.1%} ({low:.1%} to {high:.1%}); "
                f"{found['wall']:.0f} s, CPU {found['cpu']:.0f} s",
                flush=True,
            )
        pair = significance.accuracies(right["default"], right["modern"])
        print(
            f"        modern less default {100 * pair.difference.value:+.1f} points, p = {pair.difference.p:.2g}",
            flush=True,
        )
    means = [np.mean(wrong[name], axis=0) for name in ("default", "modern")]  # of each shot, over the seeds
    pooled = significance.absolute_errors(*means)
    print(
        f"over all seeds: modern less default {-100 * pooled.value:+.1f} points ({-100 * pooled.high:+.1f} to "
        f"{-100 * pooled.low:+.1f}), paired bootstrap of the shots, p = {pooled.p:.2g}"
    )
    if found["ceiling"] is not None:
        low, high = metrics.wilson_interval(found["ceiling"], shots)
        print(f"ceiling by the noise of the labels {found['ceiling'] / shots:.1%} ({low:.1%} to {high:.1%})")
    wall, cpu = np.median(seconds["modern"], axis=0) / np.median(seconds["default"], axis=0)
    print(f"training time, medians, modern over default: wall {wall:.2f}, CPU {cpu:.2f}")


if __name__ == "__main__":
    main()
