"""What validate and check let pass is never refused once DVC removed outputs: not by train, not by evaluate, not by tune."""

import copy

import optuna
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT, SHAPE, write_shots
from xtcav_ml.config import base, params_file
from xtcav_ml.config.base import overridden
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import rules
from xtcav_ml.pipeline import check, prepare
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning import studies

TREE = base.read_tree(ROOT / "params.yaml")

NOT_FINITE = "the loss must stay finite"
"""What no look at parameters can foresee."""


def between(low, high):
    """Draw a float from the whole range that a section allows: the ends, and any size between."""
    return st.sampled_from([low, high]) | st.floats(low, high)


def mostly(usual, rare):
    """Draw what may be refused now and then only, or nothing would be left that is let pass."""
    return st.sampled_from([usual] * 9 + [rare]).flatmap(lambda strategy: strategy)


def keys(required, optional=()):
    return st.fixed_dictionaries(required, optional=dict(optional))


PARTS = between(0.0, 0.99)
ACTIVATIONS = st.sampled_from(["relu", "gelu", "silu", "tanh"])

BLOCKS = keys(
    {
        "channels": st.integers(1, 4),
        "kernel": mostly(st.integers(1, 3), st.integers(1, 60)),
        "stride": mostly(st.just(1), st.integers(1, 64)),
        "pool": st.sampled_from(["max", "average", "none"]),
        "pool_window": mostly(st.integers(1, 3), st.integers(1, 60)),
        "pool_stride": mostly(st.integers(1, 2), st.integers(1, 512)),
    },
    {"batch_norm": st.booleans(), "activation": ACTIVATIONS, "dropout": PARTS},
)

MODELS = keys(
    {
        "name": st.just("convnet"),
        "standardize": st.sampled_from(["all", "pixel"]),
        "blocks": st.lists(BLOCKS, min_size=1, max_size=2),
        "hidden": st.lists(mostly(st.integers(1, 40), st.just(65536)), max_size=2),
        "initial_sd": between(1e-9, 10.0),
        "l1": between(0.0, 1000.0),
        "l2": between(0.0, 1000.0),
    },
    {
        "hidden_activation": ACTIVATIONS,
        "hidden_dropout": PARTS,
        "hidden_batch_norm": st.booleans(),
        "initializer": st.sampled_from(["truncated_normal", "he", "glorot"]),
        "initial_bias": between(-100.0, 100.0),
    },
)

OPTIMIZERS = keys(
    {
        "learning_rate": between(1e-9, 10.0),
        "momentum": between(0.0, 0.9999),
        "decay_rate": between(1e-3, 1.0),
        "decay_steps": st.sampled_from([1, 100, 2**31 - 1]),
    },
    {
        "clip_norm": st.none() | between(1e-9, 1e9),
        "patience": st.integers(1, 100),
    },
)
KINDS = st.one_of(
    keys({"name": st.just("sgd"), "nesterov": st.booleans()}),
    keys({"name": st.just("adam")}),
    keys({"name": st.just("adamw"), "weight_decay": between(0.0, 10.0)}),
)
SCHEDULES = st.one_of(
    keys({"schedule": st.sampled_from(["staircase", "plateau"])}),
    keys({"schedule": st.just("cosine"), "warmup_steps": st.sampled_from([0, 1, 2**31 - 1])}),
)

TRAININGS = keys(
    {
        "seed": st.sampled_from([0, 1, 2**32 - 1]),
        "threads": st.just(2),
        "batch_size": mostly(st.integers(8, 16), st.integers(1, 65536)),
        "epochs": st.just(1),
        "class_weights": mostly(st.just(False), st.booleans()),
        "regression_weight": between(1e-9, 1000.0),
        "model": MODELS,
        "optimizer": st.tuples(OPTIMIZERS, KINDS, SCHEDULES).map(lambda parts: parts[0] | parts[1] | parts[2]),
    },
    {
        "stop_after": st.none() | st.integers(1, 100),
        "precision": st.sampled_from(["float32", "mixed_bfloat16", "mixed_float16"]),
        "augment": keys(
            {},
            {
                "shift": mostly(st.just([2, 3]), st.lists(st.integers(0, 32767), min_size=2, max_size=2)),
                "gain": mostly(st.just(0.0), between(0.0, 1.0)),
                "noise": between(0.0, 10.0),
            },
        ),
    },
)

STEPS = st.one_of(
    keys({"step": st.just("log")}),
    keys({"step": st.just("block_mean"), "size": mostly(st.just(2), st.integers(1, 64))}),
    keys({"step": st.just("contrast"), "floor": between(1e-6, 1e6)}),
    keys({"step": st.just("clip"), "low": between(-1e6, 0.0), "high": between(1.0, 1e6)}),
    keys({"step": st.just("roi"), "rows": st.just([2, 14]), "columns": mostly(st.just([1, 10]), st.just([1, 99]))}),
)
FIRST_STEPS = st.sampled_from([[], [{"step": "subtract_dark"}], [{"step": "mend_hot_pixels", "threshold": 5.0}]])

LEARNED = st.sampled_from(
    [
        {"label": "acq.peaksLabel", "classes": ["no peaks", "t0", "t0 t1", "t0 t1 t2"], "regression": []},
        {"label": "acq.peaksLabel", "classes": ["$a", "b$", "c_{", "%\\"], "regression": ["bld.L3energy"]},
        {"label": None, "classes": [], "regression": ["bld.L3energy", "evt.fiducials"]},
    ]
)

DIMENSIONS = st.sampled_from(
    [
        ("train.batch_size", {"low": 1, "high": 8}),
        ("train.batch_size", {"low": 8, "high": 4096, "log": True}),
        ("train.augment.shift.0", {"low": 0, "high": 5}),
        ("train.augment.shift.1", {"low": 0, "high": 30}),
        ("train.augment.gain", {"low": 0.0, "high": 0.5}),
        ("train.class_weights", {"choices": [True, False]}),
        ("train.optimizer.clip_norm", {"choices": [None, 1.0]}),
        ("train.optimizer.nesterov", {"choices": [True, False]}),
        ("train.model.blocks.0.kernel", {"choices": [1, 3, 200]}),
        ("train.model.hidden.0", {"low": 1, "high": 9, "step": 3}),
        ("train.optimizer.learning_rate", {"low": 1e-9, "high": 10, "log": True}),
    ]
)


@st.composite
def trees(draw):
    """Draw params.yaml with other sections train, prepare and tune.space."""
    tree = copy.deepcopy(TREE)
    tree["data"]["frame_shape"] = list(SHAPE)
    tree["train"] = draw(TRAININGS)
    tree["tune"]["space"] = dict(draw(st.lists(DIMENSIONS, min_size=1, max_size=2)))
    learned, dtype = draw(LEARNED), draw(st.sampled_from(["int16", "float16", "float32"]))
    tree["prepare"] |= learned | {
        "features": draw(st.sampled_from([[], ["acq.t0.pos"], ["run.index", "evt.nanoseconds"]])),
        "images": draw(FIRST_STEPS) + draw(st.lists(STEPS, min_size=1, max_size=2)),
        "pixels": {"dtype": dtype, "quantum": draw(between(1e-6, 1e6)) if dtype == "int16" else None},
        "split": TREE["prepare"]["split"] | {"block": 1, "gap": 0, "train": 0.4, "validation": 0.3, "test": 0.3},
        "balance": {
            "ratio": None,
            "splits": [],
            "most": {"train": 5, "validation": 1, "test": 1} if learned["label"] else {},
        },
    }
    return tree


def loaded(tree):
    """Return the sections of `tree`, as `params_file.load` does of a file."""
    fields = params_file.Params.model_fields.items()
    params = params_file.Params(
        **{name: base.validate_section(tree[name], field.annotation, name) for name, field in fields}
    )
    params_file.check_space(params.train, params.tune)
    return params


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    write_shots(folder / "dark.h5", run=68, count=4, lasing=0)
    write_shots(folder / "a.h5", run=70, count=100)
    return folder


def let_pass(tree, raw, folder):
    """Return the parameters if they are valid, and validate and check let them pass."""
    tree["data"]["raw"] = str(raw)
    try:
        params = loaded(tree)
    except UserError as error:
        event(f"invalid: {str(error).split(':')[1]}")
        assume(False)
    try:
        check.validate_params(params, folder / "valid.txt")
        check.check_raw_files(params, folder / "data.json")
    except UserError as error:
        event(f"refused: {str(error).split(':')[0]}")
        return None
    event("let pass")
    return params


def train_and_evaluate(params, folder):
    """Do what train and evaluate do, up to tables and pictures."""
    from xtcav_ml.learning import fit, keras_file
    from xtcav_ml.learning.batches import Batches

    with PreparedFile(folder / "train.h5") as train, PreparedFile(folder / "validation.h5") as validation:
        fitted = fit.fit(train, validation, params.train)
        keras_file.save(fitted.model, train.meaning, folder / "model.keras")
    model, _ = keras_file.load(folder / "model.keras")
    with PreparedFile(folder / "test.h5") as test:
        model.predict(Batches(test, 64), verbose=0)


def search(params):
    """Do what tune does before a trial trains."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    studies.enqueue_if_inside(study, params.tune, base.flatten({"train": params.train.model_dump(mode="json")}))
    for _ in range(3):
        trial = study.ask({name: studies.distribution(values) for name, values in params.tune.space.items()})
        overridden(params.train, "train", trial.params)


def holds(tree, raw, folder, use):
    params = let_pass(tree, raw, folder)
    if params is None:
        return
    search(params)
    prepare.prepare_files(params.data, params.prepare, folder / "prepared")
    try:
        use(params, folder / "prepared")
    except UserError as error:
        if NOT_FINITE not in str(error):
            raise
        event("not finite")


@pytest.fixture
def eager(keras_ready, monkeypatch):
    """Run layers one by one: building a graph for each example takes seconds."""
    import tensorflow as tf

    monkeypatch.setattr(rules, "memory", lambda: 0.2e9)
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


ANY = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@settings(ANY, max_examples=6)
@given(tree=trees())
def test_what_is_let_pass_can_be_trained_evaluated_and_searched(eager, raw, tmp_path_factory, tree):
    holds(tree, raw, tmp_path_factory.mktemp("example"), train_and_evaluate)


def run_stages(params, folder):
    """Run train and evaluate themselves."""
    from xtcav_ml.pipeline import evaluate, train

    model, history = folder / "model.keras", folder / "history.jsonl"
    train.train_network(params.train, folder, model, history)
    evaluate.evaluate_network(params.train.threads, folder, model, history, folder / "results")


@pytest.mark.slow
@settings(ANY, max_examples=200)
@given(tree=trees())
def test_what_is_let_pass_runs_through_all_stages(eager, raw, tmp_path_factory, tree):
    holds(tree, raw, tmp_path_factory.mktemp("example"), run_stages)
