"""Shots without frames, through all that handles shots: features alone are learned, classes and numbers."""

import json

import h5py
import numpy as np
import pytest

from tests.lcls2017_files import FEATURES, write_arrays
from xtcav_ml.config.base import overridden
from xtcav_ml.config.params_file import Params
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.data.result_files import Checked, read
from xtcav_ml.learning import layer_plan
from xtcav_ml.learning.predictor import Predictor
from xtcav_ml.pipeline import check, evaluate, prepare, train
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.http_limits import Refused
from xtcav_ml.tools import describe, import_data, predict, scan, show
from xtcav_ml.tracking.registry import packaging, request_body, serving


def without_frames(params, raw) -> Params:
    """Return parameters with which a class and a number are learned from the features of files in `raw`."""
    changes = {
        "data": {"data.raw": str(raw), "data.frame_shape": None},
        "prepare": {
            "prepare.label": "late",
            "prepare.classes": ["early", "late"],
            "prepare.regression": ["xtcav.delay"],
            "prepare.features": FEATURES,
            "prepare.include": {"bld.ebeam.damageMask": 0},
            "prepare.within": {"xtcav.delay": [-100, 100]},
            "prepare.dark_run": None,
            "prepare.images": [],
        },
        "train": {
            "train.epochs": 12,
            "train.model.name": "perceptron",
            "train.model.blocks": [],
            "train.model.initializer": "he",
            "train.optimizer.learning_rate": 0.05,
        },
        "tune": {"tune.space": {"train.optimizer.learning_rate": {"low": 0.003, "high": 0.1, "log": True}}},
    }
    return params.model_copy(
        update={name: overridden(getattr(params, name), name, change) for name, change in changes.items()}
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory, params):
    """A folder with raw files, prepared ones and a trained network, and the parameters."""
    folder = tmp_path_factory.mktemp("scalars")
    write_arrays(folder / "arrays")
    (path,) = import_data.import_folder("lcls2017", folder / "arrays", folder / "raw")
    with h5py.File(path, "r+") as file:
        delay = file["xtcav.delay"][:]
        file["late"] = np.where(np.isnan(delay), -1, delay > 8).astype(np.int8)
    params = without_frames(params, folder / "raw")
    check.check_raw_files(params, folder / "data.json")
    prepare.prepare_files(params.data, params.prepare, folder / "prepared")
    train.train_network(params.train, folder / "prepared", folder / "model.keras", folder / "history.jsonl")
    return folder, params


def test_check_and_scan_count_them(trained, capsys):
    folder, params = trained
    assert read(folder / "data.json", Checked)["shots"] == 600
    assert scan.scan_folder(folder / "raw", params.data, params.prepare, as_json=False)
    assert "600 shots in 1 files, 300 of them usable" in capsys.readouterr().out


def test_a_prepared_file_has_features_and_no_pixel(trained):
    folder, _ = trained
    with PreparedFile(folder / "prepared/test.h5") as test:
        assert not test.spec.has_frames
        assert test.nbytes == 0
        assert test.features.shape == (test.shots, len(FEATURES))
        assert np.isfinite(test.features).all()
        assert np.isnan(test.column("frame.signal")).all()
        assert test.stored(np.arange(test.shots)).shape == (test.shots, 0, 0)
        with h5py.File(next((folder / "raw").iterdir())) as raw:
            rows = test.column("source.row")
            assert test.targets[:, 0].tolist() == raw["xtcav.delay"][:][rows].tolist()


def test_classes_and_numbers_are_learned_and_evaluated(trained):
    folder, _ = trained
    evaluate.evaluate_network(2, folder / "prepared", folder / "model.keras", folder / "history.jsonl", folder / "out")
    found = json.loads((folder / "out/evaluation.json").read_text())
    assert found["accuracy"] > found["largest_class"] + 0.1
    assert found["regression"]["xtcav.delay"]["rms_error"] < 0.7 * found["regression"]["xtcav.delay"]["spread"]
    pictures = {path.stem for path in (folder / "out/plots").iterdir()}
    assert "regression" in pictures
    assert not pictures & {"frames", "mean_frames", "mistakes", "saliency"}


def test_predicted_and_served_shots_have_the_same_numbers(trained, tmp_path):
    folder, _ = trained
    model = folder / "model.keras"
    (written,) = predict.predict_files(model, [folder / "raw"], tmp_path, threads=2)
    with h5py.File(written) as file, h5py.File(next((folder / "raw").iterdir())) as raw:
        assert file["run.index"][:].tolist() == list(range(600))
        numbers, probabilities = file["predicted.xtcav.delay"][:], file["probability"][:]
        inputs = {name: raw[name][:40] for name in FEATURES}
    assert np.isfinite(numbers).all()
    served = serving.ShotModel(model, sealed=True).predict(inputs)
    assert served["xtcav.delay"].to_numpy() == pytest.approx(numbers[:40], abs=1e-4)
    assert served["probability of late"].to_numpy() == pytest.approx(probabilities[:40, 1], abs=1e-5)


def test_a_request_has_features_alone_all_of_one_length(trained):
    spec = Predictor(trained[0] / "model.keras").spec
    body = json.dumps({"inputs": {name: [0.5, None] for name in FEATURES}}).encode()
    inputs = request_body.inputs_of(body, spec)
    assert inputs.keys() == set(FEATURES) == packaging.meant(spec).keys() == packaging.example(spec).keys()
    for wrong in ({}, {FEATURES[0]: [1.0]}, {"frame": [], **{name: [1.0] for name in FEATURES}}):
        with pytest.raises(Refused, match="expected an object of bld"):
            request_body.inputs_of(json.dumps({"inputs": wrong}).encode(), spec)
    for lengths in ([], [0.0] * 257):
        with pytest.raises(Refused, match="wrong length"):
            request_body.inputs_of(json.dumps({"inputs": dict.fromkeys(FEATURES, lengths)}).encode(), spec)
    with pytest.raises(Refused, match=r"f_12_ENRC: wrong length \(found 1, expected 2"):
        request_body.inputs_of(
            json.dumps({"inputs": {**{name: [1, 2] for name in FEATURES}, FEATURES[-1]: [1]}}).encode(), spec
        )


def test_a_picture_of_frames_is_refused_with_the_cure(trained, tmp_path):
    folder, _ = trained
    with pytest.raises(
        UserError, match=r"test\.h5: no frames to show \(found 5 features a shot.*Fix: set data\.frame_shape"
    ):
        show.draw_sheet(folder / "prepared/test.h5", folder / "raw", tmp_path / "a.png", 4)


def test_the_network_is_described(trained, capsys):
    describe.describe_network(trained[1])
    assert "perceptron on 5 features, minibatches of 32" in capsys.readouterr().out


def test_its_plan_is_hidden_layers_between_standardized_features_and_heads(trained):
    params = trained[1]
    layers = layer_plan.plan_layers(params.train.model, layer_plan.Ends((0, 0), "int16", 5, 2, 1))
    assert [layer.kind for layer in layers] == [
        *("InputLayer", "Normalization", "Dense", "Activation"),
        *("Dense", "Dense", "Rescaling"),
    ]
    assert layer_plan.parameter_count(layers) == 6 * 16 + 17 * 2 + 17
    flat = params.train.model.model_copy(update={"hidden": ()})
    assert layer_plan.parameter_count(layer_plan.plan_layers(flat, layer_plan.Ends((0, 0), "int16", 5, 0, 1))) == 6


BLOCK = {"channels": 1, "kernel": 1, "stride": 1, "pool": "none", "pool_window": 1, "pool_stride": 1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prepare.images": [{"step": "log"}]}, r"prepare\.images: no frames are read \(found log, expected \[\]"),
        ({"prepare.dark_run": 68}, r"prepare\.dark_run: no frames are read \(found 68, expected null"),
        ({"prepare.features": []}, r"prepare\.features: nothing to learn from"),
        ({"data.frame_shape": [24, 20]}, r"prepare\.images: no step .* or set data\.frame_shape: null"),
        (
            {"train.model.name": "convnet"},
            r"train\.model\.name: a network for shots with frames ",
        ),
        ({"train.model.name": "perceptrom"}, r"train\.model\.name: unknown network "),
        ({"train.model.blocks": [BLOCK]}, r"train\.model\.blocks: convolutions need frames \(found 1, expected \[\]"),
        ({"train.augment": {"gain": 0.1}}, r"train\.augment: no frames to vary"),
    ],
)
def test_what_needs_frames_is_refused_before_anything_runs(trained, changes, said):
    params = trained[1]
    for name, change in changes.items():
        section = name.partition(".")[0]
        params = params.model_copy(update={section: overridden(getattr(params, section), section, {name: change})})
    with pytest.raises(UserError, match=rf"^{said}") as told:
        check.check_raw_files(params, trained[0] / "other.json")
    assert "Fix: " in str(told.value)


def test_a_network_for_features_alone_is_refused_where_there_are_frames(params):
    alone = params.train.model.model_copy(update={"name": "perceptron"})
    with pytest.raises(UserError, match=r"found 'perceptron', expected convnet as data\.frame_shape is not null"):
        layer_plan.plan_layers(alone, layer_plan.Ends((24, 20), "int16", 5, 2, 1))
    none = params.train.model.model_copy(update={"blocks": ()})
    with pytest.raises(UserError, match=r"train\.model\.blocks: no convolution"):
        layer_plan.plan_layers(none, layer_plan.Ends((24, 20), "int16", 5, 2, 1))


def test_a_dataset_that_is_missing_is_named_and_frames_are_not_asked_for(trained, tmp_path, params):
    write_arrays(tmp_path / "arrays", shots=40)
    import_data.import_folder("lcls2017", tmp_path / "arrays", tmp_path / "raw")
    with pytest.raises(UserError, match="late: missing") as told:
        check.check_raw_files(without_frames(params, tmp_path / "raw"), tmp_path / "data.json")
    assert "xtcavimg" not in str(told.value)
