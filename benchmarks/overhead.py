"""What everything around Keras costs: the train stage against bare Keras `fit` on arrays in memory, same network.

Both train the network of params.yaml on data/prepared (make repro first), validation after every epoch. `stage` is what
`dvc repro` runs: reading from disk, diagnostics, checkpoints, resources, an MLflow run with its model. `bare` holds all in
memory and does nothing else. In turns, in fresh processes; seconds of the training alone, without the import of the libraries.

    .venv/bin/python benchmarks/overhead.py [--epochs 24] [--turns 3]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PREPARED = ROOT / "data/prepared"


def bare(epochs: int) -> float:
    """Return the seconds of Keras alone."""
    import numpy as np

    from xtcav_ml.config import params_file
    from xtcav_ml.data.prepared import PreparedFile
    from xtcav_ml.learning import backend, layer_plan, losses, networks, normalization, optimizers
    from xtcav_ml.learning.layer_plan import CLASS_HEAD, FRAME_INPUT, Ends

    params = params_file.load_params().train
    backend.configure(params.seed, params.threads)
    kept = []
    for name in ("train", "validation"):
        with PreparedFile(PREPARED / f"{name}.h5") as file:
            frames = np.array(file.stored(np.arange(file.shots)))[..., np.newaxis]
            kept.append(({FRAME_INPUT: frames}, {CLASS_HEAD: file.labels.astype(np.int32)}))
            if name == "train":
                ends = Ends.of(file.spec)
                statistics = normalization.statistics_of(file, params.model.standardize)
    started = time.perf_counter()
    layers = layer_plan.fused(layer_plan.plan_layers(params.model, ends), params.precision)
    model = networks.build(layers, params.model, statistics, seed=params.seed)
    model.compile(
        optimizer=optimizers.make_optimizer(params.optimizer, 1000), **losses.compiled(ends, statistics.numbers.sd, 1.0)
    )
    model.fit(*kept[0], validation_data=kept[1], batch_size=params.batch_size, epochs=epochs, verbose=0)
    return time.perf_counter() - started


def stage(epochs: int) -> float:
    """Return the seconds of the train stage."""
    from xtcav_ml.config import params_file
    from xtcav_ml.pipeline import train
    from xtcav_ml.tracking import mlflow_store, resources, runs

    params = params_file.load_params().train.model_copy(update={"epochs": epochs})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        mlflow_store.connect(ROOT)  # makes the database, which a project does once
        resources.RESOURCES = runs.RESOURCES = folder / "resources"
        started = time.perf_counter()
        with runs.training_run("CPU") as run:
            model, history = folder / "models/model.keras", folder / "history.jsonl"
            with resources.measured("train"):
                train.train_network(params, PREPARED, model, history, [run], run.identity)
            runs.log_model(run.run, model)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", choices=["bare", "stage"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.chdir(ROOT)
    if arguments.only:
        print("seconds:", {"bare": bare, "stage": stage}[arguments.only](arguments.epochs))
        return
    found: dict[str, list[float]] = {"bare": [], "stage": []}
    for _ in range(arguments.turns):
        for name, times in found.items():
            command = [sys.executable, __file__, "--only", name, "--epochs", str(arguments.epochs)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            times.append(float(done.stdout.split("seconds:")[-1]))
            print(f"  {name:<6} {times[-1]:>7.1f} s", flush=True)
    one, other = (statistics.median(times) for times in found.values())
    told = f"bare {one:.1f} s, stage {other:.1f} s, {other / one:.3f} times"
    print(f"medians of {arguments.turns} turns of {arguments.epochs} epochs: {told}")


if __name__ == "__main__":
    main()
