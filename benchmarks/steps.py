"""Seconds and memory of a training step with the project's first layer and with Keras' own: the 15 configurations of the notes.

Each runs through `fit` at full size, in a process of its own and in turns (`xtcav experiment memory` does the same with the
first of them); the estimate is that of `xtcav describe`. The data are those of the experiment: make notes NAME=peaks-1000, or

    .venv/bin/dvc --cd experiments repro shots@peaks-1000
    .venv/bin/python benchmarks/steps.py [--only N] [--threads 2] [--steps 7]
"""

import argparse
import os
from pathlib import Path

from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import layer_plan
from xtcav_ml.notes2016 import configurations, experiments

ROOT = Path(__file__).parents[1]


def stock_steps(*arguments):
    """What a child does for the numbers of Keras' own layers."""
    from xtcav_ml.learning import backend

    backend.runs_fused_layers = lambda: False
    return configurations.few_steps(*arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, nargs="+", help="these configurations, counted from 1")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=7)
    arguments = parser.parse_args()
    os.chdir(ROOT)
    data = experiments.data_files("memory")[0]
    with PreparedFile(data) as train:
        ends = layer_plan.Ends.of(train.spec)
    print("                             | this first layer                  | Keras' own")
    print("  n  batch  parameters       |  s a step    MB  estimate  ratio  |  s a step     MB  estimate  ratio")
    for number, params in enumerate(experiments.configuration_params("memory"), start=1):
        if arguments.only and number not in arguments.only:
            continue
        params = params.model_copy(update={"threads": arguments.threads})
        layers = layer_plan.plan_layers(params.model, ends)
        line = f"{number:>3}  {params.batch_size:>5}  {layer_plan.parameter_count(layers):>10,}       |"
        for train, trained in (
            (configurations.few_steps, layer_plan.fused(layers, params.precision)),
            (stock_steps, layers),
        ):
            step = configurations.measure(params, arguments.steps, data.parent, train)
            estimate = layer_plan.step_memory(trained, params.batch_size) / 1e6
            line += (
                f"  {step.seconds:>8.3f} {step.step_mb:>6,.0f}  {estimate:>8,.0f}  {estimate / step.step_mb:>5.2f}  |"
            )
        print(line, flush=True)


if __name__ == "__main__":
    main()
