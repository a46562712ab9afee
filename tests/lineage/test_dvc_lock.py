import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from xtcav_ml.lineage import dvc_lock
from xtcav_ml.lineage.dvc_lock import Stage
from xtcav_ml.system.errors import UserError

LOCK = """
stages:
  prepare:
    deps: [{path: raw, md5: 0123.dir}, {path: other, md5: p}]
    outs: [{path: d.h5, md5: D}, {path: test.h5, md5: T}]
  train:
    deps: [{path: d.h5, md5: D}]
    params:
      code/train.json: {fingerprint: F}
      params.yaml: {train: {rate: 1e-3, name: no}}
    outs: [{path: model, md5: M}]
  record: {cmd: x}
"""


def test_the_lock_says_of_what_a_stage_made_its_output():
    stages = dvc_lock.parse(LOCK)
    assert stages["train"] == Stage({"train": {"rate": 0.001, "name": "no"}}, "F", {"d.h5": "D"}, {"model": "M"})
    assert stages["record"] == Stage()


def test_raw_data_are_those_of_the_prepared_files_at_hand():
    stages = dvc_lock.parse(LOCK)
    assert dvc_lock.raw_data(stages, {"d.h5": "D"}) == {"raw": "0123.dir"}
    assert dvc_lock.raw_data(stages, {"d.h5": "of a run by hand"}) == {}
    assert dvc_lock.raw_data({}, {"d.h5": "D"}) == {}


@pytest.mark.parametrize("text", ["[", "stages: 3", "stages: {train: }", LOCK[:100], "3"])
def test_a_torn_lock_is_an_error_that_names_it(text):
    with pytest.raises(UserError, match=r"dvc\.lock: .*Fix: "):
        dvc_lock.parse(text)


def test_of_a_new_project_there_is_nothing():
    assert dvc_lock.parse("") == dvc_lock.parse("schema: '2.0'") == {}


@pytest.mark.parametrize("name", ["dvc.lock", "data/raw/dvc.lock", "experiments/dvc.lock"])
def test_every_hash_of_a_lock_is_read(name):
    text = (ROOT / name).read_text()
    stages = dvc_lock.parse(text)
    assert stages.keys() == YAML(typ="safe").load(text)["stages"].keys()
    assert sum(len(stage.deps) + len(stage.outs) for stage in stages.values()) == text.count(" md5: ")
