"""experiment memory: seconds and memory of a step of many configurations, each in a process of its own, by `fit` itself."""

import contextlib
import os
import resource
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
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
class StepUsage:
    """Time and memory of one step of a configuration."""

    seconds: float  # median, without the first step
    process_mb: float  # largest resident size of the whole process
    step_mb: float  # the same minus that before the network was built, and minus the pages of files that were read


def measure_all(name: str) -> None:
    """Measure each configuration of experiment `name`, and write its sizes, known without running, and the measured usage.

    Raises UserError if the data are missing, the experiment has no configurations or a process fails.
    """
    own, trainings = experiments.load_experiment(name).configurations, experiments.configuration_params(name)
    if own is None:
        raise UserError(f"{name}: configurations are missing (expected parameters, steps, rows). Fix: choose another")
    data = experiments.data_files(name)[0]
    with PreparedFile(data) as train:
        ends = layer_plan.Ends.of(train.spec)
    sizes: list[dict[str, int]] = []
    usages: list[dict[str, float]] = []
    for number, params in enumerate(trainings, start=1):
        layers = layer_plan.plan_layers(params.model, ends)
        estimate = layer_plan.step_memory(layer_plan.fused(layers, params.precision), params.batch_size) / 1e6
        sizes.append({"parameters": layer_plan.parameter_count(layers), "estimated_step_mb": round(estimate)})
        step = measure(params, own.steps, data.parent)
        console().print(
            f"  {number:>2} of {len(trainings)}: minibatch {params.batch_size:>3}, {sizes[-1]['parameters']:>6,} parameters, "
            f"{step.seconds:.3f} s a step, {step.step_mb:,.0f} MB (estimate {estimate:,.0f}), process {step.process_mb:,.0f} MB"
        )
        usages.append({key: round(value, 4) for key, value in asdict(step).items()})
    result, cores = {"configurations": sizes}, len(os.sched_getaffinity(0))
    atomic.write_json(experiments.result_file(name), result)
    atomic.write_json(experiments.usage_file(name), {"configurations": usages, "cores": cores, "result": result})


def measure(params: TrainParams, steps: int, data: Path, train: Callable[..., Any] | None = None) -> StepUsage:
    """Return the usage of a step in a process of its own that calls `train`, by default the function below.

    `data` is a folder with train.h5 and validation.h5. Raises UserError if the process fails.
    """
    arguments, cure = (params, steps, data), "free memory, or lower the minibatch"
    process = ChildProcess(train or few_steps, *arguments, subject="experiment", cure=cure)
    for _ in process:
        pass
    return StepUsage(*process.result)


def few_steps(send: Callable[[Any], bool], params: TrainParams, steps: int, data: Path) -> tuple[float | None, ...]:
    """Train for `steps` steps in the child; returns the numbers of a StepUsage."""
    from xtcav_ml.learning import backend, fit
    from xtcav_ml.notes2016.training import Steps

    timed = Steps(most=steps)
    backend.configure(params.seed, params.threads)
    before = _peak_mb() - _pages_of_files_mb()
    with PreparedFile(data / "train.h5") as train, PreparedFile(data / "validation.h5") as validation:
        with contextlib.suppress(fit.StopTraining):
            fit.fit(train, validation, params, [timed])
        step = _peak_mb() - _pages_of_files_mb() - before
    return timed.seconds, _peak_mb(), step


def _peak_mb() -> float:
    """Return the largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _pages_of_files_mb() -> float:
    """Return the resident size of mapped files: the system's cache, which it frees on demand."""
    return int(Path("/proc/self/statm").read_text().split()[2]) * resource.getpagesize() / 1e6
