"""One raw camera frame to its label, and many at once, beside what one would write with plain Keras.

The network is that of params.yaml with its preprocessing of a raw frame. A shot comes every 8.3 ms at 120 Hz.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contenders, tables
from benchmarks.tables import Row
from benchmarks.training import Made
from xtcav_ml.config import params_file
from xtcav_ml.learning import layer_plan
from xtcav_ml.learning.layer_plan import FRAME_INPUT, Ends
from xtcav_ml.science.images import Dark
from xtcav_ml.science.spec import LearningSpec

CALLS = 40  # frames in a turn, one by one
SHOT = 1 / 120  # seconds


def _model(folder: Path) -> Made:
    """Write an untrained model file of params.yaml, as `xtcav train` does."""
    from xtcav_ml.learning import keras_file, networks
    from xtcav_ml.learning.normalization import Statistics, TrainingStatistics

    params, path = params_file.load_params(), folder / "model.keras"
    shape = params.data.frame_shape
    dark = Dark(np.full(shape, 100, np.float32), np.full(shape, 3, np.float32))
    spec = LearningSpec.of(params.prepare, shape, dark)
    none = Statistics(*np.empty((2, 0), np.float32))
    statistics = TrainingStatistics(Statistics(np.float32(2000), np.float32(2000)), none, none)
    layers = layer_plan.plan_layers(params.train.model, Ends.of(spec))
    keras_file.save(networks.build(layers, params.train.model, statistics, seed=1), spec, path)
    return lambda: None, str(path)


def frames(count: int) -> np.ndarray:
    """Return raw frames (N, rows, columns), ADU."""
    shape = params_file.load_params().data.frame_shape
    rng = np.random.default_rng(0)
    rows, columns = (np.arange(side) / side - 0.5 for side in shape)
    beam = 1500 * np.exp(-((rows[:, None] / 0.08) ** 2) - (columns / 0.12) ** 2)
    return np.stack([np.rint(rng.normal(100, 3, shape) + beam * rng.uniform(0.2, 2)) for _ in range(count)]).astype(
        "i2"
    )


def ours(path: str, at_once: int, calls: int) -> Made:
    """Return calls of what `xtcav predict` and the served model call."""
    from xtcav_ml.learning.predictor import Predictor

    predictor, shots = Predictor(Path(path)), frames(at_once)
    return lambda: [predictor.predict(shots) for _ in range(calls)], predictor.predict(shots).probabilities


def plain(path: str, at_once: int, calls: int, how: str) -> Made:
    """Return calls of plain Keras after the same preprocessing: `predict` of a model, the model itself, or compiled."""
    from xtcav_ml.learning.predictor import Predictor

    predictor, shots = Predictor(Path(path)), frames(at_once)
    import keras
    import tensorflow as tf

    model = keras.saving.load_model(path, compile=False)
    compiled = tf.function(lambda pixels: model({FRAME_INPUT: pixels}))

    def call() -> Any:
        pixels = predictor.inputs(shots)[..., np.newaxis]
        if how == "predict":
            return model.predict({FRAME_INPUT: pixels}, verbose=0)["output"]
        if how == "call":
            return model({FRAME_INPUT: pixels})["output"].numpy()
        return compiled(pixels)["output"].numpy()

    return lambda: [call() for _ in range(calls)], call()


def compared(path: str, at_once: int, calls: int, turns: int) -> list[Row]:
    """Return a row for each way from `at_once` raw frames to their probabilities."""
    makers: dict[str, tuple[Any, ...]] = {"this project": (ours, path, at_once, calls)}
    ways = {"model.predict": "predict", "model(...)": "call", "tf.function": "compiled"}
    makers |= {f"Keras, {name}": (plain, path, at_once, calls, how) for name, how in ways.items()}
    running = contenders.started(makers)
    contenders.require_same(running)
    times = contenders.in_turns(running, turns)
    peaks = {name: one.end() for name, one in running.items()}
    title = "one raw frame" if at_once == 1 else f"a raw frame, {at_once} at once"
    return tables.rows(f"{title} to probabilities", times, calls * at_once, peaks, ("a shot at 120 Hz", SHOT))


def measure(turns: int, threads: int, quick: bool) -> list[list[Row]]:
    """Return the tables of this module."""
    del threads  # as the model is served: with all processors
    with tempfile.TemporaryDirectory() as name:
        writer = contenders.Contender(_model, Path(name))
        writer.end()
        path = writer.answers
        return [compared(path, 1, 4 if quick else CALLS, turns) + compared(path, 64, 1, turns)]
