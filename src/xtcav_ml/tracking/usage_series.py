"""What a training uses, as series in its run: CPU, memory and GPU under the names of MLflow's page of system metrics."""

import os
import re
from collections.abc import Mapping, Sequence
from statistics import fmean

from xtcav_ml.tracking.mlflow_names import SYSTEM
from xtcav_ml.tracking.resources import Sampler
from xtcav_ml.tracking.tracker import Run

SERIES_SECONDS = 5.0  # between two entries
CPU = f"{SYSTEM}cpu_utilization_percentage"  # of all processors of the machine
WHATS = {"memory_mb": "memory_usage_megabytes", "utilization_percent": "utilization_percentage"}
"""Ends of the names of a sample's values, and those in MLflow."""


class Series:
    """A listener of `fit` that logs to a run what the process used meanwhile, every SERIES_SECONDS.

    The names are those of MLflow's page of system metrics, and the numbers those of `Sampler`: of CPU and memory those of this
    process tree, of a GPU those of all that runs on it.
    """

    def __init__(self, sampler: Sampler, run: Run) -> None:
        self._sampler, self._run, self._first = sampler, run, 0
        steps = [step for name, step in run.logged if name == CPU]  # of a process that was killed
        self._step = max(steps, default=-1) + 1

    def on_step(self, step: int, steps: int) -> None:
        """Log the means since the last time, if that is long ago."""
        samples = self._sampler.samples[self._first :]
        if samples[-1]["time_s"] - samples[0]["time_s"] >= SERIES_SECONDS:
            self._run.metrics(_means(samples), step=self._step)
            self._first, self._step = self._first + len(samples) - 1, self._step + 1

    def on_resume(self, epochs: int, remarks: Sequence[str]) -> None:
        """What an earlier process used is logged."""

    def on_epoch(self, epoch: int, values: dict[str, float], seconds: Mapping[str, float]) -> None:
        """Epochs may be longer or shorter than the time between two entries."""


def _means(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean use of CPU, memory and GPUs from the first to the last of two or more samples, by MLflow's names."""
    first, last = samples[0], samples[-1]
    shares = (last["cpu_time_s"] - first["cpu_time_s"]) / (last["time_s"] - first["time_s"]) / (os.cpu_count() or 1)
    means = {CPU: 100 * shares}
    for name in last:
        if found := re.fullmatch(rf"(gpu(?P<gpu>[0-9]+)_)?(?P<what>{'|'.join(WHATS)})", name):
            device = "system" if found["gpu"] is None else f"gpu_{found['gpu']}"
            means[f"{SYSTEM}{device}_{WHATS[found['what']]}"] = fmean(
                sample[name] for sample in samples if name in sample
            )
    return {name: round(value, 1) for name, value in means.items()}
