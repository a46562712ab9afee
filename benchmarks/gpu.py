"""A training step on whatever GPU is there, with JAX: step time, images a second, memory, share of the bandwidth floor.

Two parts, so that the machine with the GPU needs nothing but keras, jax, h5py and numpy:

    .venv/bin/python benchmarks/gpu.py --write benchmarks/networks     # where the project is installed
    python benchmarks/gpu.py benchmarks/networks [--batch 32 128]      # where the GPU is; on a CPU it works, too

The first writes untrained networks as plain .keras files: that of params.yaml ("notes") and those of experiments/ whose name
begins with "modern", on prepared and on full-size frames. The second times for each

- `resident`: a compiled step on frames that are on the device already, as a training does when they fit;
- `read`: the same step on minibatches read at random from an HDF5 file and sent over, the next one while one trains.

The floor is what must go through the device's memory at least: frames in, and every map, forward and backward, written once
and read once, over the bandwidth that a plain copy reaches on the same device. Medians of --repeats steps.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
FULL_SIZE = (726, 568)
SHOTS = 512
"""In the file that is read from."""


def write(folder: Path) -> None:
    """Write the networks, with the project's own code."""
    from xtcav_ml.config import params_file
    from xtcav_ml.learning import layer_plan, networks
    from xtcav_ml.learning.layer_plan import Ends
    from xtcav_ml.learning.normalization import Statistics, TrainingStatistics
    from xtcav_ml.notes2016 import experiments
    from xtcav_ml.science.spec import LearningSpec

    os.chdir(ROOT)
    params = params_file.load_params()
    chosen = {"notes": params.train.model}
    for path in sorted((ROOT / "experiments").glob("modern*.yaml")):
        chosen[path.stem] = experiments.train_params(path.stem).model
    spec = LearningSpec.of(params.prepare, params.data.frame_shape, dark=None)
    prepared = Ends.of(spec)
    folder.mkdir(parents=True, exist_ok=True)
    none = Statistics(*np.empty((2, 0), np.float32))
    statistics = TrainingStatistics(Statistics(np.float32(5), np.float32(2)), none, none)
    for name, model in chosen.items():
        for size in (prepared.frame_shape, FULL_SIZE):
            ends = Ends(size, "int16", 0, prepared.classes, 0)
            network = networks.build(layer_plan.plan_layers(model, ends), model, statistics, seed=params.train.seed)
            network.save(folder / f"{name}-{size[0]}x{size[1]}.keras")
    print(f"{2 * len(chosen)} networks -> {folder}")


def bandwidth() -> float:
    """Return the bytes a second that a plain copy reads and writes on the device."""
    import jax
    import jax.numpy as jnp

    values = jnp.zeros(2**28, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    copy(values).block_until_ready()
    times = []
    for _ in range(7):
        started = time.perf_counter()
        copy(values).block_until_ready()
        times.append(time.perf_counter() - started)
    return 2 * values.nbytes / float(np.median(times))


def compiled(model):
    """Return a jitted training step with SGD and momentum, and its state."""
    import jax
    import keras

    optimizer = keras.optimizers.SGD(0.01, momentum=0.85)
    optimizer.build(model.trainable_variables)
    loss = keras.losses.SparseCategoricalCrossentropy()

    def cost(weights, others, frames, labels):
        found, others = model.stateless_call(weights, others, {"frame": frames}, training=True)
        return loss(labels, found["output"]), others

    @jax.jit
    def step(state, frames, labels):
        weights, others, slots = state
        (value, others), slopes = jax.value_and_grad(cost, has_aux=True)(weights, others, frames, labels)
        weights, slots = optimizer.stateless_apply(slots, slopes, weights)
        return (weights, others, slots), value

    variables = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    return step, tuple([variable.value for variable in group] for group in variables)


def floor_bytes(model, batch: int) -> int:
    """Return what a step must move at least."""
    maps = sum(int(np.prod(layer.output.shape[1:])) for layer in model.layers if layer.weights or "pool" in layer.name)
    pixels = int(np.prod(model.input["frame"].shape[1:]))
    return batch * (2 * pixels + 4 * 4 * maps)


def memory() -> float:
    """Return the most megabytes in use on the device so far, or of the process where the device is a CPU."""
    import jax

    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use", 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1e6


def timed(step, state, minibatches) -> float:
    """Return the median seconds of a step over `minibatches`, the first two left out."""
    import jax

    times, last = [], time.perf_counter()
    for frames, labels in minibatches:
        state, value = step(state, frames, labels)
        jax.block_until_ready(value)
        times.append(time.perf_counter() - last)
        last = time.perf_counter()
    return float(np.median(times[2:]))


def measure(path: Path, batch: int, repeats: int, copy_rate: float, folder: Path) -> None:
    """Print one line."""
    import h5py
    import jax
    import keras

    model = keras.saving.load_model(path)
    shape = model.input["frame"].shape[1:]
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, SHOTS)
    step, state = compiled(model)
    frames = jax.device_put(rng.integers(0, 16000, (batch, *shape), dtype=np.int16))
    resident = timed(step, state, [(frames, labels[:batch])] * (repeats + 2))
    with h5py.File(folder / "frames.h5", "w") as file:
        file.create_dataset("image", (SHOTS, *shape), np.int16)
        for first in range(0, SHOTS, 32):
            file["image"][first : first + 32] = rng.integers(0, 16000, (32, *shape), dtype=np.int16)
    with h5py.File(folder / "frames.h5") as file, ThreadPoolExecutor(1) as reader:

        def fetch():
            rows = np.sort(rng.choice(SHOTS, batch, replace=False))
            return jax.device_put(file["image"][rows]), labels[rows]

        def ahead():
            coming = reader.submit(fetch)
            for _ in range(repeats + 2):
                ready = coming.result()
                coming = reader.submit(fetch)
                yield ready

        read = timed(step, state, ahead())
    floor = floor_bytes(model, batch) / copy_rate
    print(
        f"{path.stem:<28} {batch:>5}  {model.count_params():>10,}  {1e3 * resident:>12.2f} {batch / resident:>10,.0f}  "
        f"{1e3 * read:>8.2f} {batch / read:>10,.0f}  {memory():>9,.0f}  {1e3 * floor:>8.2f}  {floor / resident:>6.1%}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="networks that --write wrote")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write the networks and end")
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 128], help="shots in a minibatch")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.write is not None:
        write(arguments.write.resolve())
        return
    if arguments.folder is None or not list(arguments.folder.glob("*.keras")):
        parser.error(f"FOLDER: must hold .keras files, got {arguments.folder}; write them with --write FOLDER")
    os.environ["KERAS_BACKEND"] = "jax"
    import jax
    import keras

    rate = bandwidth()
    print(
        f"{jax.devices()[0].device_kind}, jax {jax.__version__}, keras {keras.__version__}, Python "
        f"{sys.version.split()[0]}; a copy moves {rate / 1e9:,.0f} GB/s"
    )
    print(
        f"{'network':<28} batch  parameters  resident, ms   images/s  read, ms   images/s  peak, MB  floor, ms  share"
    )
    with tempfile.TemporaryDirectory() as name:
        for path in sorted(arguments.folder.glob("*.keras")):
            for batch in arguments.batch:
                measure(path, batch, arguments.repeats, rate, Path(name))


if __name__ == "__main__":
    main()
