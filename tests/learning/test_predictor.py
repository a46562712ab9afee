"""The same frame, prepared, predicted on and served: the network must be given the same numbers each time, bit for bit."""

import subprocess
import sys

import mlflow
import numpy as np
import pytest

from tests.conftest import SHAPE, StoredRun, write_prepared_file
from tests.learning.test_fit import PARAMS, untrained
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.prepare import Pixels
from xtcav_ml.data import model_file
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.data.raw_frames import read_frames
from xtcav_ml.learning import keras_file
from xtcav_ml.learning.layer_plan import CLASS_HEAD, FEATURES_INPUT, FRAME_INPUT, NUMBER_HEAD
from xtcav_ml.learning.predictor import FRAMES_A_CALL, NO_CLASS, Predictor
from xtcav_ml.pipeline import prepare
from xtcav_ml.tracking.registry import versions
from xtcav_ml.tracking.registry.serving import ShotModel

LISTS = {
    "default": [{"step": "subtract_dark"}, {"step": "block_mean", "size": 2}, {"step": "log"}],
    "every step": [
        {"step": "mend_hot_pixels", "threshold": 8.0},
        {"step": "subtract_dark"},
        {"step": "roi", "rows": (1, 23), "columns": (2, 20)},
        {"step": "block_mean", "size": 2},
        {"step": "clip", "low": -5.0, "high": 250.0},
        {"step": "log"},
        {"step": "contrast", "floor": 0.01},
    ],
    "dark later": [{"step": "mend_hot_pixels", "threshold": 8.0}, {"step": "subtract_dark"}],
}
TYPES = {"int16": 0.0005, "float16": None, "float32": None}


@pytest.fixture
def trained(raw_folder, params, tmp_path, request, keras_ready):
    """A raw folder, what prepare made of it, and a model that was trained on that, with a feature and a number."""
    name, dtype = request.param
    rules = params.prepare.model_dump() | {
        "images": tuple(LISTS[name]),
        "pixels": Pixels(dtype=dtype, quantum=0.01 if "dark" in name and dtype == "int16" else TYPES[dtype]),
        "features": ("bld.L3energy",),
        "regression": ("run.index",),
    }
    data = DataParams(raw=str(raw_folder), frame_shape=SHAPE, bad_files="fail")
    prepare.prepare_files(data, type(params.prepare).model_validate(rules), tmp_path / "prepared")
    with PreparedFile(tmp_path / "prepared/train.h5") as train:
        keras_file.save(untrained(train), train.spec, tmp_path / "model.keras")
        yield raw_folder, train, tmp_path / "model.keras"


def log_to_mlflow(model, folder, monkeypatch):
    """Return the model as MLflow loads it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder.mkdir()
    run = StoredRun(folder)
    versions.log_version(run.run_id, model, model_file.read_spec(model), ["keras"])
    run.finish()
    (logged,) = run.client.search_logged_models([run.experiment_id], f"source_run_id = '{run.run_id}'")
    return mlflow.pyfunc.load_model(logged.model_uri)


def readable(probabilities):
    """Return probabilities as a served model answers them, with six decimals."""
    return probabilities.astype(float).round(6).tolist()


@pytest.mark.parametrize(
    "trained",
    [
        ("every step", "int16"),
        ("dark later", "int16"),
        pytest.param(("default", "int16"), marks=pytest.mark.thorough),
        pytest.param(("default", "float16"), marks=pytest.mark.thorough),
        pytest.param(("every step", "float32"), marks=pytest.mark.thorough),
    ],
    indirect=True,
    ids="-".join,
)
def test_prepared_predicted_and_served_frames_are_the_same_bits(trained, tmp_path, monkeypatch):
    folder, train, model = trained
    rows = np.arange(0, train.shots, max(train.shots // 40, 1))
    expected = train.stored(rows)
    sources = [folder / train.source_files[int(number)] for number in train.column("source.file")[rows]]
    places = train.column("source.row")[rows].astype(np.int64)
    frames = np.concatenate([read_frames(file, place[None]) for file, place in zip(sources, places, strict=True)])
    predictor = Predictor(model)
    assert predictor.inputs(frames).tobytes() == expected.tobytes()
    assert predictor.inputs(frames[7:8]).tobytes() == expected[7:8].tobytes()  # whatever comes with it
    given = {
        FRAME_INPUT: expected[:FRAMES_A_CALL, ..., np.newaxis],
        FEATURES_INPUT: train.features[rows][:FRAMES_A_CALL],
    }
    direct = keras_file.load_network(model)[0].predict_on_batch(given)
    found = predictor.predict(frames, train.features[rows])
    assert found.probabilities.shape == (len(rows), 4)
    np.testing.assert_allclose(found.probabilities[:FRAMES_A_CALL], np.asarray(direct[CLASS_HEAD]), rtol=0, atol=1e-6)
    largest = np.abs(found.numbers).max()
    np.testing.assert_allclose(
        found.numbers[:FRAMES_A_CALL], np.asarray(direct[NUMBER_HEAD]), rtol=0, atol=1e-6 * largest
    )
    for count in (
        1,
        2,
        3,
        8,
        31,
    ):  # a shot's numbers do not depend on how many there are, nor on the threads, bit for bit
        few = Predictor(model, threads=count).predict(frames[:count], train.features[rows][:count])
        assert few.probabilities.tobytes() == found.probabilities[:count].tobytes()
        assert few.numbers.tobytes() == found.numbers[:count].tobytes()
    if train.spec.preprocessing.pixels.dtype == "int16":
        served = log_to_mlflow(model, tmp_path / "store", monkeypatch)
        given = {"frame": frames, "bld.L3energy": train.features[rows][:, 0]}
        table = served.predict(given)
        assert table["probability of t0"].tolist() == readable(found.probabilities[:, 1])
        assert table["run.index"].to_numpy().astype(np.float32).tobytes() == found.numbers[:, 0].tobytes()
        names = [train.classes[chosen] for chosen in found.probabilities.argmax(axis=1)]
        assert table["predicted"].tolist() == names


WITHOUT = """
import sys
from pathlib import Path

import numpy as np

from xtcav_ml.learning.predictor import Predictor

predictor = Predictor(Path(sys.argv[1]))
print(predictor.predict(np.zeros((2, *predictor.spec.preprocessing.raw_shape), np.int16), np.zeros((2, 1))).numbers.shape)
print([name for name in ("tensorflow", "keras", "jax") if name in sys.modules])
"""


@pytest.mark.parametrize("trained", [("default", "int16")], indirect=True)
def test_neither_keras_nor_tensorflow_is_imported(trained):
    done = subprocess.run([sys.executable, "-c", WITHOUT, trained[2]], capture_output=True, text=True, check=True)
    assert done.stdout == "(2, 1)\n[]\n"


def test_another_network_is_left_to_keras(tmp_path, keras_ready):
    frames = np.random.default_rng(0).integers(90, 200, (40, 8, 10)).astype(np.int16)
    blocks = tuple(block.model_copy(update={"activation": "gelu"}) for block in PARAMS.model.blocks)
    with PreparedFile(write_prepared_file(tmp_path / "train.h5", frames, np.arange(40) % 2)) as train:
        model = untrained(train, blocks=blocks)
        keras_file.save(model, train.spec, tmp_path / "model.keras")
    predictor = Predictor(tmp_path / "model.keras", threads=2)
    assert predictor.device == "TensorFlow on CPU, 2 threads"
    found, expected = (
        predictor.predict(frames),
        model.predict_on_batch({FRAME_INPUT: predictor.inputs(frames)[..., None]}),
    )
    np.testing.assert_allclose(found.probabilities, expected[CLASS_HEAD], rtol=0, atol=1e-6)


@pytest.mark.parametrize("trained", [("default", "int16")], indirect=True)
def test_frames_and_features_that_are_not_the_models_are_refused_and_a_missing_one_is_told(trained):
    predictor = Predictor(trained[2])
    frames = np.zeros((3, *SHAPE), np.int16)
    energy = np.full((3, 1), 4000.0)
    assert predictor.predict(frames, energy).probabilities.shape == (3, 4)
    assert predictor.predict(frames[:0], energy[:0]).numbers.shape == (0, 1)
    for wrong, features in ((frames[:, 1:], energy), (frames.astype(float), energy)):
        with pytest.raises(ValueError, match="frames must be"):
            predictor.predict(wrong, features)
    energy[1] = np.nan
    found = predictor.predict(frames, energy)
    assert found.predicted[1] == NO_CLASS
    assert np.isnan([*found.probabilities[1], *found.numbers[1]]).all()
    assert np.isfinite(found.probabilities[[0, 2]]).all()
    table = ShotModel(trained[2]).predict({"frame": frames, "bld.L3energy": energy[:, 0]})
    assert table["predicted"].isna().tolist() == [False, True, False]
    for features in (None, energy[:2], np.zeros((3, 2))):
        with pytest.raises(ValueError, match="features must be"):
            predictor.predict(frames, features)


def test_a_model_without_features_is_served_plain_frames(tmp_path, monkeypatch, keras_ready):
    frames = np.random.default_rng(0).integers(90, 200, (40, 8, 10)).astype(np.int16)
    path = write_prepared_file(tmp_path / "train.h5", frames, np.arange(40) % 2)
    with PreparedFile(path) as train:
        keras_file.save(untrained(train), train.spec, tmp_path / "model.keras")
    served = log_to_mlflow(tmp_path / "model.keras", tmp_path / "store", monkeypatch)
    assert served.metadata.metadata["inputs"] == {"frame": "int16 (-1, 8, 10)"}
    table = served.predict(frames)
    assert list(table) == ["probability of no", "probability of yes", "predicted"]
    expected = Predictor(tmp_path / "model.keras").predict(frames).probabilities
    assert table["probability of yes"].tolist() == readable(expected[:, 1])
    with pytest.raises(mlflow.MlflowException):
        served.predict(frames.astype(np.float64))
