from types import SimpleNamespace

import pytest

from xtcav_ml.tracking import usage_series
from xtcav_ml.tracking.usage_series import Series


class Run:
    def __init__(self, logged=()):
        self.logged, self.entries = set(logged), []

    def metrics(self, values, step):
        self.entries.append((step, values))


def sample(second, **values):
    return {"time_s": second, "cpu_time_s": second / 2, "memory_mb": 100 + second, "threads": 4, **values}


@pytest.fixture(autouse=True)
def _two_processors(monkeypatch):
    monkeypatch.setattr(usage_series.os, "cpu_count", lambda: 2)


def logged(samples, run=None, steps=1):
    """What a run gets while each of the samples is taken, before `steps` minibatches."""
    run, sampler = run or Run(), SimpleNamespace(samples=[])
    series = Series(sampler, run)
    for one in samples:
        sampler.samples.append(one)
        for _ in range(steps):
            series.on_step(1, 2)
    return run.entries


@pytest.mark.parametrize("steps", [1, 9])
def test_an_entry_each_five_seconds_however_many_minibatches_there_are(steps):
    entries = logged([sample(second) for second in range(12)], steps=steps)
    assert entries == [
        (0, {"system/cpu_utilization_percentage": 25.0, "system/system_memory_usage_megabytes": 102.5}),
        (1, {"system/cpu_utilization_percentage": 25.0, "system/system_memory_usage_megabytes": 107.5}),
    ]


def test_each_gpu_has_its_series_by_mlflow_s_names():
    busy = {"gpu0_memory_mb": 10.0, "gpu0_utilization_percent": 50.0, "gpu11_memory_mb": 30.0}
    ((_, values),) = logged([sample(0), sample(5, **busy)])
    assert {name: value for name, value in values.items() if "gpu" in name} == {
        "system/gpu_0_memory_usage_megabytes": 10.0,
        "system/gpu_0_utilization_percentage": 50.0,
        "system/gpu_11_memory_usage_megabytes": 30.0,
    }


def test_a_resumed_training_goes_on_behind_the_entries_of_the_killed_one():
    before = Run(logged={(usage_series.CPU, 0), (usage_series.CPU, 1), ("val_accuracy", 7)})
    assert [step for step, _ in logged([sample(0), sample(6)], before)] == [2]


def test_a_short_training_has_none():
    assert logged([sample(0), sample(4)]) == []
