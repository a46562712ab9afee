import hashlib

import pytest

from xtcav_ml.lineage import dvc_lock, lineage

YAML = """\
stages:
  train:
    cmd: x
    params: [train]
    deps: [data/prepared/train.h5, src/xtcav_ml/learning/fit.py]
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
    - {path: src/xtcav_ml/learning/fit.py, md5: FIT}
    params:
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
    """Write a project with the lock files that DVC would have written."""
    contents = {"data/prepared/train.h5": b"train", "src/xtcav_ml/learning/fit.py": b"fit"}
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    text = LOCK.replace("RAW", raw).replace("epochs: 3", f"epochs: {epochs}")
    for mark, content in (("TRAIN", b"train"), ("FIT", b"fit")):
        text = text.replace(mark, hashlib.md5(content).hexdigest())
    (folder / "dvc.lock").write_text(text)
    (folder / "dvc.yaml").write_text(YAML)
    (folder / "params.yaml").write_text(PARAMS.replace("RAW", raw).replace("epochs: 3", f"epochs: {epochs}"))
    (folder / "data/raw").mkdir(exist_ok=True)
    (folder / "data/raw/dvc.lock").write_text(SIMULATED)
    return folder


def test_parameters_hashes_and_the_key_that_a_run_of_the_same_training_has(tmp_path):
    found = dvc_lock.of_folder(lay(tmp_path))
    assert found.params == {
        "data.raw": "mine",
        "prepare.label": "side",
        "prepare.images.0.step": "log",
        "train.epochs": 3,
        "train.rate": 0.001,
    }
    assert list(found.data) == ["mine", "data/prepared/train.h5", "models/model.keras"]
    assert list(found.code) == ["src/xtcav_ml/learning/fit.py"]
    assert found.key == lineage.of_stage("train", tmp_path).key


def test_what_was_simulated_counts_only_if_the_data_are(tmp_path):
    found = dvc_lock.of_folder(lay(tmp_path, raw="data/raw/simulated"))
    assert found.params["simulate.seed"] == 5
    assert found.data["data/raw/simulated"] == "aaa.dir"
    assert "simulate.seed" not in dvc_lock.of_folder(lay(tmp_path)).params


@pytest.mark.parametrize("text", ["", "[", "stages: 3", "stages: {train: }", LOCK[:300], LOCK.replace("train:", "t:")])
def test_a_torn_lock_says_nothing(tmp_path, text):
    lay(tmp_path)
    (tmp_path / "dvc.lock").write_text(text)
    assert dvc_lock.of_folder(tmp_path) is None


def test_no_lock_says_nothing(tmp_path):
    assert dvc_lock.of_folder(tmp_path) is None


def test_only_what_differs_is_told():
    found = dvc_lock.differing({"a": {"x": 1, "y": "2", "z": 3}, "b": {"x": 1.5, "y": 2}})
    assert found == {"x": {"a": "1", "b": "1.5"}, "z": {"a": "3", "b": None}}


def test_changed_data_and_code_but_not_results(tmp_path):
    one = dvc_lock.Recorded("", {}, {"data/a": "1", "data/b": "1", "results/c": "1", "data/only": "1"}, {"x.py": "1"})
    other = dvc_lock.Recorded("", {}, {"data/a": "1", "data/b": "2", "results/c": "2"}, {"x.py": "2"})
    assert dvc_lock.changed([one, other]) == (["data/b"], ["x.py"])
    assert dvc_lock.changed([]) == dvc_lock.changed([one]) == ([], [])
