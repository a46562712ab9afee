import hashlib
import json

import pytest

from xtcav_ml.lineage import fingerprint, lineage, recorded
from xtcav_ml.lineage.fingerprint import Code

YAML = """\
stages:
  train:
    cmd: x
    params: [train, code/train.json: [fingerprint]]
    deps: [data/prepared/train.h5]
"""
LOCK = """\
schema: '2.0'
stages:
  prepare:
    cmd: x
    deps:
    - {path: RAW, md5: aaa.dir, nfiles: 3}
    params:
      params.yaml:
        data: {raw: RAW}
        prepare: {label: side, images: [{step: log}]}
    outs:
    - {path: data/prepared/train.h5, md5: TRAIN}
  train:
    cmd: x
    deps:
    - {path: data/prepared/train.h5, md5: TRAIN}
    params:
      code/train.json: {fingerprint: FIT}
      params.yaml:
        train: {epochs: 3, rate: 1e-3}
    outs:
    - {path: models/model.keras, md5: ccc}
"""
PARAMS = """\
data: {raw: RAW}
prepare: {label: side, images: [{step: log}]}
train: {epochs: 3, rate: 1e-3}
"""
SIMULATED = """\
stages:
  simulate:
    params: {params.yaml: {simulate: {seed: 5}}}
    outs: [{path: data/raw/simulated, md5: ddd.dir}]
"""


def lay(folder, *, raw="mine", epochs=3):
    """Write a project with the lock files that DVC would have written, and the code of the present train stage."""
    (folder / "requirements.txt").write_text("numpy==1.0\n")
    (folder / "data/prepared").mkdir(parents=True, exist_ok=True)
    (folder / "data/prepared/train.h5").write_bytes(b"train")
    code = fingerprint.present_code("train", folder)
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code/train.json").write_text(json.dumps(vars(code)))
    text = LOCK.replace("RAW", raw).replace("epochs: 3", f"epochs: {epochs}")
    text = text.replace("TRAIN", hashlib.md5(b"train").hexdigest()).replace("FIT", code.fingerprint)
    (folder / "dvc.lock").write_text(text)
    (folder / "dvc.yaml").write_text(YAML)
    (folder / "params.yaml").write_text(PARAMS.replace("RAW", raw).replace("epochs: 3", f"epochs: {epochs}"))
    (folder / "data/raw").mkdir(exist_ok=True)
    (folder / "data/raw/dvc.lock").write_text(SIMULATED)
    return folder


def lay_seeds(folder, *, code="CODE", test="TEST"):
    """Write the lock files of an evaluation, and of a group of seeds that was evaluated by this code on this test set."""
    (folder / "seeds/code").mkdir(parents=True, exist_ok=True)
    (folder / "seeds/code/seeds.json").write_text('{"fingerprint": "CODE"}')
    evaluate = "  evaluate:\n    deps: [{path: data/prepared/test.h5, md5: TEST}]\n"
    if evaluate not in (folder / "dvc.lock").read_text():
        (folder / "dvc.lock").write_text((folder / "dvc.lock").read_text() + evaluate)
    (folder / "seeds/dvc.lock").write_text(
        f"stages: {{evaluate: {{params: {{code/seeds.json: {{fingerprint: {code}}}}}, "
        f"deps: [{{path: ../data/prepared/test.h5, md5: {test}}}]}}}}"
    )
    return folder


@pytest.mark.parametrize(("change", "same"), [({}, True), ({"code": "OLD"}, False), ({"test": "OLD"}, False)])
def test_a_group_of_seeds_counts_only_if_its_results_are_of_this_test_set_and_code(tmp_path, change, same):
    made = recorded.of_folder(lay_seeds(lay(tmp_path), **change))
    assert recorded.evaluated_group(made, lambda name: (tmp_path / name).read_bytes()) == (made.group if same else "")


@pytest.mark.parametrize("text", [None, "<<<<<<< HEAD", "stages: {}", "stages: 3"])
def test_a_group_without_a_lock_file_does_not_count(tmp_path, text):
    made = recorded.of_folder(lay_seeds(lay(tmp_path)))
    (tmp_path / "seeds/dvc.lock").unlink() if text is None else (tmp_path / "seeds/dvc.lock").write_text(text)
    assert recorded.evaluated_group(made, lambda name: (tmp_path / name).read_bytes()) == ""


def test_parameters_hashes_and_the_key_that_a_run_of_the_same_training_has(tmp_path):
    found = recorded.of_folder(lay(tmp_path))
    assert found.params == {
        "data.raw": "mine",
        "prepare.label": "side",
        "prepare.images.0.step": "log",
        "train.epochs": 3,
        "train.rate": 0.001,
    }
    assert list(found.data) == ["mine", "data/prepared/train.h5", "models/model.keras"]
    assert found.code == {"prepare": Code(""), "train": fingerprint.present_code("train", tmp_path)}
    assert found.key == lineage.of_stage("train", tmp_path).key


def test_what_was_simulated_counts_only_if_the_data_are(tmp_path):
    found = recorded.of_folder(lay(tmp_path, raw="data/raw/simulated"))
    assert found.params["simulate.seed"] == 5
    assert found.data["data/raw/simulated"] == "aaa.dir"
    assert "simulate.seed" not in recorded.of_folder(lay(tmp_path)).params


@pytest.mark.parametrize("text", ["", "[", "stages: 3", "stages: {train: }", LOCK[:300], LOCK.replace("train:", "t:")])
def test_a_torn_lock_says_nothing(tmp_path, text):
    lay(tmp_path)
    (tmp_path / "dvc.lock").write_text(text)
    assert recorded.of_folder(tmp_path) is None


def test_no_lock_says_nothing(tmp_path):
    assert recorded.of_folder(tmp_path) is None


def test_only_what_differs_is_told():
    found = recorded.differing({"a": {"x": 1, "y": "2", "z": 3}, "b": {"x": 1.5, "y": 2}})
    assert found == {"x": {"a": "1", "b": "1.5"}, "z": {"a": "3", "b": None}}


def code(fingerprint, **modules):
    return Code(fingerprint, {"numpy": modules.pop("numpy", "1")}, modules)


def test_changed_data_and_code_but_not_results():
    tables = ({"data/a": "1", "data/b": "1", "results/c": "1", "data/only": "1"}, {"data/a": "1", "data/b": "2"})
    one, other = (
        recorded.Recorded("", {}, data, {"train": code(name, fit=name, augment="1")})
        for name, data in zip("xy", tables, strict=True)
    )
    assert recorded.changed([one, other]) == (["data/b"], ["fit"])
    assert recorded.changed([]) == recorded.changed([one]) == ([], [])


def test_code_is_named_by_module_and_library_or_by_stage():
    one = {"train": code("x", fit="1"), "evaluate": code("x", fit="1"), "simulate": code("x")}
    other = {"train": code("y", fit="2"), "evaluate": code("y", fit="2", plot="1", numpy="2"), "prepare": code("y")}
    assert recorded.changed_code(one, other) == ["fit", "plot", "numpy (1, 2)"]
    assert recorded.changed_code(one, {"train": Code("y")}) == ["stage train"]
    assert recorded.changed_code(one, one) == []


def test_a_file_of_other_code_than_the_lock_names_no_modules(tmp_path):
    lay(tmp_path)
    path = tmp_path / "code/train.json"
    path.write_text(path.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    assert recorded.of_folder(tmp_path).code["train"].modules == {}


def test_the_simulation_is_compared_where_all_runs_record_it():
    code = Code("f", {}, {})
    here = recorded.Recorded("k", {"simulate.seed": 1, "train.rate": 1}, {}, {"simulate": code})
    there = recorded.Recorded("k", {"simulate.seed": 2, "train.rate": 2}, {}, {"simulate": code})
    in_mlflow = recorded.Recorded("k", {"train.rate": 2}, {}, {})
    assert list(recorded.differing_params({"a": here, "b": there})) == ["simulate.seed", "train.rate"]
    assert list(recorded.differing_params({"a": here, "b": in_mlflow})) == ["train.rate"]
