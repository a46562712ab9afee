"""experiment delay-run70: networks of several seeds on real shots without frames, beside polynomials, on held-out minutes."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import keras_file
from xtcav_ml.learning.batches import predict_all
from xtcav_ml.learning.layer_plan import NUMBER_HEAD
from xtcav_ml.notes2016 import experiments
from xtcav_ml.science import blocks, two_level
from xtcav_ml.science.polynomial import Polynomial
from xtcav_ml.system import atomic
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console

FITS = {"mean": 0, "linear": 1, "quadratic": 2}
"""What stands beside the networks: polynomials of this degree, fitted to the same training shots."""


def require_raw(name: str) -> None:
    """Raise UserError if experiment `name` is of raw files that are not there."""
    raw = experiments.load_experiment(name).raw
    if raw is not None and not Path(raw).is_dir():
        raise UserError(
            f"{raw}: missing (expected the raw files of {name}). Fix: run `xtcav import lcls2017 FOLDER`, where FOLDER has the "
            "arrays that docs/real-data.md names"
        )


def measure(name: str, seeds: Sequence[int]) -> None:
    """Measure the trained networks of `seeds`, and FITS, on the test shots of experiment `name`, and write its results."""
    folder = experiments.data_folder(name)
    with PreparedFile(folder / "train.h5") as train, PreparedFile(folder / "test.h5") as test:
        models = [experiments.trained_folder(name, seed) / "model.keras" for seed in seeds]
        found = _errors(np.stack([_predicted(model, test) for model in models]), test)
        values: dict[str, Any] = {"seeds": list(seeds), "test_shots": test.shots, "train_shots": train.shots}
        values |= {"minutes": _minutes(test, experiments.shot_params(name)[1].split.block)}
        values |= {"mean_absolute_error": found, "fits": {}}
        for fit, degree in FITS.items():
            polynomial = Polynomial.fit(train.features, train.targets[:, 0], degree)
            values["fits"][fit] = _errors(polynomial.predict(test.features)[np.newaxis], test)
    atomic.write_json(experiments.result_file(name), values)
    console().print(f"experiment {name}: mean absolute error {in_words(values)}")


def in_words(values: dict[str, Any]) -> str:
    """Return the results of `measure` in a line."""
    found, fits = values["mean_absolute_error"], values["fits"]
    others = ", ".join(f"{name} {fit['mean']:.2f}" for name, fit in fits.items())
    return (
        f"{found['mean']:.3f} fs ({found['low']:.3f} to {found['high']:.3f}; s.d. of {len(values['seeds'])} seeds "
        f"{found['sd']:.3f}) of {values['test_shots']:,} shots; {others}"
    )


def _predicted(model: Path, test: PreparedFile) -> NDArray[np.floating]:
    """Return what a network says of the test shots (N,)."""
    return predict_all(keras_file.load_network(model)[0], test)[NUMBER_HEAD][:, 0]


def _errors(predicted: NDArray[np.floating], test: PreparedFile) -> dict[str, Any]:
    """Return the mean absolute error of predictions (seeds, N), its spread over seeds, and its interval over seeds and shots.

    Of a single prediction there is no spread. Shots near in time are alike, which the interval allows for.
    """
    errors = np.abs(predicted - test.targets[:, 0])
    of_time = blocks.of_time(*(test.column(name) for name in ("run", "run.index")))
    values = asdict(two_level.spread(errors.astype(np.float64), of_time))
    return values if len(errors) > 1 else {name: value for name, value in values.items() if name != "sd"}


def _minutes(test: PreparedFile, block: int) -> list[int]:
    """Return the numbers of the blocks that were held out."""
    return [int(number) for number in np.unique(test.column("run.index").astype(np.int64) // block)]
