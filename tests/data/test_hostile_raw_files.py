"""Two hundred raw files that are meant to harm, through scan, check, prepare and predict: the work is done or one line says
why not, within two seconds of the processor and a bounded memory; nothing hangs, crashes or ends in a traceback.
"""

import contextlib
import io
import json
import os
import resource
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.conftest import SHAPE, write_shots
from tests.hostile_raw_files import FILES, ROWS, Spoil
from xtcav_ml.config.params_file import Params
from xtcav_ml.learning.predictor import Prediction
from xtcav_ml.pipeline import check, prepare
from xtcav_ml.science.images import Dark
from xtcav_ml.science.spec import LearningSpec
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import predict, scan

SECONDS = 2.0
MEMORY = 2**30 + 2**28
"""Bytes of address space beside those that are in use: HDF5's cache may take a gigabyte of them."""
LONGEST = 300  # letters of a line


class Blind:
    """A model that sees nothing: to load a network takes seconds, and the files do not reach it."""

    def __init__(self, spec: LearningSpec) -> None:
        self.spec = spec

    def predict(self, frames, features):
        return Prediction(np.full((len(frames), len(self.spec.classes)), 0.5, np.float32), np.zeros((len(frames), 0)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, params):
    """A project of good files, with a pipe beside them."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "raw").mkdir()
    write_shots(folder / "raw/dark.h5", run=68, count=4, lasing=0)
    for run in (70, 71):
        write_shots(folder / f"raw/r{run}.h5", run=run, count=60)
    os.mkfifo(folder / "raw/pipe")
    write_shots(folder / "good.h5", run=70, count=ROWS, first=500)
    (folder / "model.keras").write_bytes(b"any")
    return folder


def commands(params: Params) -> dict[str, Callable[[], object]]:
    data = params.data.model_copy(update={"raw": "raw", "frame_shape": SHAPE})
    block = params.train.model.blocks[0].model_copy(update={"kernel": 1, "pool_window": 1, "pool_stride": 1})
    train = params.train.model_copy(update={"model": params.train.model.model_copy(update={"blocks": (block,)})})
    tune = params.tune.model_copy(update={"space": {}})
    split = params.prepare.split.model_copy(update={"block": 1, "gap": 0})  # fit for few shots
    rules = params.prepare.model_copy(update={"split": split})
    params = params.model_copy(update={"data": data, "prepare": rules, "train": train, "tune": tune})
    out = Path("out")
    return {
        "scan": lambda: scan.scan_folder(Path("raw"), data, params.prepare, as_json=False),
        "check": lambda: check.check_raw_files(params, out / "check.json"),
        "prepare": lambda: prepare.prepare_files(data, params.prepare, out / "prepared"),
        "predict": lambda: predict.predict_files(Path("model.keras"), [Path("raw/hostile.h5")], out, threads=1),
    }


def ended(command: Callable[[], object]) -> str:
    """Return in one word how a command ends: done, refused, or in what is not meant to be, with the words of it."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            command()
    except UserError as error:
        line = str(error)
        if not line.isprintable() or len(line) > LONGEST:
            return f"line of {len(line)}: {line[:400]!r}"
        return f"refused: {line}"
    except BaseException:
        return traceback.format_exc()
    text = printed.getvalue()
    lines = [line for line in text.splitlines() if not line.isprintable() or len(line) > 2 * LONGEST]
    return f"printed {lines[0][:400]!r}" if lines else "done"


def judged(folder: Path, spoil: Spoil, params: Params) -> Iterator[tuple[str, float, str]]:
    """Yield for each command what it took of the processor, s, and how it `ended`, on a file that is spoiled."""
    file = folder / "raw/hostile.h5"
    for name in commands(params):
        reader, writer = os.pipe()
        if not (child := os.fork()):
            try:
                os.close(reader)
                os.chdir(folder)
                used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
                resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 8,) * 2)
                before = time.process_time()
                words = ended(commands(params)[name])
                os.write(writer, json.dumps([time.process_time() - before, words]).encode()[:60_000])
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader, "rb") as pipe:
            answer = pipe.read()
        end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        yield (name, *(json.loads(answer) if answer else (8.0, f"ended with {end}")))
    assert file


def make(folder: Path, spoil: Spoil) -> Path:
    file = folder / "raw/hostile.h5"
    with contextlib.suppress(OSError):
        file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
    file.write_bytes((folder / "good.h5").read_bytes())
    spoil(file)
    return file
