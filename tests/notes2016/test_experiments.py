import shutil

import pytest

from tests.conftest import ROOT
from xtcav_ml.config.schema import NO_FRAME
from xtcav_ml.learning import layer_plan
from xtcav_ml.notes2016 import experiments
from xtcav_ml.science.images import output_shape
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system.errors import UserError

NAMES = sorted(path.stem for path in (ROOT / "experiments").glob("*.yaml") if path.stem != "dvc")


@pytest.fixture(autouse=True)
def shipped(monkeypatch):
    """Work in the checkout."""
    monkeypatch.chdir(ROOT)


def frame_shape(name):
    source = experiments.load_experiment(experiments.load_experiment(name).data_of or name)
    if source.signal is not None:
        return (source.signal.size, source.signal.size)
    _, prepare = experiments.shot_params(experiments.load_experiment(name).data_of or name)
    return output_shape((726, 568), prepare.images)


def layers(name, classes):
    params, source = experiments.train_params(name), experiments.load_experiment(name)
    if source.raw is None:
        return layer_plan.plan_layers(params.model, layer_plan.Ends(frame_shape(name), "int16", 0, classes, 0))
    spec = LearningSpec.of(experiments.shot_params(name)[1], NO_FRAME, dark=None)
    return layer_plan.plan_layers(params.model, layer_plan.Ends.of(spec))


@pytest.mark.parametrize("name", NAMES)
def test_each_shipped_experiment_is_valid_and_fits_its_frames(name):
    assert experiments.load_experiment(name).title
    assert layers(name, 4)
    assert set(experiments.all_params(name)) in (
        {"train", "signal"},
        {"train", "simulate", "prepare"},
        {"train", "prepare"},
    )


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("signal-200", 2, 307_512),
        ("signal-1000", 2, 905_912),
        ("lasing-first", 2, 13_234),
        ("peaks-1000", 4, 6_726),
        ("peaks-6-batchnorm", 4, 94_724),
        ("peaks-7", 4, 65_904),
    ],
)
def test_a_network_has_as_many_parameters_as_the_notes_print(name, classes, parameters):
    assert layer_plan.parameter_count(layers(name, classes)) == parameters


def test_maps_of_the_largest_image_are_those_that_the_notes_print():
    shapes = {layer.name: layer.shape for layer in layers("signal-1000", 2)}
    assert shapes["conv1"] == (500, 500, 16)
    assert shapes["pool1"] == (167, 167, 16)
    assert shapes["conv2"] == (84, 84, 16)
    assert shapes["pool2"] == (28, 28, 16)


@pytest.mark.parametrize("name", NAMES)
def test_the_steps_are_those_of_the_notes(name):
    chosen, params = experiments.load_experiment(name), experiments.train_params(name)
    source = experiments.load_experiment(chosen.data_of or name)
    if source.signal is not None:
        shots = source.signal.train
    else:
        balance = experiments.shot_params(chosen.data_of or name)[1].balance
        if "train" not in balance.most:
            return  # as many as there are
        shots = balance.most["train"] * len(experiments.shot_params(chosen.data_of or name)[1].classes)
    if chosen.published.steps.isdigit():
        assert params.epochs * (shots // params.batch_size) == int(chosen.published.steps)


def test_the_fifteen_configurations_are_the_networks_that_the_notes_list():
    rows, params = experiments.load_experiment("memory").configurations.rows, experiments.configuration_params("memory")
    sizes = [
        layer_plan.parameter_count(layer_plan.plan_layers(chosen.model, layer_plan.Ends((726, 568), "int16", 0, 4, 0)))
        for chosen in params
    ]
    assert sizes == [544] * 5 + [553, 1029, 1042, 1066, 1090, 1114, 10204, 10204, 41736, 6726]
    assert [chosen.batch_size for chosen in params] == [row[0] for row in rows]
    assert rows[12][-1] == 18535.74


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with one experiment in it, and a function that changes a piece of its text."""
    (tmp_path / "experiments").mkdir()
    for name in ("params.yaml", "experiments/signal-40.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)

    def change(old, new):
        path = tmp_path / "experiments" / "signal-40.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("size: 40", "sise: 40", "sise: unknown key"),
        ("least_pixels: 10", "least_pixels: 41", "least_pixels: .*found 41, expected at most size, 40"),
        ("signal:\n", "data_of: other\nsignal:\n", "data_of', 'signal'.*expected one of data_of, signal, simulate"),
        ("long: false", "long: true", "hours is for long: true"),
        ("kernel: 12", "kernel: 0", "blocks.0.kernel"),
        ("momentum: 0.9", "momentun: 0.9", "momentun: unknown key"),
    ],
)
def test_a_mistake_in_the_file_is_named(own, old, new, said):
    own(old, new)
    with pytest.raises(UserError, match=said) as told:
        experiments.train_params("signal-40")
    assert str(told.value).startswith("experiments/signal-40.yaml: ")


def test_what_the_notes_left_open_comes_from_params_yaml_and_nothing_else_does(own, tmp_path):
    before = experiments.train_params("signal-40")
    path = tmp_path / "params.yaml"
    text = path.read_text().replace("learning_rate: 0.02", "learning_rate: 0.7").replace("  threads: 2", "  threads: 3")
    path.write_text(text.replace("  class_weights:", "  stop_after: 3\n  class_weights:"))
    assert experiments.train_params("signal-40") == before.model_copy(update={"threads": 3})


def test_lasing_is_learned_from_all_runs_and_peaks_from_those_that_lase():
    assert experiments.shot_params("lasing-first")[1].include == {}
    assert experiments.shot_params("peaks-1000")[1].include == {"lasing": 1}


def test_an_unknown_name_and_missing_data_are_said_with_the_cure(own):
    with pytest.raises(UserError, match=r"found 'signal-4', expected one of signal-40\)\. Fix"):
        experiments.load_experiment("signal-4")
    with pytest.raises(UserError, match=r"data/signal-40/train\.h5: missing .*Fix: run `make notes`"):
        experiments.data_files("signal-40")
