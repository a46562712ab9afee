"""Every layout of test_layouts through scan, check, prepare, train and predict: as the plain files, bit for bit.

Some of each kind are thorough tests, all of them a slow one.
"""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.data.test_layouts import CURED, LAYOUTS, everywhere, outcome, parameters, plain_folder
from xtcav_ml.config.base import overridden
from xtcav_ml.config.params_file import Params
from xtcav_ml.config.schema import PEAKS_LABEL
from xtcav_ml.pipeline import train
from xtcav_ml.tools import predict

SMALL = {"train.batch_size": 64, "train.epochs": 1, "train.model.hidden": (4,), "train.model.initial_sd": 0.1}
SMALL |= {f"train.model.blocks.{block}.channels": 2 for block in (0, 1)}

THOROUGH = ("frames u2", "frames lz4", "packed time", "a run in the name of the file", "parts of a label, in turns")


def cured(change: Callable[[h5py.File], object]) -> Callable[[Path], object]:
    return lambda folder: everywhere(change, folder)


KINDS: dict[str, tuple[dict[str, Any], Callable[[Path], object]]] = {
    **LAYOUTS,
    **{f"cured, {name}": (cure, cured(change)) for name, (_, change, cure) in CURED.items()},
}


def predictions(params: Params, folder: Path, layout: dict[str, Any], out: Path) -> np.ndarray:
    """Return the probabilities (shots, classes) that a network trained on a folder predicts for it, file by file."""
    given = parameters(params, folder, layout)
    outcome(given, out)
    model = out / "model.keras"
    train.train_network(overridden(given.train, "train", SMALL), out / "prepared", model, out / "history.jsonl")
    written = predict.predict_files(model, [folder], out / "predictions", 2, given.data.layout)
    assert [path.relative_to(out / "predictions") for path in written] == sorted(
        path.relative_to(out / "predictions") for path in written
    )
    found = []
    for path in written:
        with h5py.File(path) as file:
            found.append(file["probability"][:])
    return np.concatenate(found)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, params, keras_ready):
    """Return the plain files, with a shot that has no label if they are to be `cured`, and what is predicted of them."""

    @functools.cache
    def make(unlabelled: bool) -> tuple[Path, np.ndarray]:
        folder = tmp_path_factory.mktemp("plain")
        plain_folder(folder / "raw")
        with h5py.File(folder / "raw/amo86815-r0070.h5", "r+") as file:
            file[PEAKS_LABEL][3] = -1 if unlabelled else file[PEAKS_LABEL][3]
        found = predictions(params, folder / "raw", {}, folder)
        assert len(np.unique(found, axis=0)) > 200
        return folder / "raw", found

    return make


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in THOROUGH else pytest.mark.slow) for name in KINDS]
)
def test_a_layout_gives_the_predictions_of_the_plain_files(name, plain, params, tmp_path):
    layout, change = KINDS[name]
    original, expected = plain(name.startswith("cured"))
    folder = shutil.copytree(original, tmp_path / "raw")
    change(folder)
    np.testing.assert_array_equal(predictions(params, folder, layout, tmp_path), expected)
