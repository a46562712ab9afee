"""What tracking costs a training: seconds in its thread, and CPU time of the thread that uploads.

Trains the network of params.yaml on data/prepared (make repro first); journal and MLflow database are in a temporary folder.

    .venv/bin/python benchmarks/tracking.py [--epochs 5]
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    epochs = parser.parse_args().epochs
    os.chdir(ROOT)
    from xtcav_ml.config import params_file
    from xtcav_ml.pipeline import train
    from xtcav_ml.tracking import runs
    from xtcav_ml.tracking.tracker import Tracker

    class Timed:
        """A listener that times another."""

        def __init__(self, listener):
            self.listener, self.seconds = listener, 0.0

        def __getattr__(self, name):
            def call(*arguments):
                started = time.perf_counter()
                getattr(self.listener, name)(*arguments)
                self.seconds += time.perf_counter() - started

            return call

    params = params_file.load_params().train.model_copy(update={"epochs": epochs})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        with Tracker(folder) as tracker:
            listener = Timed(runs.TrainingRun(tracker.start("benchmark", {}), {}))
            clock = time.pthread_getcpuclockid(tracker.uploader._thread.ident)
            started, before = time.perf_counter(), time.clock_gettime(clock)
            train.train_network(
                params, ROOT / "data/prepared", folder / "model.keras", folder / "history.jsonl", [listener]
            )
            seconds, uploading = time.perf_counter() - started, time.clock_gettime(clock) - before
            listener.listener.run.finish()
    inside, cpu = 1000 * listener.seconds / epochs, 1000 * uploading / epochs
    share = (inside + cpu) / (10 * seconds / epochs)
    print(
        f"{epochs} epochs of {seconds / epochs:.2f} s: {inside:.1f} ms an epoch on the training's thread, {cpu:.1f} ms of CPU"
    )
    print(f"to upload it, together {share:.2f} % of the training")


if __name__ == "__main__":
    main()
