"""Seconds and memory of a training step: the 15 configurations of the 2016 notes at full size, beside what they printed.

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

# minibatch, channels and kernel of both convolutions, hidden units; seconds a step and MB that the notes printed
NOTES = [
    (1, 1, 2, 1, 2, 10, 0.1, 109.39),
    (1, 1, 2, 1, 2, 10, 0.1, 118.70),
    (10, 1, 2, 1, 2, 10, 0.6, 355.58),
    (10, 1, 2, 1, 2, 10, 0.6, 325.29),
    (10, 1, 2, 1, 2, 10, 0.6, 353.30),
    (10, 2, 2, 1, 2, 10, 0.7, 545.66),
    (10, 1, 2, 2, 2, 10, 0.7, 332.88),
    (10, 2, 2, 2, 2, 10, 0.7, 446.98),
    (10, 2, 4, 2, 2, 10, 1.1, 828.64),
    (10, 2, 2, 2, 4, 10, 0.7, 445.77),
    (10, 2, 4, 2, 4, 10, 1.1, 974.42),
    (10, 2, 4, 2, 4, 100, 1.1, 863.39),
    (128, 2, 4, 2, 4, 100, 13.1, 18535.74),
    (128, 8, 8, 8, 6, 100, 13.1, 18535.74),
    (32, 8, 8, 8, 6, 10, 12.4, 15071.65),
]
SHAPE = (726, 568)
STEPS = 4


def measure(number: int, threads: int, stock: bool) -> None:
    """Print parameters, seconds a step, measured and estimated megabytes of configuration `number`."""
    import numpy as np

    from xtcav_ml import backend, first_layer, geometry, models, objective, optimizers
    from xtcav_ml.params.train import Block, Model, Optimizer

    batch, channels1, kernel1, channels2, kernel2, hidden, *_ = NOTES[number]
    pooled = {"stride": 1, "pool": "max", "pool_window": 13, "pool_stride": 10}
    network = Model(
        name="convnet",
        standardize="all",
        blocks=(
            Block(channels=channels1, kernel=kernel1, **pooled),
            Block(channels=channels2, kernel=kernel2, **pooled),
        ),
        hidden=(hidden,),
        initial_sd=0.03,
        l1=0.0,
        l2=0.0,
    )
    backend.configure(1, threads)
    ends = geometry.Ends(SHAPE, "int16", 0, 4, 0)
    one, none = (
        models.Scale(np.float32(0).reshape(()), np.float32(1).reshape(())),
        models.Scale(*np.empty((2, 0), "f4")),
    )
    frames = np.random.default_rng(0).integers(0, 9000, (batch, *SHAPE, 1)).astype(np.int16)
    labels = np.arange(batch) % 4
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fast = first_layer.suits(network.blocks[0], "float32") and not stock
    layer = first_layer.ConvMaxPool if fast else None
    model = models.convnet(network, ends, models.Scales(one, none, none), seed=1, first_layer=layer)
    rules = Optimizer(learning_rate=0.01, momentum=0.85, decay_rate=0.96, decay_steps=100)
    model.compile(optimizer=optimizers.of(rules, 100), **objective.compiled(ends, none.sd, 1.0))
    times = []
    for _ in range(STEPS):
        started = time.perf_counter()
        model.train_on_batch({"frame": frames}, {"output": labels})
        times.append(time.perf_counter() - started)
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    layers = geometry.layers(network, ends)
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
    for number, (batch, c1, k1, c2, k2, hidden, seconds, megabytes) in enumerate(NOTES):
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
