"""experiment memory: seconds and memory of a step of many configurations, each in a process of its own, by `fit` itself."""

import contextlib
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from xtcav_ml.config.train import TrainParams
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import layer_plan
from xtcav_ml.notes2016 import experiments
from xtcav_ml.system import atomic
from xtcav_ml.system.child_process import ChildProcess
from xtcav_ml.system.errors import UserError
from xtcav_ml.system.progress import console


@dataclass(frozen=True)
class Step:
    """What one step of a configuration takes."""

    seconds: float  # median, without the first step
    process_mb: float  # largest resident size of the whole process
    step_mb: float  # that less what it had before the network was built, and less the pages of files that were read


def measure_all(name: str) -> None:
    """Measure each configuration of experiment `name`, and write what is known without running, and what was measured.

    Raises UserError if the data were not made, the experiment has no configurations or a process fails.
    """
    own, chosen = experiments.load_experiment(name).configurations, experiments.configuration_params(name)
    if own is None:
        raise UserError(f"{name}: must have configurations, got none; `xtcav experiment` lists what there is")
    data = experiments.data_files(name)
    with PreparedFile(data[0]) as train:
        ends = layer_plan.Ends.of(train.meaning)
    known: list[dict[str, int]] = []
    found: list[dict[str, float]] = []
    for number, params in enumerate(chosen, start=1):
        layers = layer_plan.plan(params.model, ends)
        estimate = layer_plan.step_memory(layer_plan.fused(layers, params.precision), params.batch_size) / 1e6
        known.append({"parameters": layer_plan.parameter_count(layers), "estimated_step_mb": round(estimate)})
        step = measured(params, own.steps, data[0].parent)
        console().print(
            f"  {number:>2} of {len(chosen)}: minibatch {params.batch_size:>3}, {known[-1]['parameters']:>6,} parameters, "
            f"{step.seconds:.3f} s a step, {step.step_mb:,.0f} MB (estimate {estimate:,.0f}), process {step.process_mb:,.0f} MB"
        )
        found.append({key: round(value, 4) for key, value in asdict(step).items()})
    result, cores = {"configurations": known}, len(os.sched_getaffinity(0))
    atomic.write_json(experiments.result_file(name), result)
    atomic.write_json(experiments.usage_file(name), {"configurations": found, "cores": cores, "result": result})


def measured(params: TrainParams, steps: int, data: Path, train: Callable[..., Any] | None = None) -> Step:
    """Return what a step takes in a process of its own that calls `train`, the function below by default.

    `data` is a folder with train.h5 and validation.h5. Raises UserError if the process fails.
    """
    arguments, cure = (params, steps, data), "free memory, or lower the minibatch"
    process = ChildProcess(train or few_steps, *arguments, subject="experiment", cure=cure)
    for _ in process:
        pass
    return Step(*process.result)


def few_steps(send: Callable[[Any], bool], params: TrainParams, steps: int, data: Path) -> tuple[float, float, float]:
    """What the child does: returns the numbers of a Step, and sends nothing before."""
    from xtcav_ml.learning import backend, fit

    ends: list[float] = []

    class Few:
        def on_step(self, step: int, steps_: int) -> None:
            ends.append(time.perf_counter())
            if step == steps:
                raise fit.StopTraining

        def on_resume(self, epochs: int, remarks: Sequence[str]) -> None:
            pass

        def on_epoch(self, epoch: int, values: dict[str, float], seconds: Mapping[str, float]) -> None:
            pass

    backend.configure(params.seed, params.threads)
    before = _peak_mb() - _pages_of_files_mb()
    with PreparedFile(data / "train.h5") as train, PreparedFile(data / "validation.h5") as validation:
        with contextlib.suppress(fit.StopTraining):
            fit.fit(train, validation, params, [Few()])
        step = _peak_mb() - _pages_of_files_mb() - before
    return median(later - earlier for earlier, later in pairwise(ends)), _peak_mb(), step


def _peak_mb() -> float:
    """Return the largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _pages_of_files_mb() -> float:
    """Return what is resident of mapped files: the system's cache, which it takes back when it needs to."""
    return int(Path("/proc/self/statm").read_text().split()[2]) * resource.getpagesize() / 1e6
