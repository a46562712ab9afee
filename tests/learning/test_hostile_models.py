"""Model files that are meant to harm, or that do not fit together: one line within two seconds, no code run, memory flat."""

import io
import json
import pickle
import resource
import time
import zipfile
from collections.abc import Callable

import h5py
import numpy as np
import pytest

from tests.learning.test_fit import PARAMS, write
from xtcav_ml.data import model_file
from xtcav_ml.learning import fit, keras_file
from xtcav_ml.learning.predictor import Predictor
from xtcav_ml.system import seal
from xtcav_ml.system.errors import UserError

SAID = {"coverage": 0.9, "temperature": 1.5, "least": [0.2, 0.6], "half_width": []}
SECONDS, MEGABYTES = 10.0, 400  # no timing: what unpacks without end takes longer
Parts = dict[str, bytes]


@pytest.fixture(scope="module")
def good(tmp_path_factory, keras_ready):
    """A model file with a dark frame."""
    folder = tmp_path_factory.mktemp("good")
    with write(folder / "train.h5", 16, 0) as train:
        fitted = fit.fit(train, train, PARAMS.model_copy(update={"epochs": 1}))
        keras_file.save(fitted.model, train.spec, folder / "model.keras")
    return folder / "model.keras"


def written(path, parts, *, change=lambda target: None, **how):
    """Write entries as they are given, sealed: the seal is no secret."""
    with zipfile.ZipFile(path, "w", **how) as target:
        target.comment = seal.ROOM
        for name, content in parts.items():
            target.writestr(zipfile.ZipInfo(name, model_file.FIXED_DATE), content, target.compression)
        change(target)
    seal.seal(path)


def text(entry: str, change: Callable[[dict], object]) -> Callable[[Parts], None]:
    """Return what changes the JSON of an entry."""

    def apply(parts: Parts) -> None:
        tree = json.loads(parts[entry])
        change(tree)
        parts[entry] = json.dumps(tree).encode()

    return apply


def spec(**values: object) -> Callable[[Parts], None]:
    return text("xtcav.json", lambda tree: tree.update(values))


def layer(number: int, **values: object) -> Callable[[Parts], None]:
    return text("config.json", lambda tree: tree["config"]["layers"][number].update(values))


def option(kind: str, **values: object) -> Callable[[Parts], None]:
    def change(tree):
        for one in tree["config"]["layers"]:
            if one["class_name"] == kind:
                one["config"].update(values)

    return text("config.json", change)


def weights(change: Callable[[h5py.File], object]) -> Callable[[Parts], None]:
    def apply(parts: Parts) -> None:
        content = io.BytesIO(parts["model.weights.h5"])
        with h5py.File(content, "r+") as file:
            change(file)
        parts["model.weights.h5"] = content.getvalue()

    return apply


def value(name: str, number: float) -> Callable[[Parts], None]:
    def change(file):
        file[name][...] = np.full(file[name].shape, number)

    return weights(change)


def instead(**how: object) -> Callable[[Parts], None]:
    """Return what makes the first kernel again in another way."""

    def change(file):
        del file[KERNEL]
        file.create_dataset(KERNEL, **how)

    return weights(change)


def entry(name: str, content: bytes) -> Callable[[Parts], None]:
    return lambda parts: parts.__setitem__(name, content)


def lost(name: str) -> Callable[[Parts], None]:
    return lambda parts: parts.pop(name)


def dark(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Parts], None]:
    def apply(parts: Parts) -> None:
        content = io.BytesIO()
        np.save(content, change(np.load(io.BytesIO(parts["xtcav_dark.npy"]))))
        parts["xtcav_dark.npy"] = content.getvalue()

    return apply


KERNEL = "layers/conv2d/vars/0"
DEEP = b"[" * 100_000 + b"]" * 100_000


class Mine:
    def __reduce__(self):
        import os

        return os.mkdir, ("pwned",)


OBJECTS = {
    "Lambda": {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "x", "function": "pwned"}},
    "TFSMLayer": {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/", "name": "x"}},
    "StringLookup": {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
    "Wrapper": {"module": "keras.layers", "class_name": "TimeDistributed", "config": {}},
    "os": {"module": "os", "class_name": "system", "config": "mkdir pwned"},
    "builtins": {"module": "builtins", "class_name": "eval", "config": "open('pwned', 'w')"},
    "mine": {"module": "tests.learning.test_hostile_models", "class_name": "Mine", "config": {}},
    "registered": {"module": None, "class_name": "Mine", "config": {}, "registered_name": "pkg>Mine"},
    "legacy": {"class_name": "Lambda", "config": {"function": ["YQ==", None, None]}},
    "numbers": {"module": 3, "class_name": ["x"], "config": None},
    "nested": {"module": "keras.src.models.functional", "class_name": "Sequential", "config": {"layers": []}},
    "lambda": {"class_name": "__lambda__", "config": {"value": "x"}},
    "file utility": {"module": "keras.utils", "class_name": "get_file", "config": {"origin": "http://127.0.0.1:9/x"}},
    "module": {"module": "keras.initializers.os", "class_name": "system", "config": {}},
}

CHANGES: dict[str, Callable[[Parts], object]] = {
    **{
        f"statements of {name}": spec(statements={**SAID, **wrong})
        for name, wrong in {
            "one class": {"least": [0.5]},
            "a number": {"half_width": [1.0]},
            "more than all shots": {"coverage": 2.0},
            "no temperature at all": {"temperature": 0.0},
            "text": {"least": ["0.5", "0.5"]},
            "another kind": {"more": 1},
        }.items()
    },
    **{
        f"{number} in {name}": value(name, number)
        for number in (np.nan, np.inf, -np.inf)
        for name in (KERNEL, "layers/dense/vars/1")
    },
    **{f"{number} in the statistics": value("layers/normalization/vars/0", number) for number in (np.nan, np.inf)},
    **{f"object {name}": layer(2, **one) for name, one in OBJECTS.items()},
    **{f"activation {name}": option("Activation", activation=one) for name, one in OBJECTS.items()},
    **{f"initializer {name}": option("Conv2D", kernel_initializer=one) for name, one in OBJECTS.items()},
    "NaN in the dark frame": dark(
        lambda frame: np.where(np.arange(frame.size).reshape(frame.shape) == 3, np.nan, frame)
    ),
    "infinite noise": dark(lambda frame: np.where(frame == frame.max(), np.inf, frame)),
    "dark of another shape": dark(lambda frame: frame[:, 1:]),
    "dark of one part": dark(lambda frame: frame[0]),
    "dark of doubles": dark(lambda frame: frame.astype(float)),
    "dark of objects": entry("xtcav_dark.npy", b"\x93NUMPY\x01\x00" + pickle.dumps(Mine())),
    "dark of a terabyte": entry("xtcav_dark.npy", model_file._npy_header((10**6, 10**6))),
    "dark of a negative size": entry("xtcav_dark.npy", model_file._npy_header((-1, 8))),
    "no dark": lost("xtcav_dark.npy"),
    "other number of classes": spec(classes=["a", "b", "c"]),
    "one class": spec(classes=["a"]),
    "no classes": spec(classes=[]),
    "equal classes": spec(classes=["a", "a"]),
    "classes of numbers": spec(classes=[1, 2]),
    "class with a line": spec(classes=["a\nb", "c"]),
    "class with an escape": spec(classes=["\x1b[2J", "c"]),
    "long class": spec(classes=["a" * 10**6, "c"]),
    "million classes": spec(classes=[str(i) for i in range(10**5)]),
    "classes of a text": spec(classes="ab"),
    "no label": spec(label=None),
    "features": spec(features=["a"]),
    "regression": spec(regression=["a"]),
    "other frames": spec(raw_shape=[9, 9]),
    "huge frames": spec(raw_shape=[2**31, 2**31]),
    "frames of integers without end": entry("xtcav.json", b'{"raw_shape": [' + b"9" * 5000 + b", 1]}"),
    "negative frames": spec(raw_shape=[-1, 10]),
    "frames of a text": spec(raw_shape="ab"),
    "one side": spec(raw_shape=[8]),
    "unknown step": spec(steps=[{"step": "eval"}]),
    "step of no pixel": spec(steps=[{"step": "block_mean", "size": 64}]),
    "region outside": spec(steps=[{"step": "roi", "rows": [0, 99], "columns": [0, 9]}]),
    "quantum": spec(pixels={"dtype": "int16", "quantum": float("nan")}),
    "dtype": spec(pixels={"dtype": "object", "quantum": None}),
    "other dtype": spec(pixels={"dtype": "float32", "quantum": None}),
    "more keys": spec(more=1),
    "spec of a list": entry("xtcav.json", b"[]"),
    "spec of levels": entry("xtcav.json", DEEP),
    "spec of garbage": entry("xtcav.json", bytes(range(256))),
    "spec of ten megabytes": entry("xtcav.json", b" " * 10**7 + b"{}"),
    "config of levels": entry("config.json", DEEP),
    "config of a list": entry("config.json", b"[]"),
    "config of garbage": entry("config.json", b"\xff\xfe"),
    "config empty": entry("config.json", b"{}"),
    "no layers": text("config.json", lambda tree: tree["config"].update(layers=[])),
    "layers of a number": text("config.json", lambda tree: tree["config"].update(layers=3)),
    "thousands of layers": text(
        "config.json", lambda tree: tree["config"].update(layers=tree["config"]["layers"][:1] * 2000)
    ),
    "cyclic": text("config.json", lambda tree: tree["config"]["layers"].append(tree["config"]["layers"][-1])),
    "another kind of network": text("config.json", lambda tree: tree.update(class_name="Sequential")),
    "input of another shape": layer(0, config={"batch_shape": [None, 4, 4, 1], "dtype": "int16", "name": "frame"}),
    "huge filters": option("Conv2D", filters=10**9),
    "filters without end": option("Conv2D", filters=10**30),
    "negative filters": option("Conv2D", filters=-1),
    "filters of a text": option("Conv2D", filters="9"),
    "huge kernel": option("Conv2D", kernel_size=[10**5, 10**5]),
    "huge units": option("Dense", units=10**12),
    "more units": option("Dense", units=7),
    "zero strides": option("Conv2D", strides=[0, 0]),
    "huge pooling": option("MaxPooling2D", pool_size=[0, -1]),
    "unknown activation": option("Activation", activation="eval"),
    "weights of garbage": entry("model.weights.h5", b"x" * 1000),
    "no weights": entry("model.weights.h5", b""),
    "no weights entry": lost("model.weights.h5"),
    "no config": lost("config.json"),
    "no spec": lost("xtcav.json"),
    "declared terabytes": instead(shape=(2**40,), dtype="f4"),
    "declared terabytes in chunks": instead(shape=(2**40,), chunks=(2**20,), dtype="f4"),
    "packed": instead(data=np.zeros((3, 3, 1, 3), "f4"), compression="gzip"),
    "objects": instead(data=[b"x"], dtype=h5py.string_dtype()),
    "another shape": instead(data=np.zeros((3, 3, 1, 1), "f4")),
    "links out": weights(lambda file: file.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/"))),
    "soft links": weights(lambda file: file.__setitem__("x", h5py.SoftLink("/x"))),
    "circle of groups": weights(lambda file: file["layers"].__setitem__("x", file["/"])),
    "raw data elsewhere": instead(shape=(9,), dtype="u1", external=[("/etc/passwd", 0, 9)]),
    "lost weights": weights(lambda file: file.__delitem__(KERNEL)),
    "more weights": weights(lambda file: file.create_dataset("more", data=np.zeros(9))),
    "other entry": entry("assets/x.py", b"import os"),
    "absolute path": entry("/pwned", b""),
    "path upwards": entry("../pwned", b""),
}


def refused(path) -> None:
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as error:
        Predictor(path)
    assert time.process_time() - began < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1000 * MEGABYTES
    assert str(error.value).isprintable()
    assert "Fix: " in str(error.value)
    assert len(str(error.value)) < 1500


def some(names):
    """Return the names as parameters: every fourth, and all of them with the slow tests."""
    return [pytest.param(name, marks=[pytest.mark.slow] * bool(i % 4)) for i, name in enumerate(names)]


@pytest.mark.parametrize("name", some(CHANGES))
def test_a_model_that_does_not_fit_together_is_one_line(name, good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = model_file.read_model_file(good)[0]
    CHANGES[name](parts)
    written(tmp_path / "model.keras", parts)
    refused(tmp_path / "model.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def many(target):
    for number in range(100_000):
        target.writestr(str(number), b"")


ZIPS: dict[str, dict] = {
    "packed": {"compression": zipfile.ZIP_DEFLATED},
    "hundred thousand entries": {"change": many},
    "bomb": {"compression": zipfile.ZIP_DEFLATED, "change": lambda target: target.writestr("x", bytes(10**8))},
    "twice": {"change": lambda target: target.writestr("xtcav.json", b"{}")},
    "folder": {"change": lambda target: target.writestr("assets/", b"")},
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", some(ZIPS))
def test_a_zip_of_another_kind_is_one_line(name, good, tmp_path):
    written(tmp_path / "model.keras", model_file.read_model_file(good)[0], **ZIPS[name])
    refused(tmp_path / "model.keras")


def test_what_is_no_zip_is_one_line(good, tmp_path):
    whole = good.read_bytes()
    for content in (b"", b"PK", bytes(10**6), whole[:-1], whole[: len(whole) // 2], whole + b"x", whole[1:], whole * 2):
        (tmp_path / "model.keras").write_bytes(content)
        refused(tmp_path / "model.keras")


def test_names_of_classes_cannot_be_changed_by_whoever_packs_the_file_again(good, tmp_path):
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(tmp_path / "model.keras", "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            target.writestr(entry, content.replace(b'"yes"', b'"xes"'))
    refused(tmp_path / "model.keras")


def test_a_good_file_is_read(good, tmp_path):
    parts, spec = model_file.read_model_file(good)
    written(tmp_path / "model.keras", dict(sorted(parts.items())))
    assert (tmp_path / "model.keras").read_bytes() == good.read_bytes()
    assert Predictor(good).spec.classes == spec.classes
