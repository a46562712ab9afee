"""Costs of a network: a name for what it computes, and the least of many times."""

import pytest

from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.tuning import costs


class Clock:
    """A clock that advances by one of these seconds after the other, from each odd call to the next even one."""

    def __init__(self, seconds):
        self.seconds, self.calls, self.now = seconds, 0, 0.0

    def __call__(self):
        if self.calls % 2:
            self.now += self.seconds[self.calls // 2 % len(self.seconds)]
        self.calls += 1
        return self.now


def with_block(train, **changes):
    blocks = (train.model.blocks[0].model_copy(update=changes), *train.model.blocks[1:])
    return train.model_copy(update={"model": train.model.model_copy(update={"blocks": blocks})})


def test_only_what_computes_a_prediction_makes_another_network(params):
    spec, train = LearningSpec.of(params.prepare, params.data.frame_shape, dark=None), params.train
    key = costs.layers_key(train, spec)
    others = train.model_copy(update={"optimizer": train.optimizer.model_copy(update={"momentum": 0.1}), "seed": 7})
    assert costs.layers_key(others, spec) == costs.layers_key(with_block(train, dropout=0.5), spec) == key
    for change in ({"kernel": 5}, {"activation": "tanh"}, {"pool": "average"}, {"channels": 4}):
        assert costs.layers_key(with_block(train, **change), spec) != key


def test_the_least_of_many_times_is_kept(monkeypatch):
    clock, calls = Clock([0.009, 0.005, 0.003, 0.007]), []
    monkeypatch.setattr(costs.time, "process_time", clock)
    assert costs._least(lambda: calls.append(1)) == pytest.approx(3.0)
    assert 0.006 * len(calls) > costs.SECONDS
    monkeypatch.setattr(costs.time, "process_time", Clock([2.0, 1.5]))
    calls.clear()
    assert costs._least(lambda: calls.append(1)) == 1500
    assert len(calls) == 1 + costs.LEAST_CALLS
