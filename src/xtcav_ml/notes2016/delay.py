"""experiment delay-run70: networks on real shots without frames, beside polynomials, each seed with other minutes held out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import keras_file
from xtcav_ml.learning.batches import predict_all
from xtcav_ml.learning.layer_plan import NUMBER_HEAD
from xtcav_ml.notes2016 import experiments
from xtcav_ml.science import two_level
from xtcav_ml.science.polynomial import Polynomial
from xtcav_ml.system import atomic
from xtcav_ml.system.progress import console

NETWORK, MEASURED = "network", "mean absolute error"
FITS = {"mean": 0, "linear": 1, "quadratic": 2}
"""What stands beside the networks: polynomials of this degree, fitted to the same training shots."""


def measure(name: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Measure the trained networks of `seeds`, and FITS, on the test shots of each seed; write the results and return them.

    The mean absolute error of each, with its spread and interval over seeds, which are of networks and of held-out blocks.
    """
    found = [_measured(name, seed) for seed in seeds]
    values: dict[str, Any] = {"seeds": [{"seed": seed} | one for seed, one in zip(seeds, found, strict=True)]}
    for what in (NETWORK, *FITS):
        errors = np.array([one["mean_absolute_error"][what] for one in found])
        values[what] = asdict(two_level.spread(errors[:, np.newaxis]))
    atomic.write_json(experiments.result_file(name), values)
    words = ", ".join(f"{what} {values[what]['mean']:.2f}" for what in FITS)
    console().print(f"experiment {name}: {MEASURED} {in_words(values[NETWORK])}; {words}")
    return values


def of_network(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was measured of the network alone, of the results of one seed."""
    return {
        MEASURED: one["mean_absolute_error"][NETWORK],
        "test_shots": one["test_shots"],
        "train_shots": one["train_shots"],
    }


def in_words(found: dict[str, float]) -> str:
    """Return a mean absolute error and its interval."""
    return f"{found['mean']:.3f} fs ({found['low']:.3f} to {found['high']:.3f})"


def _measured(name: str, seed: int) -> dict[str, Any]:
    """Return the errors on the test shots of one seed, their number, and the numbers of the blocks that were held out."""
    folder, block = experiments.data_folder(name, seed), experiments.shot_params(name)[1].split.block
    model, _ = keras_file.load_network(experiments.trained_folder(name, seed) / "model.keras")
    with PreparedFile(folder / "train.h5") as train, PreparedFile(folder / "test.h5") as test:
        predicted = {NETWORK: predict_all(model, test)[NUMBER_HEAD][:, 0]} | {
            fit: Polynomial.fit(train.features, train.targets[:, 0], degree).predict(test.features)
            for fit, degree in FITS.items()
        }
        held_out = np.unique(test.column("run.index").astype(np.int64) // block)
        return {
            "mean_absolute_error": {
                what: float(np.abs(numbers - test.targets[:, 0]).mean(dtype=np.float64))
                for what, numbers in predicted.items()
            },
            "test_shots": test.shots,
            "train_shots": train.shots,
            "blocks": [int(number) for number in held_out],
        }
