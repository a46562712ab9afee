"""The modern small network (experiments/modern.yaml) beside the default one: the same shots, several seeds.

    .venv/bin/python benchmarks/modern.py                    # after `make seeds`: accuracy, -> benchmarks/modern.json
    .venv/bin/python benchmarks/modern.py --time 1 2 3       # after `make repro`: seconds of trainings with these seeds

The first trains it on data/prepared with each of compare.seeds, and compares these settings with the default ones, of which
seeds/results has the predictions: over seeds and shots, as `xtcav compare` does. The second trains both in turns. Each training
is a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
PREPARED = ROOT / "data/prepared"
RESULT = ROOT / "benchmarks/modern.json"


def train(name: str, seed: int) -> None:
    """Print, as JSON, the seconds of a training, and the table of its predictions of the test shots."""
    from xtcav_ml.config import params_file
    from xtcav_ml.data.prepared import PreparedFile
    from xtcav_ml.learning import backend, fit
    from xtcav_ml.learning.batches import predict_all
    from xtcav_ml.learning.layer_plan import CLASS_HEAD
    from xtcav_ml.notes2016 import experiments
    from xtcav_ml.pipeline import evaluate
    from xtcav_ml.science import ceiling

    params = experiments.train_params(name) if name == "modern" else params_file.load_params().train
    params = params.model_copy(update={"seed": seed})
    backend.configure(seed, params.threads)
    with PreparedFile(PREPARED / "train.h5") as learned, PreparedFile(PREPARED / "validation.h5") as validation:
        wall, cpu = time.perf_counter(), time.process_time()
        fitted = fit.fit(learned, validation, params)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    with PreparedFile(PREPARED / "test.h5") as test:
        outputs = predict_all(fitted.model, test)
        columns = {name: [*map(str, values)] for name, values in evaluate.prediction_columns(test, outputs).items()}
        said = outputs[CLASS_HEAD].argmax(axis=1)
        expected = None if test.redrawn is None else ceiling.expected_accuracy(test.redrawn, said).value
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    print(json.dumps({"wall": wall, "cpu": cpu, "rows": rows, "expected": expected}))


def trained(name: str, seed: int) -> dict[str, Any]:
    """Return what a training in a process of its own prints."""
    command = [sys.executable, __file__, "--only", name, str(seed)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare_settings() -> None:
    """Train the modern network with each of compare.seeds; compare its accuracy, and write the result."""
    from xtcav_ml.config.compare import load_compare
    from xtcav_ml.config.paths import EVALUATION, GROUP_PREDICTIONS
    from xtcav_ml.data.compared_predictions import Run, compare_predictions, run_of
    from xtcav_ml.system import atomic

    limits, seeds = load_compare(), []
    for seed in limits.seeds:
        seeds.append(trained("modern", seed))
        print(f"seed {seed}: {seeds[-1]['wall']:.0f} s, CPU {seeds[-1]['cpu']:.0f} s", flush=True)
    default = run_of("default", GROUP_PREDICTIONS.read_text(encoding="utf-8"), independent=True)
    tables = [found["rows"] for found in seeds]
    result = compare_predictions([default, Run("modern", tables[0], tables, independent=True)])
    (one,), row = result["comparisons"], result["runs"][1]
    expected = [found["expected"] for found in seeds]
    accuracy = {
        "mean": row["accuracy"],
        "sd": row["accuracy_sd"],
        "low": row["accuracy_low"],
        "high": row["accuracy_high"],
    }
    each = {str(seed): {"expected_accuracy": value} for seed, value in zip(limits.seeds, expected, strict=True)}
    difference = {name: one[name] for name in ("difference", "low", "high", "p", "better", "found")}
    ceiling = json.loads(EVALUATION.read_text(encoding="utf-8"))["bayes_accuracy"]  # of the same shots
    values = {"shots": result["shots"], "bayes_accuracy": ceiling, "seeds": each}
    values |= {"mean": {"accuracy": accuracy}, "less_default": difference}
    atomic.write_json(RESULT, values)
    print(one["verdict"])


def compare_times(seeds: Sequence[int]) -> None:
    """Train both in turns with these seeds, and print the seconds."""
    seconds: dict[str, list[tuple[float, float]]] = {"default": [], "modern": []}
    for seed in seeds:
        for name, spent in seconds.items():
            found = trained(name, seed)
            spent.append((found["wall"], found["cpu"]))
            print(f"seed {seed}  {name:<8} {found['wall']:.0f} s, CPU {found['cpu']:.0f} s", flush=True)
    wall, cpu = np.median(seconds["modern"], axis=0) / np.median(seconds["default"], axis=0)
    print(f"training time, medians, modern over default: wall {wall:.2f}, CPU {cpu:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", type=int, nargs="+", metavar="SEED")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.chdir(ROOT)
    if arguments.only:
        train(arguments.only[0], int(arguments.only[1]))
    elif arguments.time:
        compare_times(arguments.time)
    else:
        compare_settings()


if __name__ == "__main__":
    main()
