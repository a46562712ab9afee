"""The registered model in a store of its own; the model file is any file, since nothing here loads it."""

import functools
import shutil
from dataclasses import replace

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.conftest import STORED, StoredRun, lay_store
from xtcav_ml.science.images import Dark, Preprocessing
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.science.statements import Statements
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking.registry import manifest, packaging, versions

DARK = Dark(np.full((3, 4), 99.6, np.float32), np.ones((3, 4), np.float32))
PLAIN = LearningSpec("side", ("no", "yes"), (), (), Preprocessing((), STORED, (3, 4), DARK))
STATED = replace(PLAIN, statements=Statements(coverage=0.8, temperature=1.5, least=(0.2, 0.6), half_width=()))
WITH_FEATURE = LearningSpec(None, (), ("energy",), ("gas",), Preprocessing((), STORED, (3, 4), None))


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    lay_store(tmp_path)
    (tmp_path / "model.keras").write_bytes(b"weights")
    return tmp_path


def begin(root, stage="train", **tags):
    """Return a run of a stage, committed."""
    known = {"stage": stage, "lineage.key": "k", "git.commit": "c", "git.dirty": "false", **tags}
    return StoredRun(root, **known)


def log(run, root, spec=PLAIN):
    versions.log_version(run.run_id, root / "model.keras", spec, ["keras==3.15.1"])


def logged(run):
    return list(run.client.search_logged_models([run.experiment_id]))


def known(run):
    return list(run.client.search_model_versions("name = 'xtcav'"))


def test_the_model_of_the_train_stage_is_a_version_with_its_tags_and_the_candidate(root):
    run = begin(root)
    run.params({"rate": 0.1})
    log(run, root)
    (model,), (version,) = logged(run), known(run)
    assert model.status == "READY"
    assert model.params == {"rate": "0.1"}
    assert [output.model_id for output in run.client.get_run(run.run_id).outputs.model_outputs] == [model.model_id]
    assert version.source == f"models:/{model.model_id}"
    assert version.run_id == run.run_id
    assert {name: version.tags[name] for name in versions.COPIED_TAGS} == {
        "lineage.key": "k",
        "git.commit": "c",
        "git.dirty": "false",
    }
    assert version.tags["manifest.sha256"] == model.tags["manifest.sha256"]
    model = run.client.get_registered_model("xtcav")
    assert dict(model.aliases) == {"candidate": version.version}
    assert "`xtcav predict models:/xtcav@champion SHOTS`" in model.description
    assert f"`xtcav reproduce {run.run_id}`" in version.description


def test_a_tag_that_another_process_sets_at_the_same_moment_is_set(root, monkeypatch):
    run, failed, real = begin(root), [], MlflowClient.set_model_version_tag
    log(run, root)
    version = versions.find(root, "candidate")

    def collide(*arguments):
        real(*arguments)
        if arguments not in failed:
            failed.append(arguments)
            raise MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: model_version_tags.key")

    monkeypatch.setattr(MlflowClient, "set_model_version_tag", collide)
    versions.annotate(version, "text", {"a": "1", "b": "2"})
    assert len(failed) == 2
    (kept,) = known(run)
    assert (kept.tags["a"], kept.tags["b"]) == ("1", "2")
    assert kept.description.startswith("text\n\nOf run [one](#/experiments/")
    assert f"`xtcav reproduce {run.run_id}`" in kept.description


@pytest.mark.parametrize("spec", [PLAIN, WITH_FEATURE])
def test_the_folder_has_signature_example_and_pinned_libraries(root, spec):
    run = begin(root)
    log(run, root, spec)
    info = mlflow.models.get_model_info("models:/xtcav@candidate")
    inputs = {spec.name: (spec.type, spec.shape) for spec in info.signature.inputs.inputs}
    names = ["frame", "gas"] if spec.features else [None]
    assert inputs == dict.fromkeys(names, (np.dtype(object), (-1,)))  # to which MLflow casts nothing
    assert [spec.required for spec in info.signature.outputs.inputs] == [not spec.features] * len(
        info.signature.outputs.inputs
    )
    meant = {"frame": "int16 (-1, 3, 4)"} | ({"gas": "float32 (-1,)"} if spec.features else {})
    assert info.metadata == {"git.commit": "c", "inputs": meant}
    folder = root / "copy"
    versions.fetch(root, "models:/xtcav@candidate", folder)
    model = mlflow.models.Model.load(str(folder))
    example = model.load_input_example(str(folder))
    assert model.load_input_example_params(str(folder)) == {}
    given = model.get_serving_input(str(folder))
    if spec.features:
        assert (example["frame"].tolist(), example["gas"].tolist()) == ([[[0] * 4] * 3], [0])
        assert given.startswith('{"inputs":{"frame":[[[0,0,0,0],')
    else:
        assert example.tolist() == [[[100] * 4] * 3]
        assert given.startswith('{"inputs":[[[100,100,100,100],')
    assert (folder / "requirements.txt").read_text().split() == [f"mlflow=={mlflow.__version__}", "keras==3.15.1"]


def test_what_a_model_states_is_in_its_signature_and_metadata(root):
    run = begin(root)
    log(run, root, STATED)
    info = mlflow.models.get_model_info("models:/xtcav@candidate")
    assert (info.metadata["coverage"], info.metadata["temperature"]) == (0.8, 1.5)
    types = {spec.name: spec.type.name for spec in info.signature.outputs.inputs}
    assert {types[f"set includes {name}"] for name in ("no", "yes")} == {"boolean"}


def test_a_number_of_which_too_few_shots_are_known_has_an_interval_without_ends():
    said = Statements(coverage=0.9, temperature=None, least=(), half_width=(None,))
    outputs = packaging.signature(replace(WITH_FEATURE, statements=said)).outputs.inputs
    assert {spec.name: spec.required for spec in outputs} == dict.fromkeys(
        ["energy", "lowest energy", "highest energy"], False
    )


@pytest.mark.parametrize("stage", ["experiment", "trial"])
def test_a_model_of_another_stage_is_logged_and_is_no_version(root, stage):
    run = begin(root, stage)
    log(run, root)
    assert len(logged(run)) == 1
    assert known(run) == []


LOSING = (
    *("create_logged_model", "log_model_artifacts", "set_logged_model_tags", "finalize_logged_model", "log_outputs"),
    *("create_registered_model", "create_model_version", "set_model_version_tag", "set_registered_model_alias"),
)


@pytest.mark.parametrize("call", LOSING)
@pytest.mark.parametrize("arrives", [False, True])
def test_what_was_cut_short_is_completed_and_nothing_is_there_twice(root, monkeypatch, call, arrives):
    real = getattr(MlflowClient, call)

    def lose(*args, **kwargs):
        if arrives:
            real(*args, **kwargs)
        raise MlflowException("the answer was lost")

    run = begin(root)
    run.metrics({"accuracy": 0.75})
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, lose)
        with pytest.raises(MlflowException, match="lost"):
            log(run, root)
    for _ in range(2):
        log(run, root)
    (model,), (version,) = logged(run), known(run)
    assert model.status == "READY"
    assert len(run.client.get_run(run.run_id).outputs.model_outputs) == 1
    assert version.tags["accuracy"] == "0.75"
    model = run.client.get_registered_model("xtcav")
    assert dict(model.aliases) == {"candidate": version.version}
    assert "`xtcav predict models:/xtcav@champion SHOTS`" in model.description
    assert f"`xtcav reproduce {run.run_id}`" in version.description
    versions.fetch(root, "models:/xtcav@candidate", root / "copy")


@pytest.mark.parametrize("call", ["create_logged_model", "create_model_version"])
def test_what_mlflow_asks_twice_is_there_once(root, monkeypatch, call):
    real = getattr(MlflowClient, call)

    @functools.wraps(real)
    def twice(*args, **kwargs):
        real(*args, **kwargs)
        return real(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, call, twice)
    run = begin(root)
    log(run, root)
    assert (len(logged(run)), len(known(run))) == (1, 1)
    versions.fetch(root, "models:/xtcav@candidate", root / "copy")


def test_another_file_of_the_same_run_is_another_model(root):
    run = begin(root)
    log(run, root)
    (root / "model.keras").write_bytes(b"others")
    log(run, root)
    assert (len(logged(run)), len(known(run))) == (2, 2)
    assert versions.find(root, run.run_id).number == "2"


def test_an_older_run_that_is_sent_again_is_not_the_candidate_again(root):
    first, second = begin(root), begin(root)
    log(first, root)
    log(second, root)
    log(first, root)
    assert versions.find(root, "candidate").run_id == second.run_id


def test_test_metrics_that_come_later_are_tags_of_the_version(root):
    run = begin(root)
    run.metrics({"val_accuracy": 0.75, "accuracy": 0.5})
    versions.tag_metrics(run.run_id)  # there is no version yet
    log(run, root)
    (version,) = known(run)
    assert {name: value for name, value in version.tags.items() if "accuracy" in name} == {"accuracy": "0.5"}
    run.metrics({"accuracy": 0.625})
    versions.tag_metrics(run.run_id)
    assert known(run)[0].tags["accuracy"] == "0.625"


def test_a_version_is_found_by_alias_by_run_and_by_the_beginning_of_a_run(root):
    first, second = begin(root), begin(root, **{"git.dirty": "true"})
    for run in (first, second):
        log(run, root)
    first.finish()
    assert versions.find(root, "candidate") == versions.Version("2", second.run_id, "RUNNING", True)
    assert versions.find(root, first.run_id) == versions.Version("1", first.run_id, "FINISHED", False)
    shared = next(i for i in range(33) if first.run_id[:i] != second.run_id[:i])
    assert versions.find(root, first.run_id[:shared]).number == "1"
    for wanted, got in ((first.run_id[: shared - 1], "2 runs" if shared > 1 else "0 runs"), ("champion", "0 runs")):
        with pytest.raises(UserError, match=f"model 'xtcav' in .*found {got}"):
            versions.find(root, wanted)


def test_without_any_version_there_is_no_champion_and_nothing_to_find(root):
    assert versions.champion(root) is None
    with pytest.raises(UserError, match=r"^candidate: .*found 0 runs"):
        versions.find(root, "candidate")


def test_the_champion_before_is_kept(root):
    for _ in range(2):
        run = begin(root)
        log(run, root)
        versions.crown(root, versions.find(root, run.run_id), versions.champion(root))
    assert versions.champion(root).number == "2"
    assert versions.find(root, "previous").number == "1"


def test_a_champion_that_changes_during_the_comparison_is_kept(root):
    runs = [begin(root) for _ in range(3)]
    for run in runs:
        log(run, root)
    old, rival, new = (versions.find(root, run.run_id) for run in runs)
    versions.crown(root, old, versions.champion(root))
    versions.crown(root, rival, old)
    with pytest.raises(UserError, match="xtcav@champion: changed meanwhile"):
        versions.crown(root, new, old)
    assert versions.champion(root) == rival
    versions.crown(root, rival, old)  # as another process did
    assert versions.champion(root) == rival


def test_a_model_is_fetched_by_alias_or_number_and_an_unknown_one_is_one_line(root):
    log(begin(root), root)
    for uri in ("models:/xtcav@candidate", "models:/xtcav/1"):
        path = versions.fetch(root, uri, root / "copy")
        assert path.read_bytes() == b"weights"
        shutil.rmtree(root / "copy")
    for uri in ("models:/xtcav@champion", "models:/xtcav/7", "models:/xtcav", "models:/other@candidate", "models:/@"):
        with pytest.raises(UserError, match=f"^{uri}: not in sqlite") as error:
            versions.fetch(root, uri, root / "copy")
        assert len(str(error.value).splitlines()) == 1


def test_a_model_whose_files_were_changed_in_the_store_is_refused(root):
    log(begin(root), root)
    (place,) = (root / "mlruns/artifacts/models").glob("*/artifacts")
    for file in [path for path in place.rglob("*") if path.is_file()]:
        before = file.read_bytes()
        file.chmod(0o644)
        file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(UserError, match=f"^models:/xtcav/1: {file.relative_to(place)} is not as it was logged"):
            versions.fetch(root, "models:/xtcav/1", root / "copy")
        file.write_bytes(before)
        shutil.rmtree(root / "copy")
    (place / "sitecustomize.py").write_text("import os")
    with pytest.raises(UserError, match=r"sitecustomize\.py .*found a file that is not in its manifest"):
        versions.fetch(root, "models:/xtcav/1", root / "copy")


def test_the_registry_and_not_the_folder_decides_what_the_files_are(root):
    log(begin(root), root)
    (place,) = (root / "mlruns/artifacts/models").glob("*/artifacts")
    flavour = (place / "MLmodel").read_text()
    (place / "MLmodel").write_text(flavour.replace("xtcav_ml.tracking.registry.serving", "code_of_mine"))
    (place / "code_of_mine.py").write_text("print('pwned')")
    manifest.write_manifest(place)
    manifest.verify(place, "mine")  # by itself it is in order
    with pytest.raises(UserError, match=r"^models:/xtcav/1: manifest\.json is not as it was logged \(found another, "):
        versions.fetch(root, "models:/xtcav/1", root / "copy")
