"""Seconds and memory of a training step: the 15 configurations of the 2016 notes (experiments/memory.yaml) at full size.

Each runs in a process of its own: 4 steps on random frames of 726 x 568, the last 3 timed. Memory is the largest resident
size of the process less that before the network is built, beside the estimate of `xtcav describe`.

    .venv/bin/python benchmarks/steps.py [--only N] [--threads 2] [--stock]
"""

import argparse
import os
import resource
import subprocess
import sys
import time

from xtcav_ml.params import experiment

SHAPE = (726, 568)
STEPS = 4


def measure(number: int, threads: int, stock: bool) -> None:
    """Print parameters, seconds a step, measured and estimated megabytes of configuration `number`."""
    import numpy as np

    from xtcav_ml import backend, first_layer, geometry, models, objective, optimizers

    params = experiment.configured("memory")[number]
    batch = params.batch_size
    backend.configure(1, threads)
    ends = geometry.Ends(SHAPE, "int16", 0, 4, 0)
    one, none = (
        models.Scale(np.float32(0).reshape(()), np.float32(1).reshape(())),
        models.Scale(*np.empty((2, 0), "f4")),
    )
    frames = np.random.default_rng(0).integers(0, 9000, (batch, *SHAPE, 1)).astype(np.int16)
    labels = np.arange(batch) % 4
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fast = first_layer.suits(params.model.blocks[0], "float32") and not stock
    layer = first_layer.ConvMaxPool if fast else None
    model = models.convnet(params.model, ends, models.Scales(one, none, none), seed=1, first_layer=layer)
    model.compile(optimizer=optimizers.of(params.optimizer, 100), **objective.compiled(ends, none.sd, 1.0))
    times = []
    for _ in range(STEPS):
        started = time.perf_counter()
        model.train_on_batch({"frame": frames}, {"output": labels})
        times.append(time.perf_counter() - started)
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    layers = geometry.layers(params.model, ends)
    estimate = geometry.step_memory(layers, batch, ends, fused=fast) / 2**20
    print(geometry.parameter_count(layers), sorted(times[1:])[len(times) // 2 - 1], used, estimate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, help="one configuration, counted from 1")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--stock", action="store_true", help="Keras' own first layer")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        measure(arguments.measure, arguments.threads, arguments.stock)
        return
    print(
        "  n  batch  channels  kernels  hidden  parameters | step, s: notes  here | MB: notes   here  estimate  ratio"
    )
    rows = experiment.load("memory").configurations.rows
    for number, (batch, c1, k1, c2, k2, hidden, seconds, megabytes) in enumerate(rows):
        if arguments.only not in (None, number + 1):
            continue
        command = [sys.executable, __file__, "--measure", str(number), "--threads", str(arguments.threads)]
        command += ["--stock"] if arguments.stock else []
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        parameters, step, used, estimate = map(float, done.stdout.split()[-4:])
        print(
            f"{number + 1:>3}  {batch:>5}  {c1:>4}, {c2:<2}  {k1:>3}, {k2:<2}  {hidden:>6}  {parameters:>10,.0f} | "
            f"{seconds:>14.1f} {step:>5.3f} | {megabytes:>9,.0f} {used:>6,.0f}  {estimate:>8,.0f}  {estimate / used:>5.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
