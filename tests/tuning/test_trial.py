import pytest

from tests.learning.test_fit import PARAMS, write
from xtcav_ml.system import variables
from xtcav_ml.system.child_process import ChildProcess
from xtcav_ml.system.errors import UserError
from xtcav_ml.tuning.costs import time_network
from xtcav_ml.tuning.trial import imported, train_trial


def test_a_trial_trains_until_it_is_stopped_and_says_what_is_missing(tmp_path):
    write(tmp_path / "train.h5", 24, 0).close()
    params = PARAMS.model_copy(update={"epochs": 10_000})

    def trial():
        return ChildProcess(train_trial, params, tmp_path, tmp_path / "states", subject="trial 0", cure="")

    with pytest.raises(UserError, match=r"validation\.h5"):
        list(trial())
    write(tmp_path / "validation.h5", 12, 1).close()
    numbers, process = [], trial()
    for number, values in process:
        numbers.append(number)
        assert 0 <= values["val_accuracy"] <= 1
        process.stop = number == 2
    assert numbers == [1, 2]
    again = trial()
    for number, repeated in again:
        again.stop = number == 3
        assert number != 2 or repeated == values
    assert list((tmp_path / "states").rglob("epoch-000003.ckpt"))


def test_a_trial_in_a_fork_is_the_one_of_a_process_of_its_own(tmp_path, own_forks):
    write(tmp_path / "train.h5", 24, 0).close()
    write(tmp_path / "validation.h5", 12, 1).close()
    params = PARAMS.model_copy(update={"epochs": 4})
    assert imported()

    def trained(folder, stop, modules):
        process = ChildProcess(train_trial, params, tmp_path, folder, subject="trial 0", cure="", imported=modules)
        rows = []
        for number, values in process:
            rows.append(values)
            process.stop = number == stop
        return rows, process.result

    alone = trained(tmp_path / "alone", 4, ())
    assert trained(tmp_path / "fork", 2, imported())[0] == alone[0][:2]
    assert trained(tmp_path / "fork", 0, imported())[0] == alone[0]


def test_with_a_gpu_or_on_jax_no_trial_is_a_fork(monkeypatch):
    assert imported()
    monkeypatch.setattr(variables, "has_gpu", lambda: True)
    assert not imported()
    monkeypatch.undo()
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert not imported()


def test_a_network_is_timed_as_it_predicts_and_a_larger_one_takes_longer(tmp_path):
    write(tmp_path / "train.h5", 24, 0).close()

    def milliseconds(channels):
        block = PARAMS.model.blocks[0].model_copy(update={"channels": channels, "kernel": 5, "stride": 1})
        params = PARAMS.model_copy(update={"model": PARAMS.model.model_copy(update={"blocks": (block,)})})
        timing = ChildProcess(time_network, params, tmp_path, subject="trial 0", cure="")
        assert list(timing) == []
        return timing.result

    small, large = milliseconds(1), milliseconds(4096)
    assert 0 < small < large
