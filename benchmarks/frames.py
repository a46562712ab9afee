"""One raw camera frame to its label, many at once, and the start, beside what one would write with plain Keras.

The network is that of params.yaml with its preprocessing of a raw frame. Frames come one by one, each way in turns: between two
frames of a way others have used the caches, as with a camera. A shot comes every 8.3 ms at 120 Hz. A start ends with the first
frame's probabilities; its limit is a Python that imports numpy.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
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

SINGLE = 1000  # frames one by one
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


def ours(path: str, at_once: int) -> Made:
    """Return a call of what `xtcav predict` and the served model call."""
    from xtcav_ml.learning.predictor import Predictor

    predictor, shots = Predictor(Path(path)), frames(at_once)
    return lambda: predictor.predict(shots), predictor.predict(shots).probabilities


def plain(path: str, at_once: int, how: str) -> Made:
    """Return a call of plain Keras after the same preprocessing: `predict` of a model, the model itself, or compiled."""
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

    return call, call()


def compared(path: str, at_once: int, turns: int) -> list[Row]:
    """Return a row for each way from `at_once` raw frames to their probabilities."""
    makers: dict[str, tuple[Any, ...]] = {"this project": (ours, path, at_once)}
    ways = {"model.predict": "predict", "model(...)": "call", "tf.function": "compiled"}
    makers |= {f"Keras, {name}": (plain, path, at_once, how) for name, how in ways.items()}
    running = contenders.started(makers)
    contenders.require_same(running)
    times = contenders.in_turns(running, turns)
    peaks = {name: one.end() for name, one in running.items()}
    title = "one raw frame" if at_once == 1 else f"a raw frame, {at_once} at once"
    return tables.rows(f"{title} to probabilities", times, at_once, peaks, ("a shot at 120 Hz", SHOT))


OURS = """
from xtcav_ml.learning.predictor import Predictor
predictor = Predictor(Path(sys.argv[1]))
predictor.predict(np.zeros((1, *predictor.spec.preprocessing.raw_shape), np.int16))
"""
PLAIN = """
import keras
model = keras.saving.load_model(sys.argv[1], compile=False)
model({name: np.zeros((1, *tensor.shape[1:]), tensor.dtype) for name, tensor in model.input.items()})
"""


def starts(path: str, turns: int) -> list[Row]:
    """Return a row for the start of each way, up to the first probabilities."""

    def start(program: str) -> Callable[[], float]:
        command = (sys.executable, "-c", f"import sys\nfrom pathlib import Path\nimport numpy as np\n{program}", path)
        return contenders.timed(lambda: subprocess.run(command, capture_output=True, check=True))

    ways = {"this project": start(OURS), "Keras": start(PLAIN), "numpy alone": start("")}
    times = contenders.in_turns(ways, turns)
    least = statistics.median(times.pop("numpy alone"))
    return tables.rows("start to the first frame", times, 1, limit=("importing numpy", least))


def measure(turns: int, threads: int, quick: bool) -> list[list[Row]]:
    """Return the tables of this module."""
    del threads  # as the model is served: with all processors
    with tempfile.TemporaryDirectory() as name:
        writer = contenders.Contender(_model, Path(name))
        writer.end()
        path = writer.answers
        single = compared(path, 1, 4 if quick else SINGLE)
        return [single, compared(path, 64, turns) + starts(path, min(turns, 5))]
