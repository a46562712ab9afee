"""What validate and check let pass is never refused once DVC removed outputs: not by train, not by evaluate, not by tune."""

import contextlib
import copy
import functools
import operator
import re

import h5py
import optuna
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.conftest import ROOT, SHAPE, write_shots
from xtcav_ml.config import base, params_file
from xtcav_ml.config.base import overridden
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import rules
from xtcav_ml.pipeline import check, prepare, validate
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning import samplers
from xtcav_ml.tuning.trial import train_trial

TREE = base.read_tree(ROOT / "params.yaml")

NOT_FINITE = "the loss is not finite"
"""What no look at parameters can foresee."""


def between(usual, low, high):
    """Draw the usual value mostly, or a float from the whole range that a section allows, its ends included."""
    return st.sampled_from([st.just(usual)] * 7 + [st.sampled_from([low, high]) | st.floats(low, high)]).flatmap(
        lambda s: s
    )


def keys(required, optional=()):
    return st.fixed_dictionaries(required, optional=dict(optional))


RATES = between(0.0, 0.0, 0.99)
ACTIVATIONS = st.sampled_from(["relu", "gelu", "silu", "tanh"])
MODELS = keys(
    {
        "name": st.just("convnet"),
        "standardize": st.sampled_from(["all", "pixel"]),
        "hidden": st.lists(st.integers(1, 40), max_size=2),
        "initial_sd": between(0.1, 1e-9, 10.0),
        "l1": between(0.0, 0.0, 1000.0),
        "l2": between(0.001, 0.0, 1000.0),
    },
    {
        "hidden_activation": ACTIVATIONS,
        "hidden_dropout": RATES,
        "hidden_batch_norm": st.booleans(),
        "initializer": st.sampled_from(["truncated_normal", "he", "glorot"]),
        "initial_bias": between(0.0, -100.0, 100.0),
    },
)
OPTIMIZERS = keys(
    {
        "learning_rate": between(0.01, 1e-9, 10.0),
        "momentum": between(0.9, 0.0, 0.9999),
        "decay_rate": between(0.9, 1e-3, 1.0),
        "decay_steps": st.sampled_from([1, 100, 2**31 - 1]),
    },
    {"clip_norm": st.none() | between(1.0, 1e-9, 1e9), "patience": st.integers(1, 100)},
)
KINDS = st.one_of(
    keys({"name": st.just("sgd"), "nesterov": st.booleans()}),
    keys({"name": st.just("adam")}),
    keys({"name": st.just("adamw"), "weight_decay": between(0.01, 0.0, 10.0)}),
)
SCHEDULES = st.one_of(
    keys({"schedule": st.sampled_from(["staircase", "plateau"])}),
    keys({"schedule": st.just("cosine"), "warmup_steps": st.sampled_from([0, 1, 2**31 - 1])}),
)
TRAININGS = keys(
    {
        "seed": st.sampled_from([0, 1, 2**32 - 1]),
        "threads": st.just(2),
        "batch_size": st.integers(4, 16),
        "epochs": st.just(1),
        "regression_weight": between(1.0, 1e-9, 1000.0),
        "optimizer": st.tuples(OPTIMIZERS, KINDS, SCHEDULES).map(lambda parts: parts[0] | parts[1] | parts[2]),
    },
    {
        "stop_after": st.none() | st.integers(1, 100),
        "precision": st.just("float32"),  # another one needs a process of its own: learning/test_half_precision
    },
)
FIRST_STEPS = st.sampled_from([[], [{"step": "subtract_dark"}], [{"step": "mend_hot_pixels", "threshold": 5.0}]])
OTHER_STEPS = st.lists(st.sampled_from(["log", "block_mean", "contrast", "clip", "roi"]), min_size=1, max_size=2)
LEARNED = st.sampled_from(
    [
        {"label": "acq.peaksLabel", "classes": ["no peaks", "t0", "t0 t1", "t0 t1 t2"], "regression": []},
        {"label": "acq.peaksLabel", "classes": ["$a", "b$", "c_{", "%\\"], "regression": ["bld.L3energy"]},
        {"label": None, "classes": [], "regression": ["bld.L3energy", "evt.fiducials"]},
    ]
)


@st.composite
def image_steps(draw):
    """Draw steps that leave something of a raw frame; return them and the shape of the prepared frame."""
    steps, shape = list(draw(FIRST_STEPS)), SHAPE
    for kind in draw(OTHER_STEPS):
        step = {"step": kind}
        if kind == "block_mean":
            step["size"] = draw(st.integers(1, max(min(shape) // 2, 1)))
            shape = tuple(side // step["size"] for side in shape)
        elif kind == "roi":
            firsts = [draw(st.integers(0, side // 2)) for side in shape]
            step |= {name: [first, side] for name, first, side in zip(("rows", "columns"), firsts, shape, strict=True)}
            shape = tuple(side - first for first, side in zip(firsts, shape, strict=True))
        elif kind == "contrast":
            step["floor"] = draw(between(1.0, 1e-6, 1e6))
        elif kind == "clip":
            step |= {"low": draw(between(0.0, -1e6, 0.0)), "high": draw(between(1000.0, 1.0, 1e6))}
        steps.append(step)
    return steps, shape


@st.composite
def layer_blocks(draw, shape):
    """Draw one or two blocks whose kernels and windows fit their maps: small ones, or as large as they may be."""

    def window():
        limit = 2 * min(shape) - 1
        return draw(st.integers(1, min(3, limit)) | st.just(limit))

    blocks = []
    for _ in range(draw(st.integers(1, 2))):
        block = draw(
            keys(
                {"channels": st.integers(1, 4), "pool": st.sampled_from(["max", "average", "none"])},
                {"batch_norm": st.booleans(), "activation": ACTIVATIONS, "dropout": RATES},
            )
        )
        block["kernel"] = window()
        block["stride"] = min(block["kernel"], draw(st.sampled_from([1, 1, 1, 2, 64])))
        shape = [-(-side // block["stride"]) for side in shape]
        block |= {"pool_window": window(), "pool_stride": draw(st.sampled_from([1, 2, 2, 512]))}
        shape = [-(-side // block["pool_stride"]) for side in shape] if block["pool"] != "none" else shape
        blocks.append(block)
    return blocks


def dimensions(train, shape):
    """Return the dimensions of a search that fit a section train."""
    whole = {f"train.augment.shift.{axis}": {"low": 0, "high": side - 1} for axis, side in enumerate(shape) if side > 1}
    whole |= {
        "train.batch_size": {"low": 1, "high": 16},
        "train.optimizer.clip_norm": {"choices": [None, 1.0]},
        "train.model.blocks.0.kernel": {"choices": [1, 2]},
        "train.optimizer.learning_rate": {"low": 1e-9, "high": 10, "log": True},
    }
    if train["optimizer"]["name"] == "sgd":
        whole["train.optimizer.nesterov"] = {"choices": [True, False]}
    if train["model"]["hidden"]:
        whole["train.model.hidden.0"] = {"low": 1, "high": 9, "step": 3}
    return whole


BLOCK, SPACE = ("train", "model", "blocks", 0), ("tune", "space")
CHANGES = {
    "data": [
        (("train", "class_weights"), True),
        (("train", "augment", "gain"), 0.5),
        *((("train", "augment", "shift"), shift) for shift in ([24, 0], [0, 20], [11, 9])),
        *((("train", "batch_size"), size) for size in (17, 65536)),
    ],
    "network": [
        *(((*BLOCK, key), size) for key in ("kernel", "pool_window") for size in (39, 40, 512)),
        (("train", "model", "name"), "resnet"),
        (("train", "model", "blocks"), [TREE["train"]["model"]["blocks"][0] | {"pool_stride": 512}] * 2),
    ],
    "shots": [
        *((("prepare", "features"), [name]) for name in ("acq.t0.pos", "acq.t1.pos", "lasing", "no.such")),
        *((("prepare", "regression"), [name]) for name in ("acq.t0.pos", "acq.t1.pos", "lasing")),
        (("prepare", "classes"), ["few", "many"]),
        *((("prepare", "dark_run"), run) for run in (None, 67, 70)),
        *((("prepare", "include"), {name: value}) for name, value in (("run", 71), ("run.index", 3), ("no.such", 1))),
        *((("prepare", "split", key), value) for key, value in (("by", "file"), ("by", "run"), ("min_per_class", 2))),
        (("prepare", "balance"), {"ratio": 1.0, "splits": ["train", "test"]}),
        (("prepare", "images"), [{"step": "block_mean", "size": 21}]),
        (("prepare", "images"), [{"step": "roi", "rows": [0, 30], "columns": [25, 30]}]),
    ],
    "data of a trial": [
        *(((*SPACE, "train.batch_size"), {"low": 1, "high": high}) for high in (17, 65536)),
        *(((*SPACE, f"train.augment.shift.{axis}"), {"low": 0, "high": high}) for axis in (0, 1) for high in (9, 24)),
        ((*SPACE, "train.class_weights"), {"choices": [True, False]}),
        ((*SPACE, "train.augment.gain"), {"low": 0.0, "high": 1.0}),
    ],
    "network of a trial": [
        (("tune", "memory_gb"), 0.01),
        *(((*SPACE, f"train.model.blocks.{i}.kernel"), {"choices": [1, 600 * i + 40]}) for i in (0, 1)),
        ((*SPACE, "train.model.blocks.0.pool_window"), {"low": 1, "high": 512}),
        ((*SPACE, "train.optimizer.nesterov"), {"choices": [True, False]}),
        ((*SPACE, "train.optimizer.schedule"), {"choices": ["plateau", "staircase"]}),
    ],
}
"""Other values of keys by what they concern. Most do not fit: the data, or what is drawn beside them."""


@st.composite
def trees(draw, kind):
    """Draw params.yaml with other sections train, prepare and tune.space, which fit together but for one of CHANGES."""
    tree, learned, (steps, shape) = copy.deepcopy(TREE), draw(LEARNED), draw(image_steps())
    dtype = draw(st.sampled_from(["int16", "float16", "float32"]))
    tree["data"]["frame_shape"] = list(SHAPE)
    tree["prepare"] |= learned | {
        "features": draw(st.sampled_from([[], ["run.index"], ["run.index", "evt.nanoseconds"]])),
        "images": steps,
        "pixels": {"dtype": dtype, "quantum": draw(between(0.001, 1e-6, 1e6)) if dtype == "int16" else None},
        "split": TREE["prepare"]["split"] | {"block": 1, "gap": 0, "train": 0.4, "validation": 0.3, "test": 0.3},
        "balance": {
            "ratio": None,
            "splits": [],
            "most": {"train": 5, "validation": 1, "test": 1} if learned["label"] else {},
        },
    }
    train = tree["train"] = draw(TRAININGS)
    train["model"] = draw(MODELS) | {"blocks": draw(layer_blocks(shape))}
    train["class_weights"] = bool(learned["label"]) and draw(st.booleans())
    contrast = "contrast" in [step["step"] for step in steps]  # which undoes every gain
    train["augment"] = {
        "shift": [draw(st.integers(0, side - 1)) for side in shape],
        "gain": 0.0 if contrast else draw(between(0.0, 0.0, 1.0)),
        "noise": draw(between(0.0, 0.0, 1.0)),
    }
    space = dimensions(train, shape)
    names = draw(st.lists(st.sampled_from(sorted(space)), min_size=1, max_size=2, unique=True))
    tree["tune"]["space"] = {name: space[name] for name in names}
    (*parents, last), value = draw(st.sampled_from(CHANGES[kind]))
    functools.reduce(operator.getitem, parents, tree)[last] = value
    return tree


def loaded(tree, path):
    """Return the parameters of `tree`, which is written to the file `path`."""
    with path.open("w") as file:
        YAML().dump(tree, file)
    return params_file.load_params(path)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Two raw files. Position t1 is a number in every other shot, t0 in none."""
    folder = tmp_path_factory.mktemp("raw")
    write_shots(folder / "dark.h5", run=68, count=4, lasing=0)
    with h5py.File(write_shots(folder / "a.h5", run=70, count=60), "r+") as file:
        file["acq.t1.pos"][::2] = range(30)
    return folder


def let_pass(tree, raw, folder):
    """Return the parameters if validate and check let them pass; None if they refuse them, in one line with the cure."""
    tree["data"]["raw"] = str(raw)
    try:
        params = loaded(tree, folder / "params.yaml")
        validate.validate_params(params, folder / "valid.txt")
        check.check_raw_files(params, folder / "data.json")
    except UserError as error:
        refusal = str(error)
    else:
        return params
    assert re.fullmatch(r".+: .*\. Fix: .+", refusal)
    event(f"refused: {refusal.partition(' (')[0]}")
    return None


def run_stages(params, folder):
    """Do what prepare, train and evaluate do, in this process."""
    from xtcav_ml.pipeline import evaluate, train

    data, model, history = folder / "prepared", folder / "model.keras", folder / "history.jsonl"
    prepare.prepare_files(params.data, params.prepare, data)
    train.train_network(params.train, data, model, history)
    evaluate.evaluate_network(params.train.threads, data, model, history, folder / "results")


def run_trial(params, folder):
    """Train the first trial of a random search whose network can be planned. No trial may be refused for its data."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    space = {name: samplers.distribution(values) for name, values in params.tune.space.items()}
    with PreparedFile(folder / "prepared" / "train.h5") as train:
        spec, shots = train.spec, train.shots
    feasible = []
    for _ in range(20):
        trial = overridden(params.train, "train", study.ask(space).params)
        rules.require_data(trial, spec, shots)
        with contextlib.suppress(UserError):
            rules.require_trial(trial, spec, shots, params.tune.memory_gb)
            feasible.append(trial)
    if feasible:
        train_trial(lambda values: True, feasible[0], folder / "prepared", folder / "checkpoints")
    else:
        event("no feasible trial")


def holds(kind, raw, new_folder):
    """Check an example: it is refused in one line, or can be prepared, trained, evaluated and searched."""

    @given(tree=trees(kind))
    def example(tree):
        folder = new_folder("example")
        if (params := let_pass(tree, raw, folder)) is None:
            return
        for name, use in (("stages", run_stages), ("trial", run_trial)):
            try:
                use(params, folder)
            except UserError as error:
                if NOT_FINITE not in str(error):
                    raise
                event(f"{name}: not finite")
            else:
                event(f"{name}: done")

    return example


@pytest.fixture
def quick(eager, monkeypatch):
    """Build no graph, and draw one frame a class of each sheet."""
    from xtcav_ml.pipeline import sheets

    monkeypatch.setattr(sheets, "FRAMES_PER_CLASS", 1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    monkeypatch.setattr(rules, "memory", lambda: 0.2e9)


QUICK = (Phase.explicit, Phase.reuse, Phase.generate)  # to shrink an example takes minutes
ANY = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=False, phases=QUICK)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", CHANGES)
def test_what_is_not_refused_in_one_line_trains_evaluates_and_is_searched(quick, raw, tmp_path_factory, kind):
    settings(ANY, max_examples=3)(holds(kind, raw, tmp_path_factory.mktemp))()


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHANGES)
def test_the_same_of_more_examples(quick, raw, tmp_path_factory, kind):
    settings(ANY, max_examples=40)(holds(kind, raw, tmp_path_factory.mktemp))()


KERNEL = "train.model.blocks.1.kernel"


def searched(tmp_path, **tune):
    """Return the default parameters for frames of 74 x 58, whose second map is 4 x 3, with another section tune."""
    tree = copy.deepcopy(TREE)
    tree["data"] |= {"frame_shape": [74, 58], "raw": "data/raw/simulated"}
    tree["train"]["model"]["blocks"][1] |= {"kernel": 3, "pool_window": 3}
    tree["tune"] |= {"space": {KERNEL: {"choices": [3, 4]}}} | tune
    return loaded(tree, tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("tune", "key", "value"),
    [
        ({"space": {KERNEL: {"choices": [300, 400]}}}, rf"tune\.space\.{KERNEL}", "300"),
        ({"space": {KERNEL: {"choices": [3, 300]}}}, rf"tune\.space\.{KERNEL}", "300"),
        ({"space": {KERNEL: {"low": 300, "high": 400}}}, rf"tune\.space\.{KERNEL}", "300"),
        (
            {"space": {"train.model.name": {"choices": ["convnet", "resnet"]}}},
            r"tune\.space\.train\.model\.name",
            "resnet",
        ),
        ({"memory_gb": 0.001}, r"tune\.memory_gb", "0.1 GB"),
        (
            {"memory_gb": 0.09, "space": {"train.batch_size": {"low": 2000, "high": 3000}}},
            r"tune\.memory_gb",
            "2000 shots",
        ),
    ],
)
def test_a_search_of_which_no_trial_can_train_is_refused(tmp_path, tune, key, value):
    with pytest.raises(UserError, match=rf"^{key}: .*Fix: ") as error:
        validate.validate_params(searched(tmp_path, **tune), tmp_path / "valid.txt")
    assert value in str(error.value)


@pytest.mark.parametrize(
    "tune",
    [
        {"space": {KERNEL: {"low": 3, "high": 300}}},
        {"memory_gb": 0.09, "space": {"train.batch_size": {"low": 1, "high": 32}}},
    ],
)
def test_a_search_of_which_some_trials_can_train_is_not(tmp_path, tune):
    validate.validate_params(searched(tmp_path, **tune), tmp_path / "valid.txt")
    before = (tmp_path / "valid.txt").stat()
    validate.validate_params(searched(tmp_path, **tune), tmp_path / "valid.txt")
    after = (tmp_path / "valid.txt").stat()
    written = [(status.st_ino, status.st_mtime_ns) for status in (before, after)]  # not when it was read
    assert written[0] == written[1], "a report would be written again"
