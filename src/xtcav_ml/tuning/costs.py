"""What a network costs, for a search with several objectives: a frame's time, and the memory of a training step.

Both follow from the layers, whatever their weights are. So a network is timed once in a study, before it is trained, and trials
with the same layers have the same time to the last digit.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from optuna import Trial

from xtcav_ml.config.train import TrainParams
from xtcav_ml.config.tune import MEMORY, MILLISECONDS
from xtcav_ml.learning import layer_plan, rules
from xtcav_ml.learning.layer_plan import Ends
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system.child_process import ChildProcess

if TYPE_CHECKING:
    from xtcav_ml.data.prepared import PreparedFile

LAYERS = "layers"  # user attribute of a trial whose network was timed: a hash of what it computes
ONLY_TRAIN = ("Dropout", "GaussianNoise")
LEAST_CALLS, SECONDS = 20, 1.0  # timed calls, and the processor's time for them


def measure(trial: Trial, names: Sequence[str], params: TrainParams, prepared: "PreparedFile") -> dict[str, float]:
    """Return what a trial's network on the `prepared` training set costs, of what `names` has, and keep it with the trial.

    Milliseconds are the processor's, of one thread, for one raw frame from the camera's pixels to the prediction, as
    `xtcav predict` computes it: the least of many calls. Memory is estimated, in GB, as for tune.memory_gb. Raises UserError if
    there is no such network, and Killed.
    """
    measured: dict[str, Callable[[], float]] = {
        MILLISECONDS: lambda: _milliseconds(trial, params, prepared),
        MEMORY: lambda: round(rules.planned_memory(params, Ends.of(prepared.spec)) / 1e9, 4),
    }
    for name in names:
        if name in measured and name not in trial.user_attrs:
            trial.set_user_attr(name, measured[name]())
    return kept(trial, names)


def kept(trial: Trial, names: Sequence[str]) -> dict[str, float]:
    """Return the costs that were measured of a trial."""
    return {name: trial.user_attrs[name] for name in names if name in (MILLISECONDS, MEMORY)}


def _milliseconds(trial: Trial, params: TrainParams, prepared: "PreparedFile") -> float:
    """Return the time of a trial's network: that of a trial with the same layers, or else as measured now."""
    layers = layers_key(params, prepared.spec)
    trial.set_user_attr(LAYERS, layers)
    for other in trial.study.get_trials(deepcopy=False):
        if other.user_attrs.get(LAYERS) == layers and MILLISECONDS in other.user_attrs:
            return float(other.user_attrs[MILLISECONDS])
    arguments, subject = (params, prepared.path.parent), f"trial {trial.number}"
    timing = ChildProcess(time_network, *arguments, subject=subject, cure="lower tune.memory_gb")
    for _ in timing:
        pass
    return float(timing.result)


def layers_key(params: TrainParams, spec: LearningSpec) -> str:
    """Return a hash of the layers that compute a prediction."""
    plan = layer_plan.plan_layers(params.model, Ends.of(spec))
    layers = [(each.kind, each.shape, each.options) for each in plan if each.kind not in ONLY_TRAIN]
    return hashlib.sha256(repr(layers).encode()).hexdigest()[:16]


def time_network(send: Callable[[None], bool], params: TrainParams, data: Path) -> float:
    """Return the milliseconds of an untrained network of `params` for a frame as those of `data`/train.h5."""
    from xtcav_ml.data.prepared import PreparedFile
    from xtcav_ml.learning import backend, keras_file, networks, normalization
    from xtcav_ml.learning.predictor import Predictor

    backend.configure(params.seed, threads=1)
    with PreparedFile(data / "train.h5") as train, tempfile.TemporaryDirectory() as folder:
        plan = layer_plan.plan_layers(params.model, Ends.of(train.spec))
        statistics = normalization.statistics_of(train, params.model.standardize)
        path = Path(folder) / "model.keras"
        keras_file.save(networks.build(plan, params.model, statistics, seed=params.seed), train.spec, path)
        frame, features = _raw_frame(train.spec), train.features[:1]
        predictor = Predictor(path, threads=1)
        return _least(lambda: predictor.predict(frame, features))


def _raw_frame(spec: LearningSpec) -> NDArray[np.int16]:
    """Return a frame as the dark run's, (1, rows, columns): the time does not depend on what is on it."""
    dark, shape = spec.preprocessing.dark, spec.preprocessing.raw_shape
    level = np.zeros(shape) if dark is None else dark.mean
    return level.round().astype(np.int16)[np.newaxis]


def _least(call: Callable[[], object]) -> float:
    """Return the least milliseconds of the processor that a call takes: all that disturbs a call makes it longer."""
    call()
    times: list[float] = []
    while len(times) < LEAST_CALLS or sum(times) < SECONDS:
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return float(f"{1000 * min(times):.3g}")
