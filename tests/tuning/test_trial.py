"""A trial is a process of its own: its end, however it comes, is a message here and never a hang."""

import os
import signal

import pytest

from tests.learning.test_fit import PARAMS, write
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning.trial import Trial


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trial")
    write(folder / "train.h5", 24, 0).close()
    write(folder / "validation.h5", 12, 1).close()
    return folder


def test_epochs_arrive_and_it_ends(data):
    trial = Trial(PARAMS.model_copy(update={"epochs": 2}), data)
    epochs = list(trial)
    assert [epoch.number for epoch in epochs] == [1, 2]
    assert 0 <= epochs[-1].values["val_accuracy"] <= 1


def test_a_killed_trial_says_so(data):
    trial = Trial(PARAMS.model_copy(update={"epochs": 10_000}), data)
    with pytest.raises(UserError, match=r"exit code -9 \(killed, perhaps for lack of memory"):
        for _ in trial:
            os.kill(trial._process.pid, signal.SIGKILL)


def test_a_stopped_trial_leaves_no_process(data):
    trial = Trial(PARAMS.model_copy(update={"epochs": 10_000}), data)
    for epoch in trial:
        trial.stop = epoch.number == 2
    assert not trial._process.is_alive()


def test_a_mistake_in_the_training_is_told(tmp_path):
    with pytest.raises(UserError, match=r"train\.h5: prepared file is missing"):
        list(Trial(PARAMS, tmp_path))
