"""The search without Keras: trials of a known score, in a study and a store of their own."""

from types import SimpleNamespace

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from optuna.trial import TrialState

from tests.conftest import ROOT, lay_store
from xtcav_ml.config.tune import Choices, Range
from xtcav_ml.lineage import environment
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking import mlflow_store, uploader
from xtcav_ml.tracking.tracker import Run, Tracker
from xtcav_ml.tuning import studies, tune


class Known:
    """A trial of two epochs whose score is its momentum."""

    def __init__(self, target, params, data, **_):
        self.params, self.stop = params, False

    def __iter__(self):
        for number in (1, 2):
            yield number, {"val_accuracy": self.params.optimizer.momentum}

    def close(self):
        pass


@pytest.fixture
def search(tmp_path, monkeypatch, params):
    for name in ("dvc.yaml", "params.yaml", "requirements.txt", "requirements-jax.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    lay_store(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(tune, "ChildProcess", Known)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rules = params.tune.model_copy(
        update={"trials": 3, "epochs": 2, "space": {"train.optimizer.momentum": Range(low=0.5, high=0.9)}}
    )
    study = studies.open_study(rules, {}, tmp_path / "study.db")
    monkeypatch.setattr(uploader, "BATCH_PAUSE", 0.01)
    spec = LearningSpec.of(params.prepare, params.data.frame_shape, dark=None)
    prepared = SimpleNamespace(path=tmp_path / "train.h5", spec=spec, shots=1000)
    with Tracker(tmp_path) as tracker:
        yield tune._Search(study, params.train, rules, prepared, tracker)


def refuse(*_, **__):
    raise MlflowException("the store is full")


def test_another_environment_is_another_study(search, tmp_path, monkeypatch):
    def name():
        return studies.open_study(search.tune, tune.decides(search.base), tmp_path / "study.db").study_name

    monkeypatch.setattr(tune.lineage, "file_md5", lambda path: path.name)
    assert name() == name()
    before = name()
    monkeypatch.setattr(environment.platform, "platform", lambda: "another kernel")
    assert name() == before
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert name() != before


def test_trials_are_told_and_recorded(search, tmp_path):
    search.run_trials(tmp_path)
    assert [trial.state for trial in search.study.trials] == [TrialState.COMPLETE] * 3
    assert search.tracker.uploader.drain() == []
    client, experiment = mlflow_store.connect(tmp_path)
    assert {run.info.status for run in client.search_runs([experiment])} == {"FINISHED"}


@pytest.mark.thorough
@pytest.mark.parametrize("names", [["log_batch"], ["set_terminated"], ["log_batch", "set_terminated"]])
def test_a_store_that_fails_does_not_end_the_search(search, tmp_path, monkeypatch, names):
    for name in names:
        monkeypatch.setattr(MlflowClient, name, refuse)
    search.run_trials(tmp_path)
    assert [trial.state for trial in search.study.trials] == [TrialState.COMPLETE] * 3
    assert search.tracker.uploader.drain()
    assert search.tracker.uploader.failure == "the store is full"


def test_a_trial_whose_run_cannot_be_begun_is_lost_and_tried_again(search, tmp_path, monkeypatch):
    real = Tracker.start

    def second(tracker, name, tags, **options):
        if name == "trial-1":
            raise OSError("no room for its journal")
        return real(tracker, name, tags, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "start", second)
        with pytest.raises(OSError, match="no room"):
            search.run_trials(tmp_path)
    assert [trial.state for trial in search.study.trials] == [TrialState.COMPLETE, TrialState.FAIL]
    assert studies.spent(search.study) == 1
    search.run_trials(tmp_path)
    assert [trial.state.name for trial in search.study.trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert search.study.trials[2].params == search.study.trials[1].params


def test_a_trial_that_was_completed_is_told_whatever_its_run_says_then(search, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "finish", stop)
        search.run_trials(tmp_path)
    assert [trial.state for trial in search.study.trials] == [TrialState.COMPLETE]


@pytest.mark.parametrize(
    ("space", "memory", "reason"),
    [
        (
            {"train.model.blocks.1.kernel": Choices(choices=(300, 400))},
            4,
            r"2 of 2.*blocks\.1\.kernel.*Fix: lower",
        ),
        ({"train.optimizer.momentum": Range(low=0.5, high=0.9)}, 0.001, r"tune\.memory_gb.*0\.0.*Fix: raise it"),
    ],
)
def test_a_search_without_a_trainable_trial_names_the_reason_and_its_cure(search, tmp_path, space, memory, reason):
    search.tune = search.tune.model_copy(update={"space": space, "memory_gb": memory, "trials": 2})
    with pytest.raises(UserError, match=reason) as error:
        search.run_trials(tmp_path)
    assert "tune.minutes" not in str(error.value)
