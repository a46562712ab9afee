"""The shares of several processes are the minibatches of one, in the same order and varied in the same way."""

import threading

import numpy as np
import pytest

from tests.learning.conftest import write
from xtcav_ml.config.train import Augment
from xtcav_ml.learning import backend
from xtcav_ml.learning.augment import Augmentation
from xtcav_ml.learning.backend import Share
from xtcav_ml.learning.batches import Batches
from xtcav_ml.learning.layer_plan import CLASS_HEAD, FEATURES_INPUT, FRAME_INPUT


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    energy = np.random.default_rng(0).normal(4000, 3, 46)
    with write(tmp_path_factory.mktemp("prepared") / "train.h5", 46, 0, features={"bld.L3energy": energy}) as file:
        yield file


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("seed", [None, 3])
def test_shares_are_the_minibatch_of_one_process(prepared, processes, seed):
    weights = np.array([0.5, 2.0], np.float32)
    rules = Augment(shift=(2, 1), gain=0.2)
    varied = Augmentation(rules, prepared.spec.preprocessing) if seed else None
    whole = Batches(prepared, 12, seed, weights, varied)
    shares = [Batches(prepared, 12, seed, weights, varied, Share(number, processes)) for number in range(processes)]
    for batches in (whole, *shares):
        batches.epoch = 1
    assert {len(batches) for batches in shares} == {len(whole)}
    for index in range(46 // 12):
        parts = [batches[index] for batches in shares]
        for kind, name in ((0, FRAME_INPUT), (0, FEATURES_INPUT), (1, CLASS_HEAD), (2, CLASS_HEAD)):
            together = np.concatenate([part[kind][name] for part in parts])
            assert together.tobytes() == whole[index][kind][name].tobytes()


def test_a_share_reads_no_other_frames(prepared, monkeypatch):
    read = []
    monkeypatch.setattr(
        type(prepared), "stored", lambda self, rows: read.append(len(rows)) or np.zeros((len(rows), 8, 10))
    )
    Batches(prepared, 12, 3, share=Share(1, 3))[0]
    assert read == [4]


class Watched(Batches):
    """Minibatches that say when they were asked for, and where their frames lie."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.asked = [threading.Event() for _ in range(len(self))]
        self.addresses = {}

    def __getitem__(self, index):
        minibatch = super().__getitem__(index)
        self.addresses[index] = minibatch[0][FRAME_INPUT].ctypes.data
        self.asked[index].set()
        return minibatch


@pytest.mark.usefixtures("keras_ready")
def test_one_minibatch_is_read_while_another_trains(prepared):
    batches = Watched(prepared, 6)
    minibatches = iter(backend.feed(batches))
    for each in batches.asked:
        each.clear()
    for index in range(len(batches)):
        next(minibatches)
        assert all(each.wait(20) for each in batches.asked[: index + 2])
        assert not any(each.is_set() for each in batches.asked[index + 2 :])
    assert next(minibatches, None) is None


@pytest.mark.usefixtures("keras_ready")
def test_an_error_in_reading_reaches_the_training_and_ends_the_reader(prepared):
    class Failing(Batches):
        def __getitem__(self, index):
            if index == 2:
                raise ValueError("no such frame")
            return super().__getitem__(index)

    minibatches = iter(backend.feed(Failing(prepared, 6)))
    next(minibatches), next(minibatches)
    with pytest.raises(Exception, match="no such frame"):
        next(minibatches)
    del minibatches
    assert not [each.name for each in threading.enumerate() if each.name.startswith("minibatches")]


@pytest.mark.usefixtures("keras_ready")
def test_tensorflow_takes_frames_from_where_they_were_read(prepared):
    batches = Watched(prepared, 32)
    for index, (inputs, _) in enumerate(backend.feed(batches)):
        assert np.asarray(memoryview(inputs[FRAME_INPUT])).ctypes.data == batches.addresses[index]
