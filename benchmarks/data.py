"""How fast data move: prepare against copying the same bytes, and minibatches against a memory map and against memory.

Works on full-size frames of random content in the two layouts that raw files have: in one piece, as the experiment's, and in
chunks with a checksum, as the simulator's. Every comparison is made in turns within one run, on a warm page cache; medians and
ratios are printed. Needs about 8 GB of disk and of memory for the cache by default.

    .venv/bin/python benchmarks/data.py [--shots 2000] [--repeats 5] [--folder DIR] [--only NAME]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np

from xtcav_ml.config import params_file
from xtcav_ml.config.data import DataParams
from xtcav_ml.data import raw_files
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.data.raw_frames import RawFrames
from xtcav_ml.pipeline import prepare
from xtcav_ml.science import selection

ROOT = Path(__file__).parents[1]
SHAPE = (726, 568)
PER_FILE = 500
LAYOUTS = {"in one piece": {}, "chunks with a checksum": {"chunks": (1, *SHAPE), "fletcher32": True}}


def write_raw(folder: Path, shots: int, layout: dict) -> None:
    """Write `shots` shots, and a dark run, in files of PER_FILE."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    base = rng.normal(100, 3, (50, *SHAPE))
    beam = 1500 * np.exp(-(((np.arange(SHAPE[0])[:, None] - 360) / 60) ** 2) - ((np.arange(SHAPE[1]) - 280) / 70) ** 2)
    for first in range(-PER_FILE, shots, PER_FILE):
        dark = first < 0
        count = 50 if dark else min(PER_FILE, shots - first)
        with h5py.File(folder / f"r{68 if dark else 70}-{max(first, 0):06d}.h5", "w") as file:
            frames = file.create_dataset("xtcavimg", (count, *SHAPE), "i2", **layout)
            for row in range(count):
                frames[row] = base[row % 50] + (0 if dark else beam * rng.uniform(0.2, 2))
            index = np.arange(count) + max(first, 0)
            columns = {
                "run": np.full(count, 68 if dark else 70),
                "run.index": index,
                "lasing": np.full(count, int(not dark)),
            }
            columns |= {
                "evt.seconds": index // 120 + 10**6 * dark,
                "evt.nanoseconds": index % 120,
                "evt.fiducials": index,
            }
            for name, values in {**columns, "acq.peaksLabel": index % 4}.items():
                file[name] = values


def copy_files(source: Path, target: Path, rows: list[tuple[Path, np.ndarray]]) -> None:
    """Read the frames at `rows`, as prepare does, and write them to one new file, with all cores."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    with (target / "copy").open("wb", buffering=0) as out, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for block in _read(rows, pool):
            out.write(block)
        os.fsync(out.fileno())


def copy_memory(rows: list[tuple[Path, np.ndarray]]) -> None:
    """Read the frames at `rows`, as prepare does, and copy them once within memory, with all cores."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for block in _read(rows, pool, copy=True):
            del block


def _read(rows: list[tuple[Path, np.ndarray]], pool: ThreadPoolExecutor, copy: bool = False):
    """Yield blocks of 16 frames, two a core ahead."""

    def make(file: RawFrames, block: np.ndarray) -> np.ndarray:
        out = np.empty((len(block), *SHAPE), np.int16)
        for i, row in enumerate(block):
            frame = file.read(row[None])
            if copy:
                out[i] = frame[0]
            else:
                out[i : i + 1] = frame
        return out

    waiting = []
    for path, places in rows:
        with RawFrames(path) as file:
            for first in range(0, len(places), 16):
                waiting.append(pool.submit(make, file, places[first : first + 16]))
                if len(waiting) > 4:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()


def turns(repeats: int, **ways: Callable[[], object]) -> dict[str, list[float]]:
    """Time each way once a turn, so that what else the machine does hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if turn:  # the first warms the cache
                times[name].append(time.perf_counter() - started)
    return times


def median(times: list[float]) -> float:
    return statistics.median(times)


def ratio(times: dict[str, list[float]], over: str, under: str) -> float:
    """Return the median over the turns of one time over another of the same turn."""
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))


def rules() -> params_file.Params:
    params = params_file.load_params(ROOT / "params.yaml")
    balance = params.prepare.balance.model_copy(update={"ratio": None})
    return params.model_copy(update={"prepare": params.prepare.model_copy(update={"balance": balance})})


def bench_prepare(folder: Path, shots: int, repeats: int) -> None:
    params = rules()
    for name, layout in LAYOUTS.items():
        source = folder / "raw"
        shutil.rmtree(source, ignore_errors=True)
        write_raw(source, shots, layout)
        data = DataParams(raw=str(source), frame_shape=SHAPE, bad_files="fail")
        raw_set = raw_files.open_set(data, params.prepare)
        chosen = selection.select(raw_set.columns, params.prepare).splits.values()
        dark = np.flatnonzero(raw_set.columns["run"] == 68)
        used = np.sort(np.concatenate([dark, *chosen]))
        rows = [(file, raw_set.row[used[raw_set.file[used] == i]]) for i, file in enumerate(raw_set.files)]
        gigabytes = len(used) * SHAPE[0] * SHAPE[1] * 2 / 1e9
        times = turns(
            repeats,
            prepare=lambda data=data: prepare.prepare_files(data, params.prepare, folder / "prepared"),
            to_file=lambda source=source, rows=rows: copy_files(source, folder / "copied", rows),
            in_memory=lambda rows=rows: copy_memory(rows),
        )
        print(
            f"RESULT prepare, raw {name}: {len(used):,} frames, {gigabytes:.2f} GB; "
            f"prepare {median(times['prepare']):.2f} s, {len(used) / median(times['prepare']):.0f} frames/s; "
            f"copy to a file {median(times['to_file']):.2f} s, within memory {median(times['in_memory']):.2f} s; "
            f"speed of prepare over that of copying to a file {ratio(times, 'to_file', 'prepare'):.2f}, within memory "
            f"{ratio(times, 'in_memory', 'prepare'):.2f}",
            flush=True,
        )


def bench_scaling(folder: Path, shots: int, repeats: int) -> None:
    """Compare prepare of `shots` shots with that of twice as many, in turns."""
    params = rules()
    sets = {}
    for name, count in (("once", shots), ("twice", 2 * shots)):
        write_raw(folder / name, count, LAYOUTS["in one piece"])
        sets[name] = DataParams(raw=str(folder / name), frame_shape=SHAPE, bad_files="fail")
    times = turns(
        repeats,
        **{
            name: lambda data=data: prepare.prepare_files(data, params.prepare, folder / "scaled")
            for name, data in sets.items()
        },
    )
    print(
        f"RESULT prepare of {shots:,} shots {median(times['once']):.2f} s, of {2 * shots:,} {median(times['twice']):.2f} s; "
        f"ratio {ratio(times, 'twice', 'once'):.2f}",
        flush=True,
    )
    for name in (*sets, "scaled"):
        shutil.rmtree(folder / name)


def bench_scan(folder: Path, repeats: int) -> None:
    """Time `xtcav scan` of 133 files and 66,153 shots: small frames, and full frames that are sparse on disk."""
    shots, files = 66_153, 133
    for kind, shape in (("small", (24, 20)), ("full, sparse", SHAPE)):
        target = folder / "scanned"
        target.mkdir()
        for number in range(files):
            first, count = number * 500, min(500, shots - number * 500)
            index = np.arange(first, first + count)
            with h5py.File(target / f"c{number:04d}.h5", "w") as file:
                frames = file.create_dataset("xtcavimg", (count, *shape), "i2", fillvalue=0)
                if kind == "small":
                    frames[:] = 100
                file["acq.waveforms"] = np.zeros((count, 16, 250), np.float32)
                columns = {"run": np.full(count, 70 + number % 4), "run.index": index, "lasing": np.ones(count, int)}
                columns |= {"evt.seconds": index // 120, "evt.nanoseconds": index % 120, "evt.fiducials": index}
                for name, values in {**columns, "acq.peaksLabel": index % 5 - 1}.items():
                    file[name] = values
        tree = (ROOT / "params.yaml").read_text().replace("frame_shape: [726, 568]", f"frame_shape: {list(shape)}")
        (folder / "params.yaml").write_text(tree)
        command = [str(Path(sys.executable).parent / "xtcav"), "scan", str(target), "--json"]
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
            times.append(time.perf_counter() - started)
        found = json.loads(done.stdout)
        print(
            f"RESULT scan of {found['files']} files, {found['shots']:,} shots, {kind} frames: {median(times):.2f} s, "
            f"{found['usable']:,} usable",
            flush=True,
        )
        shutil.rmtree(target)


def bench_chunks(folder: Path, repeats: int) -> None:
    """Compare frames one by one, in chunks of many, with h5py that reads them in blocks; in turns in one process."""
    base = np.random.default_rng(0).normal(100, 3, (20, *SHAPE)).astype(np.int16)
    count, path = 300, folder / "chunks.h5"
    for chunks in ((100, *SHAPE), (300, *SHAPE), (100, 64, 64)):
        with h5py.File(path, "w") as file:
            frames = file.create_dataset("xtcavimg", (count, *SHAPE), "i2", chunks=chunks, compression="lzf")
            for first in range(0, count, 100):
                frames[first : first + 100] = base[np.arange(100) % 20]

        def blocks() -> None:
            with h5py.File(path) as file:
                for first in range(0, count, 100):
                    file["xtcavimg"][first : first + 100]

        def ours() -> None:
            with RawFrames(path) as file:
                for row in range(count):
                    file.read(np.array([row]))

        times = turns(repeats, blocks=blocks, ours=ours)
        print(
            f"RESULT reading {count} frames in chunks of {chunks}: {median(times['ours']):.2f} s, h5py in blocks "
            f"{median(times['blocks']):.2f} s; speed over that of h5py {ratio(times, 'blocks', 'ours'):.2f}",
            flush=True,
        )
    path.unlink()


def bench_files(folder: Path, repeats: int) -> None:
    """Time the look at 3,000 files of five small frames each: what scan, check and prepare begin with."""
    params, count = rules(), 3000
    source = folder / "many"
    source.mkdir()
    for number in range(count):
        index = np.arange(5) + 5 * number
        with h5py.File(source / f"r{number:04d}.h5", "w") as file:
            file["xtcavimg"] = np.full((5, 24, 20), 100, np.int16)
            columns = {
                "run": np.full(5, 70),
                "run.index": index,
                "lasing": np.ones(5, int),
                "acq.peaksLabel": index % 4,
            }
            columns |= {"evt.seconds": index // 120, "evt.nanoseconds": index % 120, "evt.fiducials": index}
            for name, values in columns.items():
                file[name] = values
    data = DataParams(raw=str(source), frame_shape=(24, 20), bad_files="fail")
    times = turns(repeats, survey=lambda: raw_files.open_set(data, params.prepare))
    print(f"RESULT looking at {count:,} files: {1e3 * median(times['survey']) / count:.2f} ms a file", flush=True)
    shutil.rmtree(source)


def bench_read(folder: Path, repeats: int) -> None:
    """Compare minibatches as stored, at random rows, with copying the same bytes from a memory map of a plain file."""
    path = folder / "prepared/train.h5"
    with PreparedFile(path) as train, h5py.File(path) as file:
        plain = folder / "plain.bin"
        file["image"][:].tofile(plain)
        images = np.memmap(plain, file["image"].dtype, "r", shape=file["image"].shape)
        orders = [np.random.default_rng(turn).permutation(train.shots) for turn in range(repeats + 1)]

        def every(read: Callable[[np.ndarray], object]) -> Callable[[], None]:
            turn = iter(orders)

            def epoch() -> None:
                order = next(turn)
                for first in range(0, len(order), 32):
                    read(order[first : first + 32])

            return epoch

        times = turns(
            repeats, ours=every(train.stored), memmap=every(lambda rows: images[rows]), floats=every(train.images)
        )
        batches = train.shots / 32
        print(
            f"RESULT reading {train.shots:,} frames of {train.frame_shape} {images.dtype} in minibatches of 32 at random: "
            f"{1e3 * median(times['ours']) / batches:.2f} ms a minibatch, memory map "
            f"{1e3 * median(times['memmap']) / batches:.2f} ms; speed over that of the map "
            f"{ratio(times, 'memmap', 'ours'):.2f}; as float32 {1e3 * median(times['floats']) / batches:.2f} ms",
            flush=True,
        )


def bench_train(folder: Path, repeats: int) -> None:
    """Compare epochs of the default network from disk and from arrays in memory, in turns in one process."""
    from xtcav_ml.learning import backend, layer_plan, losses, networks, normalization, optimizers
    from xtcav_ml.learning.backend import keras
    from xtcav_ml.learning.batches import Batches
    from xtcav_ml.learning.layer_plan import FRAME_INPUT, Ends

    params = params_file.load_params(ROOT / "params.yaml").train
    backend.configure(params.seed, params.threads)
    with PreparedFile(folder / "prepared/train.h5") as train:
        ends, statistics = Ends.of(train.spec), normalization.statistics_of(train, params.model.standardize)
        disk = Batches(train, params.batch_size, params.seed)
        kept = [disk[i] for i in range(len(disk))]

        class Memory(keras.utils.PyDataset):
            def __len__(self) -> int:
                return len(kept)

            def __getitem__(self, index: int):
                return kept[index]

        model = networks.build(layer_plan.plan_layers(params.model, ends), params.model, statistics, seed=params.seed)
        model.compile(
            optimizer=optimizers.make_optimizer(params.optimizer, 1000),
            **losses.compiled(ends, statistics.numbers.sd, 1.0),
        )
        memory = Memory()
        times = turns(
            repeats,
            disk=lambda: model.fit(disk, epochs=1, verbose=0, shuffle=False),
            memory=lambda: model.fit(memory, epochs=1, verbose=0, shuffle=False),
        )
        steps = len(kept)
        assert FRAME_INPUT in kept[0][0]
        print(
            f"RESULT training {steps} steps of {params.batch_size}: {1e3 * median(times['disk']) / steps:.1f} ms a step "
            f"from disk, {1e3 * median(times['memory']) / steps:.1f} ms from memory; ratio "
            f"{ratio(times, 'disk', 'memory'):.3f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the files go (default: a temporary folder)")
    parser.add_argument("--only", choices=["prepare", "scaling", "scan", "files", "chunks", "read", "train"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        if arguments.only in (None, "scan"):
            bench_scan(folder, arguments.repeats)
        if arguments.only in (None, "files"):
            bench_files(folder, arguments.repeats)
        if arguments.only in (None, "chunks"):
            bench_chunks(folder, arguments.repeats)
        if arguments.only in (None, "scaling"):
            bench_scaling(folder, arguments.shots, arguments.repeats)
        if arguments.only in (None, "prepare"):
            bench_prepare(folder, arguments.shots, arguments.repeats)
        elif arguments.only in ("read", "train"):
            write_raw(folder / "raw", arguments.shots, LAYOUTS["in one piece"])
            data = DataParams(raw=str(folder / "raw"), frame_shape=SHAPE, bad_files="fail")
            prepare.prepare_files(data, rules().prepare, folder / "prepared")
        if arguments.only in (None, "read"):
            bench_read(folder, 3 * arguments.repeats)
        if arguments.only in (None, "train"):
            bench_train(folder, arguments.repeats)


if __name__ == "__main__":
    main()
