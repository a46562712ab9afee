"""Preparing and reading, beside reading and copying the same bytes with h5py and numpy alone.

Everything is on a warm page cache. The raw files are full-size frames in the two layouts that are common: in one piece, and
in chunks with a checksum.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks import contenders, machine, raw, tables
from benchmarks.contenders import timed
from benchmarks.tables import Row
from benchmarks.training import Made
from xtcav_ml.data import raw_files
from xtcav_ml.data.frame_files import READERS
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.data.prepared_writing import write_whole
from xtcav_ml.data.raw_frames import RawFrames
from xtcav_ml.science import selection

FULL = (726, 568)
BATCH = 32
Rows = list[tuple[Path, np.ndarray]]


def prepared(folder: Path, layout: str, shots: int, turns: int) -> list[Row]:
    """Compare `prepare` by params.yaml with reading the same frames, and writing or copying them."""
    source = raw.write(folder / "raw", shots, FULL, layout)
    data, section = raw.params(source, FULL)
    raw_set = raw_files.open_set(data, section)
    chosen = selection.select(raw_set.columns, section).splits.values()
    used = np.sort(np.concatenate([np.flatnonzero(raw_set.columns["run"] == 68), *chosen]))
    rows = [(file, raw_set.row[used[raw_set.file[used] == i]]) for i, file in enumerate(raw_set.files)]
    ways = {
        "this project": timed(lambda: raw.prepare_quietly(data, section, folder / "prepared")),
        "read, write to a file": timed(lambda: _copy_to_file(rows, folder / "copied")),
        "read, copy in memory": timed(lambda: _copy_in_memory(rows)),
    }
    found = tables.rows(f"prepare a frame, raw files {layout}", contenders.in_turns(ways, turns), len(used))
    shutil.rmtree(source)
    return found


def _copy_to_file(rows: Rows, target: Path) -> None:
    with target.open("wb", buffering=0) as out:
        for block in _blocks(rows):
            out.write(block)
        os.fsync(out.fileno())


def _copy_in_memory(rows: Rows) -> None:
    for block in _blocks(rows):
        block.copy()


def _blocks(rows: Rows) -> Iterator[np.ndarray]:
    """Yield blocks of 16 frames as `prepare` reads them, two a core ahead."""

    def read(file: RawFrames, block: np.ndarray) -> np.ndarray:
        return np.concatenate([file.read(row[None]) for row in block])

    with ThreadPoolExecutor(machine.cores()) as pool:
        for path, places in rows:
            with RawFrames(path) as file:
                waiting = []
                for first in range(0, len(places), 16):
                    waiting.append(pool.submit(read, file, places[first : first + 16]))
                    if len(waiting) > 4:
                        yield waiting.pop(0).result()
                for block in waiting:
                    yield block.result()


def _prepare(source: Path, out: Path) -> Made:
    data, section = raw.params(source, FULL)
    return lambda: raw.prepare_quietly(data, section, out), None


def grown(folder: Path, shots: int, turns: int) -> list[Row]:
    """Return time and memory of `prepare` by the size of the raw set."""
    makers = {}
    for n in (1, 2, 4, 8):
        source = raw.write(folder / f"raw{n}", n * shots, FULL)
        makers[f"{n} x {shots} shots"] = (_prepare, source, folder / f"prepared{n}")
    running = contenders.started(makers)
    times = contenders.in_turns(running, turns)
    peaks = {name: one.end() for name, one in running.items()}
    return tables.rows("prepare", times, 1, peaks)


def read(path: Path, turns: int) -> list[Row]:
    """Compare minibatches at random rows with copying the same bytes from a memory map of a plain file."""
    whole = path.with_suffix(".whole")
    with PreparedFile(path) as train:
        write_whole(whole, train, train.source_files)
    with PreparedFile(path) as train, h5py.File(whole) as file:
        plain = path.with_suffix(".bin")
        file["image"][:].tofile(plain)
        images = np.memmap(plain, file["image"].dtype, "r", shape=file["image"].shape)
        draws = np.random.default_rng(0)

        def epoch(read: Callable[[np.ndarray], object]) -> Callable[[], float]:
            def every() -> None:
                order = draws.permutation(train.shots)
                for first in range(0, len(order), BATCH):
                    read(order[first : first + BATCH])

            return timed(every)

        ways = {
            f"this project, with checksums, {min(READERS, machine.cores())} threads": epoch(train.stored),
            "memory map": epoch(lambda rows: images[rows]),
            "h5py": epoch(lambda rows: file["image"][np.sort(rows)]),
        }
        return tables.rows(
            f"read a minibatch of {BATCH}, {train.frame_shape[0]} x {train.frame_shape[1]}, at random rows",
            contenders.in_turns(ways, turns),
            -(-train.shots // BATCH),
        )


def chunked(folder: Path, turns: int) -> list[Row]:
    """Compare frames one by one, from chunks of many, with h5py that reads whole blocks."""
    base = np.random.default_rng(0).normal(100, 3, (20, *FULL)).astype(np.int16)
    count, path, found = 300, folder / "chunks.h5", []
    for chunks in ((100, *FULL), (300, *FULL), (100, 64, 64)):
        with h5py.File(path, "w") as file:
            frames = file.create_dataset("xtcavimg", (count, *FULL), "i2", chunks=chunks, compression="lzf")
            for first in range(0, count, 100):
                frames[first : first + 100] = base[np.arange(100) % 20]
        ways = {
            "this project": timed(lambda: _frames_of(path, count)),
            "h5py in blocks": timed(lambda: _blocks_of(path)),
        }
        found += tables.rows(f"read a frame, chunks of {chunks}", contenders.in_turns(ways, turns), count)
    path.unlink()
    return found


def _frames_of(path: Path, count: int) -> None:
    with RawFrames(path) as file:
        for row in range(count):
            file.read(np.array([row]))


def _blocks_of(path: Path) -> None:
    with h5py.File(path) as file:
        for first in range(0, len(file["xtcavimg"]), 100):
            file["xtcavimg"][first : first + 100]


def many_files(folder: Path, count: int, turns: int) -> list[Row]:
    """Compare the look at many small files, with which scan, check and prepare begin, with opening them in h5py."""
    source, shape = folder / "many", (24, 20)
    source.mkdir()
    for number in range(count):
        with h5py.File(source / f"r{number:04d}.h5", "w") as file:
            file["xtcavimg"] = np.full((5, *shape), 100, np.int16)
            raw.write_columns(file, np.arange(5) + 5 * number, run=70)
    data, section = raw.params(source, shape, dark_run=None, images=(raw.middle(shape, shape),))
    ways = {
        "this project, all checks": timed(lambda: raw_files.open_set(data, section)),
        "this project, prepare": timed(lambda: raw.prepare_quietly(data, section, folder / "prepared_many")),
        "h5py, open and list": timed(lambda: [list(_opened(path)) for path in source.iterdir()]),
    }
    return tables.rows(f"a file of {count:,} of five small frames", contenders.in_turns(ways, turns), count)


def _opened(path: Path) -> list[str]:
    with h5py.File(path) as file:
        return list(file)


def scanned(folder: Path, files: int, turns: int) -> list[Row]:
    """Time `xtcav scan` of as many shots as the experiment has: small frames, and full ones that are sparse on disk."""
    found = []
    for kind, shape in (("24 x 20", (24, 20)), ("full frames, sparse", FULL)):
        target = folder / "scanned"
        target.mkdir()
        for number in range(files):
            with h5py.File(target / f"c{number:04d}.h5", "w") as file:
                file.create_dataset("xtcavimg", (500, *shape), "i2", fillvalue=100)
                file["acq.waveforms"] = np.zeros((500, 16, 250), np.float32)
                raw.write_columns(file, np.arange(500) + 500 * number, run=70 + number % 4)
        text = (raw.ROOT / "params.yaml").read_text().replace("[726, 568]", str(list(shape)), 1)
        (folder / "params.yaml").write_text(text)
        command = [str(Path(sys.executable).parent / "xtcav"), "scan", str(target), "--json"]

        def scan(command: list[str] = command) -> Any:
            return json.loads(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout)

        times = contenders.in_turns({"this project": timed(scan)}, turns)
        found += tables.rows(f"scan {files} files, {500 * files:,} shots, {kind}", times, 1)
        shutil.rmtree(target)
    return found


def measure(turns: int, threads: int, quick: bool) -> Iterator[list[Row]]:
    """Yield the tables of this module."""
    del threads  # as many as there are processors
    shots = 150 if quick else 1000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield [row for layout in raw.LAYOUTS for row in prepared(folder, layout, shots, turns)]
        yield read(folder / "prepared/train.h5", 3 * turns) + chunked(folder, turns)
        yield many_files(folder, 40 if quick else 3000, turns) + scanned(folder, 4 if quick else 133, turns)
        yield grown(folder, 150 if quick else 200, turns)
