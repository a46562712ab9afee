"""A training step and an inference of the notes' 4-layer network and of the modern one, by four libraries.

All train the same network, from the same weights, on the same arrays in memory: ours as `fit` builds it, plain Keras on
TensorFlow and on JAX as one would write it, and native PyTorch. That they compute the same is checked before they are timed.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contenders, machine, raw, tables
from benchmarks.tables import Row
from xtcav_ml.config.train import Model
from xtcav_ml.learning import layer_plan
from xtcav_ml.learning.layer_plan import CONV_MAX_POOL, FRAME_INPUT, Ends, LayerSpec
from xtcav_ml.notes2016 import experiments

ROOT = Path(__file__).parents[1]
NETWORKS = {"notes' 4 layers": "peaks-1000", "modern": "modern"}  # in experiments/
CLASSES, RATE, MOMENTUM = 4, 0.001, 0.85
MORE = 2  # times as many steps of smaller frames in a turn
EPOCHS = 2  # of a turn: `fit` costs some 100 ms to start, which a training pays once
MEAN, SD = 150, 200  # by which pixels are standardized
GROWTH = {1: (257, 201), 2: (363, 284), 4: (513, 402), 8: (726, 568)}  # shapes of about so many times the pixels
QUICK = {1: (96, 80), 4: (192, 160)}

Made = tuple[Callable[[], object], Any]


@dataclass(frozen=True)
class Work:
    """A network on the frames (rows, columns) of a prepared file; `steps` minibatches of `batch` shots make a turn."""

    network: str
    data: Path
    shape: tuple[int, int]
    batch: int
    steps: int
    threads: int

    @property
    def model(self) -> Model:
        """Return the parameters of the network, without what makes two trainings differ."""
        model = experiments.train_params(NETWORKS[self.network]).model
        return model.model_copy(update={"blocks": tuple(b.model_copy(update={"dropout": 0.0}) for b in model.blocks)})

    @property
    def layers(self) -> list[LayerSpec]:
        """Return the plan of stock layers."""
        return layer_plan.plan_layers(self.model, Ends(self.shape, "int16", 0, CLASSES, 0))

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return frames (N, rows, columns, 1) as stored, and labels (N,)."""
        from xtcav_ml.data.prepared import PreparedFile

        shots = np.arange(self.batch * self.steps)
        with PreparedFile(self.data) as file:
            return file.stored(shots)[..., np.newaxis], file.column("label")[shots].astype(np.int32)

    def turn(self, trained: bool) -> int:
        """Return the minibatches of a turn."""
        return EPOCHS * self.steps if trained else self.steps

    def limit(self, trained: bool, rate: float) -> float:
        """Return the seconds of a minibatch at `rate` operations a second, each sum of products computed directly.

        A convolution that is pooled at once has a gradient at its maxima alone, which costs next to nothing; of the others and
        of dense layers, the gradients by weights and by input cost as much as the layer each.
        """
        layers = layer_plan.fused(self.layers, "float32")
        products = [layer for layer in layers if layer.parameters]
        cost = sum(x.operations * (3 if trained and x.kind != CONV_MAX_POOL else 1) for x in products)
        return self.batch * cost / rate


def write_network(folder: Path, work: Work) -> Path:
    """Write the network with its first weights for the others: as a Keras file, and its arrays for PyTorch."""
    from xtcav_ml.learning import networks

    network = networks.build(work.layers, work.model, _statistics(), seed=1)
    path = folder / f"{NETWORKS[work.network]}-{work.shape[0]}-{work.batch}.keras"
    network.save(path)
    arrays = {
        f"{x.name}/{w.name}": np.asarray(w) for x in network.layers for w in x.weights if w.name in ("kernel", "bias")
    }
    np.savez(path.with_suffix(".npz"), **arrays)
    return path


def _statistics() -> Any:
    from xtcav_ml.learning.normalization import Statistics, TrainingStatistics

    none = Statistics(*np.empty((2, 0), np.float32))
    return TrainingStatistics(Statistics(np.float32(MEAN), np.float32(SD)), none, none)


def ours(path: Path, work: Work, trained: bool) -> Made:
    """Return steps of the network as `fit` builds it: deterministic, the first convolution and its pooling as one layer."""
    from xtcav_ml.learning import backend

    backend.configure(1, work.threads)
    stock = backend.keras.saving.load_model(path, compile=False)
    if not trained:
        return _keras(stock, work, trained)
    from xtcav_ml.data.prepared import PreparedFile
    from xtcav_ml.learning import networks
    from xtcav_ml.learning.batches import Batches

    fused = networks.build(layer_plan.fused(work.layers, "float32"), work.model, _statistics(), seed=1)
    fused.set_weights(stock.get_weights())
    batches = Batches(PreparedFile(work.data), work.batch)
    answers = fused.predict_on_batch(batches[0][0])["output"]
    _compile(fused)
    fed = backend.feed(batches).take(work.steps)
    return lambda: fused.fit(fed, epochs=EPOCHS, verbose=0, shuffle=False), answers


def plain_keras(path: Path, work: Work, trained: bool, backend: str) -> Made:
    """Return steps of the stock layers, with the switches of Keras and of its backend as they come."""
    os.environ["KERAS_BACKEND"] = backend
    import keras

    return _keras(keras.saving.load_model(path, compile=False), work, trained)


def with_onednn(path: Path, work: Work, trained: bool) -> Made:
    """Return steps of plain Keras on TensorFlow with oneDNN, which TensorFlow switches on itself on some processors."""
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    return plain_keras(path, work, trained, "tensorflow")


def _keras(model: Any, work: Work, trained: bool) -> Made:
    images, labels = work.arrays()
    answers = model.predict_on_batch({FRAME_INPUT: images[: work.batch]})["output"]
    if not trained:
        minibatches = [{FRAME_INPUT: images[i * work.batch : (i + 1) * work.batch]} for i in range(work.steps)]
        return lambda: [model.predict_on_batch(minibatch) for minibatch in minibatches], answers
    _compile(model)
    options = {"batch_size": work.batch, "epochs": EPOCHS, "verbose": 0, "shuffle": False}
    return lambda: model.fit({FRAME_INPUT: images}, {"output": labels}, **options), answers


def _compile(model: Any) -> None:
    import keras

    optimizer = keras.optimizers.SGD(RATE, momentum=MOMENTUM)
    model.compile(optimizer=optimizer, loss={"output": "sparse_categorical_crossentropy"})


def pytorch(path: Path, work: Work, trained: bool) -> Made:
    """Return steps of the same network in native PyTorch."""
    import torch

    torch.set_num_threads(work.threads)
    weights = np.load(path.with_suffix(".npz"))
    network = torch.nn.Sequential(*(part for spec in work.layers for part in _torch_layers(spec, work.layers, weights)))
    images, labels = work.arrays()
    pixels = torch.from_numpy(images[..., 0][:, None])
    truth = torch.from_numpy(labels.astype(np.int64))
    batches = [(pixels[i : i + work.batch], truth[i : i + work.batch]) for i in range(0, len(pixels), work.batch)]
    with torch.no_grad():
        answers = torch.softmax(network(batches[0][0]), 1).numpy()
    optimizer = torch.optim.SGD(network.parameters(), RATE, momentum=MOMENTUM)

    def train() -> None:
        for frames, right in EPOCHS * batches:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(frames), right).backward()
            optimizer.step()

    def predict() -> None:
        with torch.no_grad():
            for frames, _ in batches:
                network(frames).numpy()

    return train if trained else predict, answers


def _torch_layers(spec: LayerSpec, layers: Sequence[LayerSpec], weights: Any) -> list[Any]:
    """Return PyTorch's modules for a layer of the plan: channels first, `same` padding as TensorFlow's."""
    import torch
    from torch import nn

    class Apply(nn.Module):
        """A function as a module."""

        def __init__(self, function: Callable[[Any], Any]) -> None:
            super().__init__()
            self.function = function

        def forward(self, values: Any) -> Any:
            return self.function(values)

    before = {layer.name: layer.shape for layer in layers}[spec.inputs[0]] if spec.inputs else ()
    options = spec.options
    if spec.kind == "Normalization":
        return [Apply(lambda frames: (frames.to(torch.float32) - MEAN) / SD)]
    if spec.kind == "Activation":
        return [nn.ReLU()]
    if spec.kind == "Flatten":
        return [Apply(lambda maps: maps.permute(0, 2, 3, 1)), nn.Flatten()]
    if spec.kind == "Dense":
        module = nn.Linear(before[0], spec.shape[0])
        kernel = weights[f"{spec.name}/kernel"].T
    elif spec.kind == "Conv2D":
        module = nn.Conv2d(before[2], spec.shape[2], options["kernel_size"], options["strides"])
        kernel = weights[f"{spec.name}/kernel"].transpose(3, 2, 0, 1)
    elif spec.kind == "MaxPooling2D":
        size, stride = options["pool_size"], options["strides"]
        return [_padding(before, size, stride, float("-inf")), nn.MaxPool2d(size, stride)]
    elif spec.kind == "InputLayer":
        return []
    else:
        raise ValueError(f"no PyTorch layer for {spec.kind}")
    module.weight.data = torch.from_numpy(np.ascontiguousarray(kernel))
    module.bias.data = torch.from_numpy(weights[f"{spec.name}/bias"])
    return (
        [module]
        if spec.kind == "Dense"
        else [_padding(before, options["kernel_size"], options["strides"], 0.0), module]
    )


def _padding(shape: tuple[int, ...], size: int, stride: int, value: float) -> Any:
    from torch import nn

    sides = []
    for length in (shape[1], shape[0]):  # columns first
        whole = max((-(-length // stride) - 1) * stride + size - length, 0)
        sides += [whole // 2, whole - whole // 2]
    return nn.ConstantPad2d(sides, value)


def compared(work: Work, trained: bool, turns: int, folder: Path) -> list[Row]:
    """Return a row for each library; print a line for each that is not installed."""
    path = write_in_child(folder, work)
    makers: dict[str, tuple[Any, ...]] = {
        "this project": (ours, path, work, trained),
        "Keras on TensorFlow": (plain_keras, path, work, trained, "tensorflow"),
        "Keras on TensorFlow, oneDNN": (with_onednn, path, work, trained),
        "Keras on JAX": (plain_keras, path, work, trained, "jax"),
        "PyTorch": (pytorch, path, work, trained),
    }
    running = contenders.started(makers | machine.LIMITS)
    contenders.require_same(running)
    times = contenders.in_turns(running, turns)
    peaks = {name: one.end() for name, one in running.items()}
    rate = machine.rates(times)["matrix product"]
    own = {name: each for name, each in times.items() if name in makers}
    kind = "training step" if trained else "inference"
    title = f"{kind}, {work.network}, {work.shape[0]} x {work.shape[1]}, minibatch of {work.batch}"
    limit = (f"products at {rate / 1e9:,.0f} GFLOP/s", work.limit(trained, rate))
    return tables.rows(title, own, work.turn(trained), peaks, limit)


def _write(folder: Path, work: Work) -> Made:
    return lambda: None, str(write_network(folder, work))


def write_in_child(folder: Path, work: Work) -> Path:
    """Write the network in a process of its own: this one stays without Keras."""
    child = contenders.Contender(_write, folder, work)
    child.end()
    return Path(child.answers)


def grown(works: dict[int, Work], what: str, turns: int, folder: Path) -> list[Row]:
    """Return a row a size, timed in turns: the first has 1 times the work."""
    makers = {f"{n} x {what}": (ours, write_in_child(folder, one), one, True) for n, one in works.items()}
    running = contenders.started(makers)
    times = contenders.in_turns(running, turns)
    peaks = {name: one.end() for name, one in running.items()}
    largest = max(works.values(), key=lambda work: work.batch * work.shape[0])
    size = f"{largest.shape[0]} x {largest.shape[1]}, minibatch of {largest.batch}"
    return tables.rows(f"training step, {largest.network}, to {size}", times, largest.turn(trained=True), peaks)


def measure(turns: int, threads: int, quick: bool) -> Iterator[list[Row]]:
    """Yield the tables of this module."""
    batch, steps = (4, 2) if quick else (32, 5)
    sizes = QUICK if quick else GROWTH
    full = sizes[max(sizes)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw.write(folder / "raw", shots=max(2 * batch * MORE * steps, 200), shape=full)
        files = {shape: raw.prepare(folder / "raw", folder / str(n), full, shape) for n, shape in sizes.items()}
        for network in NETWORKS:
            for shape in (full, sizes[max(sizes) // 4]):
                more = 1 if shape == full else MORE
                work = Work(network, files[shape], shape, batch, more * steps, threads)
                print(f"  {network}, {shape[0]} x {shape[1]}", flush=True)
                yield compared(work, True, turns, folder) + compared(work, False, turns, folder)
        works = {n: Work("notes' 4 layers", files[shape], shape, batch, steps, threads) for n, shape in sizes.items()}
        yield grown(works, "the pixels", turns, folder)
        largest = works[max(works)]
        works = {n: replace(largest, batch=max(n * batch // max(sizes), 1)) for n in sizes}
        yield grown(works, "the minibatch", turns, folder)
