"""A training in one process and in two, which test_ranks.py starts with JAX as the backend; prints what came of it as JSON."""

import hashlib
import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import numpy as np

from tests.learning.conftest import PARAMS, write
from xtcav_ml.config.train import Augment
from xtcav_ml.learning import backend, fit
from xtcav_ml.learning.checkpoint import Checkpoints
from xtcav_ml.system.errors import UserError

BLOCK = PARAMS.model.blocks[0].model_copy(update={"batch_norm": True, "dropout": 0.2})
PARAMS = PARAMS.model_copy(
    update={
        "epochs": 3,
        "class_weights": True,
        "augment": Augment(shift=(1, 1), gain=0.1, noise=0.05),
        "model": PARAMS.model.model_copy(update={"blocks": (BLOCK,), "initializer": "he"}),
        "optimizer": PARAMS.optimizer.model_copy(update={"learning_rate": 0.01}),
    }
)


class Heard:
    """Keeps what it is told; after an epoch it kills the process `killed`, counted from 0."""

    def __init__(self, killed=None):
        self.steps, self.epochs, self.resumed, self.killed = [], [], 0, killed

    def on_step(self, step, steps):
        self.steps.append(step)

    def on_resume(self, epochs, remarks):
        self.resumed = epochs

    def on_epoch(self, epoch, values, seconds):
        self.epochs.append(epoch)
        if self.killed is not None:
            ranks = sorted(multiprocessing.active_children(), key=lambda process: process.pid)
            os.kill(ranks[self.killed].pid, signal.SIGKILL)


def train(sets, processes, *, epochs=PARAMS.epochs, killed=None, checkpoints=None):
    """Train; return what was heard, what came of it or the error, and whether all processes have ended."""
    heard = Heard(killed)
    result = {}
    try:
        params = PARAMS.model_copy(update={"processes": processes, "epochs": epochs})
        fitted = fit.fit(*sets, params, [heard], checkpoints)
        digest = hashlib.sha256(b"".join(np.asarray(w).tobytes() for w in fitted.model.get_weights())).hexdigest()
        result = {"history": fitted.history, "digest": digest}
    except UserError as error:
        result = {"error": str(error)}
    alive = len(multiprocessing.active_children())
    heard = {"steps": heard.steps, "epochs": heard.epochs, "resumed": heard.resumed}
    return {**result, **heard, "alive": alive}


def main(folder):
    backend.configure(PARAMS.seed, PARAMS.threads)
    sets = [write(folder / f"{name}.h5", count, count) for name, count in (("train", 45), ("validation", 20))]
    odd = [sets[0], write(folder / "odd.h5", 21, 21)]
    checkpoints = Checkpoints(folder / "checkpoints", {"name": "of two"})
    results = {
        "one": train(sets, 1),
        "one, odd": train(odd, 1, epochs=1),
        "two": train(sets, 2),
        "killed": train(odd, 2, killed=1, checkpoints=checkpoints),
        "killed then resumed": train(sets, 2, checkpoints=checkpoints),
    }
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
