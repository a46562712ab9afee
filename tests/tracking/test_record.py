"""Results on disk into MLflow, in a workspace as DVC has it, but of small files."""

import errno
import hashlib
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from mlflow import MlflowClient

from tests.conftest import stored_runs
from xtcav_ml.data import model_file
from xtcav_ml.lineage import lineage
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking import mlflow_writer, record, runs
from xtcav_ml.tracking.journal import Journal
from xtcav_ml.tracking.registry import versions
from xtcav_ml.tracking.tracker import Run, Tracker

CLASS = {"precision": 0.7, "recall": None, "shots": 72}
METRICS = {"accuracy": 0.7, "accuracy_low": 0.6, "accuracy_high": 0.8, "shots": 72, "regression": {}, "best_epoch": 2}
METRICS |= {"largest_class": 0.5, "z_score": 3.0, "confusion": [[72]], "classes": {"yes": CLASS}}
TAGS = {"lineage.key": "k", "model.md5": "m"}


@pytest.fixture
def results(workspace, monkeypatch):
    """What evaluate leaves, and a model that MLflow's part of is left out."""
    folder = workspace / "results"
    (folder / "plots").mkdir(parents=True)
    for name in ("predictions.csv", "plots/confusion_matrix.png", "plots/frames.png"):
        (folder / name).write_text("content")
    (folder / "predictions.csv").write_text("run,run.index,actual,predicted,probability of yes\n70,0,yes,yes,1\n")
    (folder / "evaluation.json").write_text(json.dumps(METRICS))
    (folder / "metrics.json").write_text(json.dumps({"accuracy": 0.7}))
    (folder / "history.jsonl").write_text('{"epoch": 1, "val_accuracy": 0.5}\n{"epoch": 2, "val_accuracy": 0.6}\n')
    (workspace / "model.keras").write_text("weights")
    return SimpleNamespace(
        folder=folder, models=leave_model_out(monkeypatch.setattr), model=workspace / "model.keras", root=workspace
    )


def leave_model_out(setting):
    """Replace MLflow's part of a model by a list of runs and files, which is returned."""
    kept = []
    setting(model_file, "read_spec", lambda path, **_: SimpleNamespace(path=path))
    setting(versions, "log_version", lambda run_id, path, spec, versions: kept.append((run_id, path.name)))
    return kept


def commit(results):
    """Write the lock of a pipeline that has just made these results."""
    files = [*results.folder.glob("*.*"), results.model]
    outs = [{"path": str(one.relative_to(results.root)), "md5": lineage.file_md5(one)} for one in files]
    plots = [(one.name, lineage.file_md5(one)) for one in sorted((results.folder / "plots").iterdir())]
    listed = json.dumps([{"md5": digest, "relpath": name} for name, digest in plots])
    outs.append({"path": "results/plots", "md5": f"{hashlib.md5(listed.encode()).hexdigest()}.dir"})
    (results.root / "dvc.lock").write_text(json.dumps({"stages": {"evaluate": {"outs": outs}}}))


def recorded(results, committed=True):
    if committed:
        commit(results)
    record.record(Path("model.keras"), Path("results/history.jsonl"), Path("results"))


def address(results):
    return json.loads((results.folder / "resources/run.json").read_text())


def trained(results):
    with runs.training_run("CPU") as (run, _):
        run.on_epoch(1, {"val_accuracy": 0.6}, {})
        runs.log_model(run, results.model)
    return run


def test_a_run_that_the_store_does_not_know_is_made_anew_once(results):
    recorded(results)
    (found,) = stored_runs(results.root)
    assert found.info.status == "FINISHED"
    expected = {
        "val_accuracy": 0.6,
        "accuracy": 0.7,
        "accuracy_low": 0.6,
        "accuracy_high": 0.8,
        "shots": 72,
        "best_epoch": 2,
        "largest_class": 0.5,
        "z_score": 3.0,
        "classes.yes.precision": 0.7,
        "classes.yes.shots": 72,
    }
    assert found.data.metrics == expected
    assert [row.step for row in MlflowClient().get_metric_history(found.info.run_id, "val_accuracy")] == [1, 2]
    assert (found.data.tags["rebuilt"], found.data.tags["stage"]) == ("true", "train")
    assert (
        "**Test accuracy 70.0%** (95 % interval 60.0% to 80.0%) on 72 shots" in found.data.tags["mlflow.note.content"]
    )
    assert found.data.params["train.model.name"] == "convnet"
    assert results.models == [(found.info.run_id, "model.keras")]
    assert address(results)["run_id"] == found.info.run_id
    pictures = MlflowClient().list_artifacts(found.info.run_id, "plots")
    assert [file.path for file in pictures] == ["plots/confusion_matrix.png", "plots/frames.png"]
    recorded(results)
    assert len(stored_runs(results.root)) == 1


def test_what_is_there_is_found_without_mlflow_and_left_alone(results, monkeypatch):
    recorded(results)
    before = stored_runs(results.root)[0].to_dictionary()
    monkeypatch.setattr(record, "find_finished", lambda *_: pytest.fail("it is there: MLflow was imported for nothing"))
    recorded(results)
    assert stored_runs(results.root)[0].to_dictionary() == before


@pytest.mark.parametrize(("where", "call"), [((Journal, "append"), 9), ((mlflow_writer, "upload_next"), 1)])
def test_a_full_disk_is_one_line_and_the_next_call_completes(results, monkeypatch, capsys, where, call):
    real, calls = getattr(*where), itertools.count()

    def fill(*arguments):
        if next(calls) >= call:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(UserError, match="expected room"):
        patch.setattr(*where, fill)
        recorded(results)
    assert "mlruns" not in capsys.readouterr().err
    assert not (results.folder / "resources/run.json").exists()
    recorded(results)
    (found,) = stored_runs(results.root)
    assert (found.info.status, found.data.metrics["accuracy"]) == ("FINISHED", 0.7)
    assert len(MlflowClient().list_artifacts(found.info.run_id, "plots")) == 2
    assert results.models[-1] == (found.info.run_id, "model.keras")


@pytest.mark.parametrize("content", ["<<<<<<< HEAD\n", "{}"])
def test_a_damaged_address_is_replaced_by_that_of_the_same_run(results, content):
    recorded(results)
    before = address(results)
    (results.folder / "resources/run.json").write_text(content)
    recorded(results)
    assert address(results) == before
    assert len(stored_runs(results.root)) == 1


def test_an_evaluation_goes_to_the_run_of_its_training_and_a_new_one_too(results):
    run = trained(results)
    ended = stored_runs(results.root)[0].info.end_time
    recorded(results)
    (results.folder / "evaluation.json").write_text(json.dumps({**METRICS, "accuracy": 0.75}))
    recorded(results)
    (found,) = stored_runs(results.root)
    assert (found.info.run_id, found.info.end_time, found.info.status) == (run.journal.run_id, ended, "FINISHED")
    rows = MlflowClient().get_metric_history(run.journal.run_id, "accuracy")
    assert [(row.step, row.value) for row in rows] == [(0, 0.7), (1, 0.75)]
    assert "rebuilt" not in found.data.tags


def test_a_run_is_found_by_the_model_that_it_made(results):
    for content in ("of a CPU", "of a GPU"):  # the same key: parameters, data and code are the same
        results.model.write_text(content)
        trained(results)
    results.model.write_text("of a CPU")
    recorded(results)
    first, second = stored_runs(results.root)
    assert first.data.metrics["accuracy"] == 0.7
    assert "accuracy" not in second.data.metrics


def test_results_that_the_pipeline_did_not_write_are_refused_and_leave_the_run_as_it_is(results):
    trained(results)
    recorded(results)
    before = stored_runs(results.root)[0].to_dictionary()
    for name in ("results/evaluation.json", "results/predictions.csv", "results/plots/frames.png", "model.keras"):
        path = results.root / name
        content = path.read_bytes()
        for text in ("", '{"accuracy": 1.0}', "[]"):
            path.write_text(text)
            (results.folder / "resources/run.json").unlink(missing_ok=True)
            with pytest.raises(UserError, match=r"not the output of a stage.*`dvc commit`"):
                recorded(results, committed=False)
        path.write_bytes(content)
    assert [one.to_dictionary() for one in stored_runs(results.root)] == [before]


@pytest.mark.parametrize("is_trained", [True, False])
def test_wherever_record_is_stopped_the_next_one_completes_the_one_run(results, monkeypatch, is_trained):
    if is_trained:
        trained(results)
    for number in range(1, 12, 3):
        calls, real = [], Run._write

        def write(run, kind, *arguments, calls=calls, real=real, number=number, **fields):
            calls.append(kind)
            if len(calls) == number + 1 and kind != "finish":
                raise KeyboardInterrupt
            real(run, kind, *arguments, **fields)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Run, "_write", write)
            recorded(results)
            raise KeyboardInterrupt
        if is_trained:
            assert [run.info.status for run in stored_runs(results.root)] == ["FINISHED"]
    recorded(results)
    (found,) = stored_runs(results.root)
    assert found.info.status == "FINISHED"
    for name in ("accuracy", "shots"):
        assert len(MlflowClient().get_metric_history(found.info.run_id, name)) == 1
    assert len(MlflowClient().get_metric_history(found.info.run_id, "val_accuracy")) == 1 + (not is_trained)


def test_a_store_that_is_down_gets_training_and_test_metrics_when_it_is_back(results, monkeypatch, capsys):
    def refuse(*_, **__):
        raise requests.ConnectionError("no answer")

    with monkeypatch.context() as patch:
        for name in ("create_run", "search_runs"):
            patch.setattr(MlflowClient, name, refuse)
        trained(results)
        for _ in range(2):
            recorded(results)
    assert not (results.folder / "resources/run.json").exists()
    assert "mlruns/journal: " in capsys.readouterr().err
    with Tracker(results.root):
        pass
    (found,) = stored_runs(results.root)
    assert found.info.status == "FINISHED"
    assert [row.step for row in MlflowClient().get_metric_history(found.info.run_id, "accuracy")] == [0]
    recorded(results)
    assert address(results)["run_id"] == found.info.run_id
    assert len(stored_runs(results.root)) == 1


def test_a_store_that_cannot_even_be_asked_is_one_line(results, monkeypatch, capsys):
    def refuse(*_, **__):
        raise requests.ConnectionError("no answer")

    monkeypatch.setattr(MlflowClient, "search_runs", refuse)
    recorded(results)
    (line,) = capsys.readouterr().err.splitlines()
    assert "run not recorded (found 'no answer'" in line
    assert "`xtcav record`" in line
    assert not (results.folder / "resources/run.json").exists()
