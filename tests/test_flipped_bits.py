"""One bit flipped anywhere in a file that the package reads again: the same numbers, or one line; never others.

Each kind of file has a function that returns all that is read of it. A few hundred places are tried with the thorough tests,
thousands of each kind with the slow ones.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.conftest import begin_event, write_prepared_file
from tests.learning.test_fit import PARAMS, write
from xtcav_ml.data.hdf5 import attributes_of, create_rows, creating
from xtcav_ml.data.history import line_of, read_history
from xtcav_ml.data.prepared import PreparedFile
from xtcav_ml.learning import fit, keras_file
from xtcav_ml.learning.checkpoint import Checkpoints, State
from xtcav_ml.system.errors import UserError
from xtcav_ml.tracking.journal import EVENTS, UPLOADED, Journal, ownerless

Read = Callable[[Path], object]
"""Returns all that is read of a file; None if the file is not used, which is told. Raises UserError."""


def plain(value: Any) -> object:
    """Return a value that can be compared."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value


def read_prepared(path: Path) -> object:
    with PreparedFile(path) as file:
        dark = file.spec.preprocessing.dark
        columns = {name: file.column(name) for name in sorted(file._columns)}
        frames = [file.stored(np.arange(file.shots)), file.pixel_mean, file.pixel_sd, dark.mean, dark.noise]
        return plain([columns, frames, file.spec.to_json(), file.source_files, file.shots, file.classes])


def read_model(path: Path) -> object:
    model, spec = keras_file.load_network(path)
    dark = spec.preprocessing.dark
    return plain([model.get_weights(), model.to_json(), spec.to_json(), dark.mean, dark.noise])


def read_predictions(path: Path) -> object:
    if not ATTRIBUTES.items() <= attributes_of(path).items():
        return None  # it is refused, or predicted again
    with h5py.File(path) as file:
        return plain([attributes_of(path), {name: dataset[()] for name, dataset in file.items()}])


def read_checkpoint(path: Path) -> object:
    state, damaged = Checkpoints(path.parent.parent, IDENTITY).load()
    assert (state is None) == bool(damaged)
    return None if state is None else plain(vars(state))


def read_journal(path: Path) -> object:
    folder = path.parent.parent
    for journal in ownerless(folder):
        content = list(journal.events()), journal.begin, journal.finished, journal.run_id, journal.experiment_id
        place = journal.offset
        journal.close()
        return plain([*content, place])
    (aside,) = (folder.parent / "damaged").iterdir()  # with a line
    aside.rename(path.parent)
    return None


def read_uploaded(path: Path) -> object:
    found = read_journal(path)
    return None if found[-3:] == [None, None, 0] else found  # it is uploaded again, which changes nothing in the store


ATTRIBUTES = {"model_sha256": "0" * 64, "source": "r.h5", "classes": json.dumps(["a", "b"])}
IDENTITY = {"code": "c", "params": "p"}


@dataclass
class Kind:
    """A kind of file, and the functions that write and read one."""

    write: Callable[[Path], Path]
    read: Read


def write_prepared(folder: Path) -> Path:
    frames = np.random.default_rng(0).integers(90, 400, (7, 6, 8)).astype(np.int16)
    numbers = {"acq.t1.pos": np.array([1.5, np.nan, 2, 3, 4, 5, 6])}
    energies = {"bld.L3energy": np.linspace(3990, 4010, 7)}
    labels = np.arange(7) % 2
    return write_prepared_file(folder / "x.h5", frames, labels, regression=numbers, features=energies, truth=labels)


def write_model(folder: Path) -> Path:
    from xtcav_ml.learning import backend

    backend.configure(seed=1, threads=2)
    with write(folder / "train.h5", 16, 0) as train:
        fitted = fit.fit(train, train, PARAMS.model_copy(update={"epochs": 1}))
        keras_file.save(fitted.model, train.spec, folder / "x.keras")
    return folder / "x.keras"


def write_predictions(folder: Path) -> Path:
    with creating(folder / "x.h5", sealed=True) as file:
        for name, values in {"run": np.arange(9), "probability": np.random.default_rng(1).random((9, 2))}.items():
            create_rows(file, name, 9, values.shape[1:], values.dtype)[:] = values
        file.attrs.update(ATTRIBUTES)
    return folder / "x.h5"


def write_checkpoint(folder: Path) -> Path:
    checkpoints, arrays = Checkpoints(folder / "c", IDENTITY), [np.arange(9.0), np.ones((2, 3), np.float32)]
    checkpoints.save(State([{"val_loss": 0.1 + 0.2}], arrays, arrays[:1], arrays[1:]))
    return next(checkpoints.folder.iterdir())


def write_journal(folder: Path) -> Path:
    journal = Journal.create(folder / "journal", "a", begin_event("one"))
    for step in range(3):
        journal.append(
            {"event": "metrics", "step": step, "time_ms": 5, "values": {"loss": 0.1 + 0.2, "accuracy": 1 / 3}}
        )
    journal.append({"event": "params", "values": {"train.seed": "1"}})
    journal.append({"event": "finish", "status": "FINISHED", "time_ms": 8})
    journal.acknowledge(next(iter(journal.events()))[1], "0123456789abcdef", "7")
    journal.close()
    return folder / "journal/a" / EVENTS


def write_uploaded(folder: Path) -> Path:
    return write_journal(folder).with_name(UPLOADED)


def write_history(folder: Path) -> Path:
    rows = [{"val_accuracy": 1 / (3 + epoch), "val_loss": 0.1 * epoch} for epoch in range(1, 6)]
    (folder / "history.jsonl").write_text("".join(line_of(epoch, row) for epoch, row in enumerate(rows, start=1)))
    return folder / "history.jsonl"


KINDS = {
    "prepared": Kind(write_prepared, read_prepared),
    "model": Kind(write_model, read_model),
    "predictions": Kind(write_predictions, read_predictions),
    "checkpoint": Kind(write_checkpoint, read_checkpoint),
    "journal": Kind(write_journal, read_journal),
    "uploaded": Kind(write_uploaded, read_uploaded),
    "history": Kind(write_history, read_history),
}


def flip_bits(kind: Kind, folder: Path, count: int, seed: int) -> Counter[str]:
    """Flip single bits at `count` places, each in a file that is whole otherwise, and count how reading it ends."""
    path = kind.write(folder)
    whole, ends = path.read_bytes(), Counter[str]()
    expected = kind.read(path)
    choose = np.random.default_rng(seed)
    count = min(count, 8 * len(whole))
    for place in choose.choice(8 * len(whole), count, replace=False).tolist():
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = kind.read(path)
        except UserError as error:
            ends["refused" if str(error).isprintable() else "lines"] += 1
        else:
            ends["refused" if found is None else "same" if found == expected else "other"] += 1
            assert found in (None, expected), f"bit {place % 8} of byte {place // 8}: other numbers"
    return ends


@pytest.mark.parametrize("name", KINDS)
def test_a_flipped_bit_is_never_another_number(name, tmp_path):
    ends = flip_bits(KINDS[name], tmp_path, 150, seed=0)
    assert ends["refused"] > 100
    assert ends["lines"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_thousands_of_flipped_bits_are_never_another_number(name, tmp_path):
    ends = flip_bits(KINDS[name], tmp_path, 5000, seed=1)
    assert ends["lines"] == ends["other"] == 0
    print(f"{name}: {dict(ends)}")
