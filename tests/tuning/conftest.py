"""A search without Keras: trials of a known score, in a study and a store of their own."""

import contextlib
import itertools
from types import SimpleNamespace

import optuna
import pytest

from tests.conftest import ROOT, lay_store
from xtcav_ml.config.tune import Range
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.tracking import uploader
from xtcav_ml.tracking.tracker import Tracker
from xtcav_ml.tuning import loop, studies


class Known:
    """A trial of two epochs, of which the first is kept, whose score is its momentum - 1."""

    def __init__(self, target, params, *_, **__):
        self.params, self.stop = params, False
        self.result = [float((7 * shot + params.seed) % 100 < 100 * params.optimizer.momentum) for shot in range(100)]

    def __iter__(self):
        for number in (1, 2):
            yield number, {"val_cross_entropy": 1 - self.params.optimizer.momentum, "val_accuracy": 0.1 * number}
            if self.stop:
                return

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
    monkeypatch.setattr(loop, "ChildProcess", Known)
    monkeypatch.setattr(loop.outcome, "pictures", lambda *_: [])  # seconds, for which test_outcome pays
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rules = params.tune.model_copy(
        update={"trials": 3, "epochs": 2, "rungs": 0, "space": {"train.optimizer.momentum": Range(low=0.5, high=0.9)}}
    )
    study = studies.open_study(rules, {}, tmp_path / "study.db")
    for name in ("BATCH_PAUSE", "FIRST_PAUSE", "LAST_PAUSE"):
        monkeypatch.setattr(uploader, name, 0.01)
    spec = LearningSpec.of(params.prepare, params.data.frame_shape, dark=None)
    prepared = SimpleNamespace(path=tmp_path / "train.h5", spec=spec, shots=1000)
    with Tracker(tmp_path) as tracker:
        yield loop.Search(study, params.train, rules, prepared, tracker, tmp_path)


def run_until_done(search):
    """Run a search again as long as a RuntimeError interrupts it."""
    for _ in range(60):
        with contextlib.suppress(RuntimeError):
            return search.run_trials()
    raise AssertionError("60 interruptions")


@contextlib.contextmanager
def interrupted_reports(every):
    """Interrupt a search by a RuntimeError after one of `every` reports to its study."""
    real, calls = studies.report, itertools.count(1)

    def report(*arguments):
        real(*arguments)
        if next(calls) % every == 0:
            raise RuntimeError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "report", report)
        yield
