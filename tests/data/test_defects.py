"""The verdict on raw files that are spoiled in every way that was thought of, and on good ones of every layout.

Raw files come from elsewhere: cut while they were copied, written by other programs, or made to harm. KINDS holds each
kind of defect with several variants. All are judged in a process of their own, which must neither crash nor hang, nor take
much memory, nor raise: the verdict is one line that names the file, the dataset if one is to blame, and the rule.
"""

import functools
import gzip
import multiprocessing
import os
import resource
import socket
import struct
import traceback
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.conftest import ROOT, SHAPE, read_here, write_shots
from xtcav_ml.config import params_file
from xtcav_ml.config.data import DataParams
from xtcav_ml.config.schema import IMAGE, PEAKS_LABEL, SCHEMA, WAVEFORMS
from xtcav_ml.data import raw_files
from xtcav_ml.data.listing import Listing
from xtcav_ml.data.raw_file import file_problems, read_columns
from xtcav_ml.data.raw_frames import RawFrames, read_frames
from xtcav_ml.system.errors import UserError
from xtcav_ml.tools import propose

ROWS = 6
ENERGY, TARGET = "bld.L3energy", "acq.t1.pos"
COLUMNS = (PEAKS_LABEL, "lasing", "run", "run.index", "evt.seconds", "evt.nanoseconds", "evt.fiducials")
"""The datasets of integers, which every file must hold."""
SOME = (IMAGE, WAVEFORMS, PEAKS_LABEL, "run", ENERGY, "evt.fiducials")
"""Datasets of all shapes and kinds, required and not."""
ROW_SHAPES = {IMAGE: SHAPE, WAVEFORMS: (16, 250)}

PATIENCE = 20
"""Seconds after which no verdict will come: it takes milliseconds."""
MEMORY = 2 * 2**30
"""Bytes of address space that the judging process may take beside what it has at its start."""

Spoil = Callable[[Path], object]
Change = Callable[[h5py.File, str], object]
Variants = dict[str, tuple[str | None, Spoil]]
"""By name of the variant, the dataset that is to blame, if one is, and what makes a bad file of a good one."""


# What runs in the judging process


@functools.cache
def prepare():
    return params_file.load_params(ROOT / "params.yaml").prepare


def survey(path: Path, **update: Any) -> list[str]:
    """Return the problems that `check` and `scan` find, with some of the section `prepare` changed."""
    data = DataParams(raw="raw", frame_shape=SHAPE, bad_files="skip")
    bad = raw_files.survey(Listing(path.parent, (path,)), data, prepare().model_copy(update=update)).bad
    propose.describe(
        list(bad), data, prepare()
    )  # as `scan` does, which looks at all datasets of a file that does not fit
    return [line for lines in bad.values() for line in lines]


def survey_all(path: Path, **update: Any) -> list[str]:
    """As `survey`, with the energy as a feature; in good files the waveforms, which `relabel` needs, are checked too."""
    waveforms = {name: SCHEMA[name] for name in ("run", "run.index", WAVEFORMS)}
    return survey(path, **{"features": (ENERGY,), **update}) or file_problems(path, waveforms)


def survey_as_nobody(path: Path) -> list[str]:
    """As `survey`, but not as root, who may read everything."""
    if os.geteuid():
        return survey(path)
    os.chdir(path.parent)  # nobody may not pass the folders above
    path.parent.chmod(0o755)
    os.seteuid(65534)
    try:
        return survey(Path(path.name))
    finally:
        os.seteuid(0)


def read(path: Path, while_open: Spoil | None = None) -> dict[str, Any] | list[str]:
    """Return frames and columns, or why they cannot be read. `while_open` is done to the file before it is read."""
    try:
        with RawFrames(path) as frames:
            if while_open:
                while_open(path)
            return {
                IMAGE: frames.read(np.arange(frames.shape[0])),
                **read_columns(path, {name: SCHEMA[name] for name in (*COLUMNS, TARGET)}),
            }
    except UserError as error:
        return [str(error)]


def serve(pipe: Any) -> None:
    """Answer calls until the pipe is closed. The files are read in this process: a crash or a hang is one of the judge."""
    read_here(pytest.MonkeyPatch())
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            function, args, more = pipe.recv()
            try:
                answer = function(*args, **more)
            except Exception:
                answer = traceback.format_exc()
            pipe.send(answer)


class Judge:
    """A process that reads files, so that a crash or a hang is seen and does not end the tests."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, function: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """Return what `function` returns there. The test fails if that process crashes, hangs, or raises anything."""
        self._pipe.send((function, args, more))
        try:
            answer = self._pipe.recv() if self._pipe.poll(PATIENCE) else None
        except EOFError:
            self._process.join()
            answer = None
        if answer is None:
            end = self._process.exitcode
            self.close()
            self._start()
            pytest.fail(f"hangs for {PATIENCE} s" if end is None else f"crashes with exit code {end}")
        if isinstance(answer, str):
            pytest.fail(answer)
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()


@pytest.fixture(scope="module")
def judge():
    judge = Judge()
    yield judge
    judge.close()


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A good file."""
    return write_shots(tmp_path_factory.mktemp("good") / "good.h5", run=70, count=ROWS)


@pytest.fixture
def path(tmp_path, good):
    """A copy of the good file, with another file and a pipe beside it."""
    path = tmp_path / "shots.h5"
    path.write_bytes(good.read_bytes())
    (tmp_path / "other.h5").symlink_to(good)
    os.mkfifo(tmp_path / "pipe")
    yield path
    if path.is_file():
        path.unlink()  # at once, so that hundreds of files never get to the disk


# What is done to a dataset. In most of these the outer function takes how, the inner one the file and the dataset.


def change(how: Change, name: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        how(file, name)


def each(names: Sequence[str], how: Change | Mapping[str, Change]) -> Variants:
    """Return a variant for each dataset, or for each dataset and each of several changes."""
    hows = how if isinstance(how, Mapping) else {"": how}
    return {
        f"{name} {label}".strip(): (name, partial(change, how, name)) for name in names for label, how in hows.items()
    }


def made(**how: Any) -> Change:
    """Create anew, with these arguments of create_dataset."""

    def make(file, name):
        del file[name]
        file.create_dataset(name, **how)

    return make


def with_rows(rows: int, **how: Any) -> Change:
    """Declare so many rows of the right shape and type and write none; chunks=n: in chunks of n rows."""

    def declare(file, name):
        row_shape = ROW_SHAPES.get(name, ())
        chunks = {key: (value, *row_shape) for key, value in how.items() if key in ("chunks", "maxshape")}
        made(shape=(rows, *row_shape), **{"dtype": file[name].dtype, **how, **chunks})(file, name)

    return declare


def stored(**how: Any) -> Change:
    """Keep the values and store them in another way."""
    return lambda file, name: made(**{"data": file[name][:], **how})(file, name)


def mapped(function: Callable[[Any], Any]) -> Change:
    """Replace the values."""
    return lambda file, name: made(data=function(file[name][:]))(file, name)


def filled(value: Any, dtype: Any) -> Change:
    """Put one value of another type everywhere."""

    def fill(file, name):
        made(shape=file[name].shape, dtype=dtype)(file, name)
        file[name][...] = value

    return fill


def linked(thing: Any) -> Change:
    """Put a link or a type of this name there."""

    def link(file, name):
        if name in file:
            del file[name]
        file[name] = thing

    return link


def virtual(source: str | None) -> Change:
    def assemble(file, name):
        layout = h5py.VirtualLayout(file[name].shape, file[name].dtype)
        if source:
            layout[:] = h5py.VirtualSource(source, name, file[name].shape)
        del file[name]
        file.create_virtual_dataset(name, layout)

    return assemble


def virtual_of(file: h5py.File, name: str, source: str) -> None:
    """Assemble a dataset, row by row, of another one in the file."""
    shape = file[source].shape
    layout = h5py.VirtualLayout(shape, file[source].dtype)
    for row in range(shape[0]):
        layout[row] = h5py.VirtualSource(".", source, shape)[row]
    file.create_virtual_dataset(name, layout)


def low_level(type_id: h5py.h5t.TypeID, *filters: int) -> Change:
    """Create with a type that numpy has not, or packed with filters that nobody has."""

    def create(file, name):
        values = file[name][:]
        del file[name]
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        if filters:
            properties.set_chunk(values.shape)
        for code in filters:
            properties.set_filter(code, h5py.h5z.FLAG_OPTIONAL)  # else HDF5 would not create it
        space = h5py.h5s.create_simple(values.shape)
        dataset = h5py.h5d.create(file.id, name.encode(), type_id, space, properties)
        if filters:
            dataset.write_direct_chunk((0,) * values.ndim, b"packed", 0)
        elif type_id.get_class() == h5py.h5t.INTEGER:
            dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)

    return create


def partly(rows: int, **how: Any) -> Change:
    """Declare all rows and write only the first ones."""

    def write(file, name):
        values = file[name][:]
        made(shape=values.shape, dtype=values.dtype, **how)(file, name)
        if rows:
            file[name][:rows] = values[:rows]

    return write


UNWRITTEN = {
    "none": partly(0),
    **{f"{rows} of 6": partly(rows, chunks=(1, *SHAPE)) for rows in (0, 1, 5)},
    "blocks": partly(4, chunks=(2, 5, 5), compression="gzip"),
}

# What is done to a file


def cut(size: float, path: Path) -> None:
    """Leave so many bytes, or that part of them; less than 0: take so many away."""
    old = path.stat().st_size
    os.truncate(path, int(size * old) if isinstance(size, float) else size if size >= 0 else old + size)


def content(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def patch(data: bytes, offset: int, path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def instead(make: Spoil) -> Spoil:
    """Put something else in the place of the file."""
    return lambda path: (path.unlink(), make(path))


def link_to(target: str) -> Spoil:
    return instead(lambda path: path.symlink_to(target))


def listening(path: Path) -> None:
    """Make a socket, by a short name: a long one would not do."""
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def touched(path: Path) -> None:
    os.utime(path, (1, 1))


def replaced(path: Path) -> None:
    path.with_name("other.h5").replace(path)


def damaged(name: str, chunk: int, at: int, flip: int, path: Path, **how: Any) -> None:
    """Store a dataset with a chunk a shot, and flip bits of one byte of a chunk."""
    with h5py.File(path, "r+") as file:
        stored(chunks=(1, *ROW_SHAPES.get(name, ())), **how)(file, name)
        offset = file[name].id.get_chunk_info(chunk).byte_offset + at
    patch(bytes([path.read_bytes()[offset] ^ flip]), offset, path)


def header(name: str, path: Path) -> int:
    """Return where that lies which tells type, shape and place of a dataset."""
    with h5py.File(path) as file:
        return h5py.h5o.get_info(file[name].id).addr


def broken_header(data: bytes, name: str, path: Path) -> None:
    patch(data, header(name, path), path)


def moved(address: int, name: str, path: Path) -> None:
    """Say that the values of a dataset lie elsewhere in the file."""
    with h5py.File(path) as file:
        old = struct.pack("<Q", file[name].id.get_offset())
    patch(struct.pack("<Q", address), path.read_bytes().index(old, header(name, path)), path)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("shots", "none")


def of_file(spoils: Mapping[str, Spoil]) -> Variants:
    """Return variants for which no dataset is to blame."""
    return {name: (None, spoil) for name, spoil in spoils.items()}


SIGNATURE = b"\x89HDF\r\n\x1a\n"
NOISE = np.random.default_rng(0).bytes(5000)
COMPOUND = np.dtype([("value", "i4"), ("error", "f4")])

NO_HDF5 = "not a readable HDF5 file"
UNREADABLE = "not readable (found "
SHAPED = "wrong shape (found "
TYPED = "wrong type (found "
SAME_ROWS = "datasets differ in their number of rows"
OUTSIDE = "stored in another file (found "


@dataclass(frozen=True)
class Kind:
    """A kind of defect: words of the verdict, the variants, and what is asked for the verdict."""

    said: str
    variants: Variants
    ask: Callable[..., Any] = survey_all
    more: Mapping[str, Any] = field(default_factory=dict)  # what `ask` is told beside the file
    while_open: bool = False  # the file is spoiled when it is open already


KINDS = {
    "file cut": Kind(
        NO_HDF5,
        {
            f"{size}": (None, partial(cut, size))
            for size in (
                *(8, 9, 48, 95, 96, 97, 136, 800, 2047, 2048, 4096, -1, -2, -8, -4096),
                *(part / 20 for part in range(1, 20)),
            )
        },
    ),
    "file of next to nothing": Kind(
        NO_HDF5,
        of_file(
            {
                "empty": partial(cut, 0),
                "a byte": partial(cut, 1),
                "less than a signature": partial(cut, 7),
                "a line": partial(content, b"\n"),
                "a hole": lambda path: (cut(0, path), cut(10**7, path)),
            }
        ),
    ),
    "file that is no HDF5": Kind(
        NO_HDF5,
        of_file(
            {
                "text": partial(content, b"run 70, 500 shots\n" * 100),
                "web page": partial(content, b"<!DOCTYPE html><title>404 Not Found</title>" + b" " * 5000),
                "pointer": partial(content, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
                "zip": zipped,
                "gzip": lambda path: path.write_bytes(gzip.compress(path.read_bytes(), 1)),
                "PNG": partial(content, b"\x89PNG\r\n\x1a\n" + NOISE),
                "HDF4": partial(content, b"\x0e\x03\x13\x01" + NOISE),
                "copied as text": lambda path: path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n")),
                "zeros": partial(content, bytes(5000)),
                "noise": partial(content, NOISE),
            }
        ),
    ),
    "signature and garbage": Kind(
        NO_HDF5,
        {
            name: (None, partial(content, SIGNATURE + rest))
            for name, rest in {
                "nothing": b"",
                "zeros": bytes(4000),
                "ones": b"\xff" * 4000,
                "text": b"no superblock" * 99,
                **{f"version {version}": bytes([version]) + NOISE for version in (0, 1, 2, 3, 4, 255)},
            }.items()
        },
    ),
    "broken superblock": Kind(
        NO_HDF5, of_file({f"byte {at}": partial(patch, b"\x77", at) for at in (0, 1, 4, 7, 8, 9, 13, 14)})
    ),
    "folder": Kind(
        NO_HDF5 + " (found 'a folder'",
        of_file(
            {
                "empty": instead(Path.mkdir),
                "of files": instead(lambda path: (path.mkdir(), path.with_name("other.h5").rename(path / "0.h5"))),
                "closed": instead(lambda path: path.mkdir(0)),
                "linked": link_to("."),
                "above": link_to("../"),
            }
        ),
    ),
    "pipe or device": Kind(
        NO_HDF5 + " (found 'a pipe or a device'",
        of_file(
            {
                "pipe": instead(os.mkfifo),
                "link to a pipe": link_to("pipe"),
                "socket": instead(listening),
                "null": link_to("/dev/null"),
                "zero": link_to("/dev/zero"),
                "random": link_to("/dev/urandom"),
            }
        ),
    ),
    "link to no file": Kind(
        NO_HDF5,
        of_file(
            {
                "no such file": link_to("nowhere.h5"),
                "no such folder": link_to("/nowhere/at/all.h5"),
                "no folder": link_to("other.h5/shots.h5"),
                "itself": link_to("shots.h5"),
                "a circle": instead(lambda path: (path.symlink_to("b"), path.with_name("b").symlink_to(path.name))),
                "gone since": Path.unlink,
            }
        ),
    ),
    "file not to be read": Kind(
        "Permission denied",
        of_file({f"mode {mode:o}": partial(Path.chmod, mode=mode) for mode in (0, 0o10, 0o100, 0o200, 0o300)}),
        ask=survey_as_nobody,
    ),
    "dataset missing": Kind("missing (found no such path", each((IMAGE, *COLUMNS), lambda file, name: file.pop(name))),
    "dataset of another name": Kind(
        "missing (",
        each(
            (IMAGE, PEAKS_LABEL),
            {
                "blank": lambda file, name: file.move(name, name + " "),
                "group": lambda file, name: file.move(name, f"data/{name}"),
                "capitals": lambda file, name: file.move(name, name.upper()),
            },
        ),
    ),
    "group": Kind(
        "not a dataset (found a group, ",
        each(SOME, lambda file, name: (file.pop(name), file.create_group(f"{name}/values"))),
    ),
    "named type": Kind("not a dataset (found a named type, ", each(SOME, linked(np.dtype("i4")))),
    "single value": Kind(
        SHAPED, each((IMAGE, WAVEFORMS), {f"{value}": made(data=value) for value in (7, -1, 7.5, True)})
    ),
    "no dataspace": Kind(SHAPED, each(SOME, made(data=h5py.Empty("i4")))),
    "too many dimensions": Kind(SHAPED, each(SOME, mapped(lambda values: np.stack([values, values], axis=-1)))),
    "far too many dimensions": Kind(SHAPED, each(SOME, made(shape=(2,) * 32, dtype="i2", chunks=(1,) * 32))),
    "too few dimensions": Kind(
        SHAPED,
        each(
            (IMAGE, WAVEFORMS),
            {
                "one row": mapped(lambda values: values[:, 0]),
                "rows joined": mapped(lambda values: values.reshape(ROWS, -1)),
                "all joined": mapped(np.ravel),
            },
        ),
    ),
    "rows of a frame": Kind(
        SHAPED, each((IMAGE,), {f"{rows}": made(shape=(6, rows, 20), dtype="i2") for rows in (0, 1, 23, 25, 726)})
    ),
    "columns of a frame": Kind(
        SHAPED,
        each((IMAGE,), {f"{columns}": made(shape=(6, 24, columns), dtype="i2") for columns in (0, 1, 19, 21, 568)}),
    ),
    "samples of a waveform": Kind(
        SHAPED,
        each(
            (WAVEFORMS,),
            {
                f"{shape}": made(shape=(6, *shape), dtype="f8")
                for shape in ((0, 0), (1, 250), (8, 250), (16, 249), (17, 250))
            },
        ),
    ),
    "transposed": Kind(
        SHAPED,
        each(
            (IMAGE, WAVEFORMS),
            {f"{axes}": mapped(partial(np.transpose, axes=axes)) for axes in ((0, 2, 1), (2, 1, 0), (1, 2, 0))},
        ),
    ),
    "frames beyond 32 bits": Kind(
        "a pixel is no number that can be kept (found ",
        each((IMAGE,), {kind: filled(2**40, kind) for kind in ("i8", "u8", ">i8", "f4", "f8")}),
        ask=read,
    ),
    "frames with a pixel that is no number": Kind(
        "a pixel is no number that can be kept (found ",
        each(
            (IMAGE,),
            {
                f"{value} {kind}": filled(value, kind)
                for value, kind in ((np.nan, "f4"), (np.nan, ">f8"), (np.inf, "f2"), (-np.inf, "f4"), (np.inf, "f8"))
            },
        ),
        ask=read,
    ),
    "broken numbers, not integers": Kind(
        "not a whole number (found ", each(COLUMNS, mapped(lambda values: values + 0.5))
    ),
    "integers without a value": Kind(
        "no value (found nan in row 0, 6 such rows",
        each(COLUMNS[2:4], {kind: filled(np.nan, kind) for kind in ("f4", "f8", ">f8")}),
    ),
    "no key in any row": Kind(
        "no value in any row (found ", each(COLUMNS[4:], {"NaN": filled(np.nan, "f8"), "none": filled(-1, "i8")})
    ),
    "strings": Kind(TYPED, each(SOME, {"fixed": filled(b"3", "S4"), "any length": filled("3", h5py.string_dtype())})),
    "compound": Kind(TYPED, each(SOME, filled(np.zeros((), COMPOUND), COMPOUND))),
    "references to objects": Kind(TYPED, each(SOME, with_rows(ROWS, dtype=h5py.ref_dtype))),
    "complex": Kind(TYPED, each(SOME, filled(1j, "c8"))),
    "opaque": Kind(TYPED, each(SOME, filled(np.void(b"ab"), "V2"))),
    "arrays": Kind("wrong ", each(SOME, made(shape=(ROWS,), dtype=np.dtype(("i2", SHAPE))))),
    "lists": Kind(TYPED, each(SOME, with_rows(ROWS, dtype=h5py.vlen_dtype(np.int16)))),
    "times": Kind(UNREADABLE, each(SOME, low_level(h5py.h5t.UNIX_D32LE))),
    "labels too low": Kind(
        "not a class (found -",
        each(
            (PEAKS_LABEL,),
            {
                f"{value} {kind}": filled(value, kind)
                for value, kind in ((-2, "i1"), (-128, "i1"), (-2, "i8"), (-(2**31), ">i4"), (-(2**63), "i8"))
            },
        ),
    ),
    "labels too high": Kind(
        "not a class (found ",
        each(
            (PEAKS_LABEL,),
            {
                f"{value} {kind}": filled(value, kind)
                for value, kind in ((4, "i1"), (255, "u1"), (2**31 - 1, "i4"), (2**32 - 1, ">u4"), (2**63 - 1, "i8"))
            },
        ),
    ),
    "integers of 64 bits": Kind("an integer of more than 63 bits (found ", each(COLUMNS, filled(2**64 - 1, "u8"))),
    "one label out of range": Kind(
        ", 1 such rows",
        each(
            (PEAKS_LABEL,),
            {f"{row}": mapped(partial(np.where, np.arange(ROWS) == row, [9])) for row in range(ROWS)},
        ),
    ),
    "a row too few": Kind(SAME_ROWS, each(SOME, mapped(lambda values: values[1:]))),
    "a row too many": Kind(SAME_ROWS, each(SOME, mapped(lambda values: values[[0, *range(ROWS)]]))),
    "twice the rows": Kind(SAME_ROWS, each(SOME, mapped(lambda values: np.concatenate([values, values])))),
    "no rows": Kind(SAME_ROWS, each(SOME, mapped(lambda values: values[:0]))),
    "absurdly many rows": Kind(
        "too many rows (found ",
        each((IMAGE, "run", ENERGY), {f"{rows:.0e}": with_rows(int(rows)) for rows in (1e6 + 1, 1e7, 1e10, 1e13)}),
    ),
    "absurdly many rows in chunks": Kind(
        "too many rows (found ",
        each(
            (IMAGE, WAVEFORMS, PEAKS_LABEL),
            {f"{rows:.0e}": with_rows(int(rows), chunks=9, compression="gzip") for rows in (1e7, 1e10, 1e13)},
        ),
    ),
    "absurdly large chunks": Kind(
        "chunks are too large (found ",
        {
            f"{name} {rows}": (
                name,
                partial(change, with_rows(ROWS, maxshape=None, chunks=rows, compression="gzip"), name),
            )
            for name, rows in (
                (IMAGE, 2**21),
                (WAVEFORMS, 2**16),
                (PEAKS_LABEL, 2**23),
                ("run", 2**28),
                (ENERGY, 2**28),
                (IMAGE, 2**19),
            )
        },
    ),
    "never written": Kind("not wholly written (found 6 of 6 rows unwritten, ", each(COLUMNS, partly(0))),
    "partly written": Kind(
        "of 6 rows unwritten, ",
        each((PEAKS_LABEL, "run"), {f"{rows}": partly(rows, chunks=(1,)) for rows in (0, 1, 5)}),
    ),
    "frames partly written": Kind(
        "of 6 rows unwritten, ",
        each((IMAGE,), UNWRITTEN),
    ),
    "frames partly written, read": Kind("was never written'", each((IMAGE,), UNWRITTEN), ask=read),
    "soft link to nowhere": Kind("missing (found no such path", each(SOME, linked(h5py.SoftLink("/nowhere")))),
    "soft link to itself": Kind(
        "too many links (found ", each(SOME, lambda file, name: linked(h5py.SoftLink(f"/{name}"))(file, name))
    ),
    "link to another file": Kind(OUTSIDE, each(SOME, linked(h5py.ExternalLink("other.h5", "/run")))),
    "link to a file that is not there": Kind(OUTSIDE, each(SOME, linked(h5py.ExternalLink("nowhere.h5", "/run")))),
    "link to a pipe": Kind(OUTSIDE, each(SOME, linked(h5py.ExternalLink("pipe", "/run")))),
    "link on the way": Kind(
        OUTSIDE,
        {
            name: ("labels/" + PEAKS_LABEL, partial(change, linked(link), "labels"))
            for name, link in {
                "other file": h5py.ExternalLink("other.h5", "/"),
                "no file": h5py.ExternalLink("nowhere.h5", "/"),
                "pipe": h5py.ExternalLink("pipe", "/"),
                "device": h5py.ExternalLink("/dev/zero", "/"),
                "folder": h5py.ExternalLink("..", "/"),
            }.items()
        },
        more={"label": "labels/" + PEAKS_LABEL},
    ),
    "stored in another file": Kind(
        OUTSIDE,
        each(
            (IMAGE, "run"),
            {
                place: with_rows(ROWS, external=[(place, 0, h5py.h5f.UNLIMITED)])
                for place in ("other.h5", "nowhere.bin", "pipe", "/dev/zero", "/etc/passwd")
            },
        ),
    ),
    "virtual": Kind(
        OUTSIDE,
        each(
            (IMAGE, "run", ENERGY),
            {f"{source}": virtual(source) for source in ("other.h5", "nowhere.h5", "pipe", "/dev/zero")},
        ),
    ),
    "virtual without parts": Kind("parts do not cover it (found ", each(SOME, virtual(None))),
    "virtual of itself": Kind("a part refers to other files again", each(SOME, virtual("."))),
    "unknown filter": Kind(
        "packed with a filter that is not installed",
        {
            f"{name} {codes}": (name, partial(change, low_level(type_id, *codes), name))
            for name, type_id in (
                (IMAGE, h5py.h5t.NATIVE_INT16),
                ("run", h5py.h5t.STD_I64LE),
                (ENERGY, h5py.h5t.IEEE_F64LE),
            )
            for codes in ((32700,), (65535,), (1, 32701), (400, 32702, 3))
        },
    ),
    "infinite": Kind(
        "not a finite number (found ",
        each(
            (TARGET,),
            {
                "all": filled(np.inf, "f8"),
                "all negative": filled(-np.inf, "f4"),
                "first of NaN": mapped(lambda values: np.where(np.arange(ROWS) == 0, np.inf, values)),
                "last of numbers": mapped(lambda values: np.where(np.arange(ROWS) == 5, -np.inf, 100.0)),
                "big-endian": filled(np.inf, ">f8"),
                "half": filled(np.inf, "f2"),
                "too large for a double": filled(np.longdouble("1e4000"), np.longdouble),
            },
        ),
        more={"regression": (TARGET,)},
    ),
    "flipped bit in a column": Kind(
        UNREADABLE, {name: (name, partial(damaged, name, 2, 0, 1, fletcher32=True)) for name in COLUMNS}
    ),
    "flipped bit in a frame": Kind(
        UNREADABLE,
        {
            f"frame {chunk} byte {at}": (IMAGE, partial(damaged, IMAGE, chunk, at, 4, fletcher32=True))
            for chunk, at in ((0, 0), (1, 100), (3, 500), (5, 959), (5, 960))
        },
        ask=read,
    ),
    "damaged gzip": Kind(
        UNREADABLE,
        {
            f"frame {chunk} byte {at}": (IMAGE, partial(damaged, IMAGE, chunk, at, 0xFF, compression="gzip"))
            for chunk, at in ((0, 0), (1, 1), (2, 20), (3, 100), (5, 200))
        },
        ask=read,
    ),
    "broken header": Kind(
        UNREADABLE,
        {
            f"{name} {data[:4].hex()}": (name, partial(broken_header, data, name))
            for name in (IMAGE, "run", ENERGY)
            for data in (b"\0", b"\x09", b"OHDR", b"\xff" * 16, bytes(16), NOISE[:40])
        },
    ),
    "values beyond the end": Kind(
        UNREADABLE,
        {
            f"{name} {address:#x}": (name, partial(moved, address, name))
            for name in (IMAGE, "run", WAVEFORMS)
            for address in (2**30, 2**62, 2**63, 2**64 - 2)
        },
    ),
    "cut while open": Kind(
        UNREADABLE,
        {f"{size}": (IMAGE, partial(cut, size)) for size in (0, 8, 2000, 2500, 7000)},
        ask=read,
        while_open=True,
    ),
    "changed while open": Kind(
        "changed while it was read",
        of_file(
            {
                "longer": longer,
                "shorter": partial(cut, -1),
                "touched": touched,
                "written to": partial(patch, b"\1", 2**17),
                "replaced": replaced,
            }
        ),
        ask=read,
        while_open=True,
    ),
    "another file since the check": Kind(
        "(found ",
        each(
            (IMAGE,),
            {
                "none": lambda file, name: file.pop(name),
                "group": lambda file, name: (file.pop(name), file.create_group(name)),
                "link": linked(h5py.SoftLink("/nowhere")),
                "link to no file": linked(h5py.ExternalLink("nowhere.h5", "/x")),
                "type": linked(np.dtype("i2")),
            },
        ),
        ask=read,
    ),
}

CASES = [
    pytest.param(kind, *variant, id=f"{name}/{label}".replace(" ", "-"))
    for name, kind in KINDS.items()
    for label, variant in kind.variants.items()
]


@pytest.mark.parametrize(("kind", "dataset", "spoil"), CASES)
def test_the_verdict_names_file_dataset_and_rule(judge, path, kind, dataset, spoil):
    if kind.while_open:
        os.utime(path, (0, 0))  # the clock of a file system is coarse: a change at once might not show
        found = judge.ask(kind.ask, path, spoil)
    else:
        spoil(path)
        found = judge.ask(kind.ask, path, **kind.more)
    assert isinstance(found, list), "accepted"
    assert len(found) == 1, found
    (line,) = found
    assert all(words in line for words in (path.name, kind.said, dataset or "")), line
    assert line.isprintable(), line
    assert line.count(". Fix: ") == 1, f"not one fix in {line!r}"


def test_there_are_five_variants_of_each_kind_at_least():
    assert len(KINDS) >= 30
    assert min(len(kind.variants) for kind in KINDS.values()) >= 5


def test_a_row_that_the_file_has_not_is_an_error_not_a_frame(path):
    for row in (ROWS, 10**6, 2**62, -1):
        with pytest.raises(UserError, match=rf"shots\.h5: {IMAGE}: not readable \(found 'there is no row {row} of 6'"):
            read_frames(path, np.array([row]))


def places(path: Path) -> dict[str, range]:
    """Return where what is no value of a dataset lies in a file."""
    headers = {name: header(name, path) for name in (IMAGE, PEAKS_LABEL, "run", WAVEFORMS)}
    return {"superblock": range(96), "root": range(96, 800), "names": range(800, 1100)} | {
        name: range(start, start + 272) for name, start in headers.items()
    }


@pytest.mark.parametrize("offsets", [4, pytest.param(25, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("checksums", [False, True], ids=["plain", "checksums"])
@pytest.mark.parametrize("place", ["superblock", "root", "names", IMAGE, PEAKS_LABEL, "run", WAVEFORMS])
def test_no_flipped_byte_crashes_and_none_passes_unseen_where_there_are_checksums(
    judge, path, place, checksums, offsets
):
    if checksums:
        in_newest_format(path)
    as_it_was, whole_file = judge.ask(read, path), path.read_bytes()
    rng = np.random.default_rng(len(place))
    for offset in rng.choice(places(path)[place], offsets):
        for value in (whole_file[offset] ^ (1 << rng.integers(8)), 0xFF):
            path.write_bytes(whole_file)
            patch(bytes([value]), offset, path)
            lines = judge.ask(survey, path)
            found = lines or judge.ask(read, path)
            if isinstance(found, list):
                assert all(path.name in line and line.isprintable() for line in found), (offset, value, found)
            elif checksums:
                assert same(found, as_it_was), (offset, value)


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f") for name in other)


def in_newest_format(path: Path, **how: Any) -> None:
    """Write a file again, with a checksum in everything or with other arguments of h5py.File."""
    with h5py.File(path) as old, h5py.File(path.with_name("new.h5"), "w", **{"libver": "latest", **how}) as new:
        for name in old:
            new.create_dataset(name, data=old[name][:], **({} if how else {"chunks": True, "fletcher32": True}))
    path.with_name("new.h5").replace(path)


def fewer_bits(file: h5py.File, name: str) -> None:
    """Store a camera's 12 bits in the upper part of 16."""
    twelve = h5py.h5t.STD_I16LE.copy()
    twelve.set_precision(12)
    twelve.set_offset(4)
    low_level(twelve)(file, name)


def extras(file: h5py.File) -> None:
    """Add what the project does not know."""
    file["names"] = ["a"] * 3
    file["table"] = np.zeros(9, COMPOUND)
    file["calibration"] = np.zeros((2, 2))
    file["unwritten"] = h5py.Empty("f4")
    file.create_dataset("huge", (10**13,), "i8")
    file.create_dataset("no_rows", (0, 3), "i8")
    file["clock"] = np.arange(ROWS)
    low_level(h5py.h5t.UNIX_D32LE)(file, "clock")
    file["virtual"] = np.arange(ROWS)
    virtual("nowhere.h5")(file, "virtual")
    file["soft"], file["outside"] = h5py.SoftLink("/nowhere"), h5py.ExternalLink("pipe", "/")
    file["type"] = np.dtype("i4")
    file.create_group("run data/run")


def all_at_once(path: Path, how: Change, names: tuple[str, ...] = COLUMNS) -> None:
    for name in names:
        change(how, name, path)


def in_file(function: Callable[[h5py.File], object]) -> Spoil:
    return lambda path: change(lambda file, _: function(file), "", path)


HARMLESS: dict[str, Spoil] = {
    "nothing": lambda path: None,
    **{
        f"frames {name}": partial(change, stored(**how), IMAGE)
        for name, how in {
            "gzip": {"compression": "gzip", "chunks": (1, *SHAPE)},
            "gzip 9, several a chunk": {"compression": "gzip", "compression_opts": 9, "chunks": (4, *SHAPE)},
            "lzf": {"compression": "lzf"},
            "shuffle": {"shuffle": True, "compression": "lzf"},
            "odd chunks": {"chunks": (5, 7, 3)},
            "checksum": {"fletcher32": True},
            "all filters": {"shuffle": True, "compression": "gzip", "fletcher32": True},
            "without needless bits": {"scaleoffset": 0},
            "to be longer": {"maxshape": (None, *SHAPE)},
            "enumeration": {"dtype": h5py.enum_dtype({"dark": 0, "bright": 4095}, "i2")},
            "enumeration in chunks": {"dtype": h5py.enum_dtype({"dark": 0}, "i2"), "chunks": (1, *SHAPE)},
            "other fill value": {"fillvalue": -1},
        }.items()
    },
    "frames of 12 bits": partial(change, fewer_bits, IMAGE),
    "frames of a named type": in_file(
        lambda file: (file.__setitem__("pixel", np.dtype("i2")), stored(dtype=file["pixel"])(file, IMAGE))
    ),
    **{
        f"columns {kind}": partial(all_at_once, how=stored(dtype=kind))
        for kind in (">i4", ">i8", "u4", ">u4", "i4", "u8", ">u8")
    },
    "columns in chunks": partial(all_at_once, how=stored(chunks=(4,), compression="gzip", fletcher32=True)),
    **{
        f"frames {kind}": partial(change, stored(dtype=kind), IMAGE)
        for kind in (">i2", "u2", ">u2", "i4", "u4", "i8", ">i8", "u8", "f2", "f4", ">f4", "f8")
    },
    **{f"columns {kind}": partial(all_at_once, how=stored(dtype=kind)) for kind in ("f8", ">f8", "g")},
    "columns of one column": partial(all_at_once, how=mapped(lambda values: values[:, np.newaxis])),
    "frames of one channel": partial(change, mapped(lambda values: values[:, np.newaxis]), IMAGE),
    "mask of truth values": partial(change, stored(dtype=bool), "lasing"),
    "one value of all shots": partial(change, made(data=70), "run"),
    "soft links": in_file(
        lambda file: [
            (file.move(name, f"camera/{name}"), linked(h5py.SoftLink(f"/camera/{name}"))(file, name))
            for name in (IMAGE, "run")
        ]
    ),
    "virtual in the file": in_file(
        lambda file: [
            (file.move(name, f"camera/{name}"), virtual_of(file, name, f"camera/{name}")) for name in (IMAGE, "run")
        ]
    ),
    "labels of a byte": partial(change, stored(dtype="i1"), PEAKS_LABEL),
    "labels that numbers name": partial(
        change, stored(dtype=h5py.enum_dtype({"none": 0, "t0": 1, "t0 t1": 2, "t0 t1 t2": 3}, "i1")), PEAKS_LABEL
    ),
    **{
        f"numbers {kind}": partial(all_at_once, how=stored(dtype=kind), names=(ENERGY, WAVEFORMS, TARGET))
        for kind in ("f2", "f4", ">f4", ">f8", "g")
    },
    **{f"energy {kind}": partial(change, stored(dtype=kind), ENERGY) for kind in ("i4", ">u2")},
    "no waveforms, no energy": in_file(lambda file: (file.pop(WAVEFORMS), file.pop(ENERGY), file.pop("acq.t0.pos"))),
    "two names": in_file(lambda file: linked(file["acq.t0.pos"])(file, TARGET)),
    "unknown datasets": in_file(extras),
    "attributes": in_file(
        lambda file: [place.attrs.update(unit="ADU", v=[1], none=h5py.Empty("i")) for place in (file, file[IMAGE])]
    ),
    "user block": lambda path: (
        in_newest_format(path, userblock_size=512, libver="earliest"),
        patch(b"r70", 0, path),
    ),
    "libver latest": partial(in_newest_format, libver="latest"),
    "libver v108": partial(in_newest_format, libver="v108"),
    "checksums": in_newest_format,
    "creation order": partial(in_newest_format, track_order=True),
    "pages": partial(in_newest_format, fs_strategy="page", fs_page_size=4096),
    "small blocks": partial(in_newest_format, meta_block_size=64),
    "bytes after the end": longer,
    "link to the file": lambda path: (
        path.rename(path.with_name("data")),
        path.symlink_to("data"),
    ),
    "to be read only": lambda path: path.chmod(0o400),
}


@pytest.mark.parametrize("vary", HARMLESS.values(), ids=[name.replace(" ", "-") for name in HARMLESS])
def test_what_is_only_unusual_is_accepted_and_read_alike(judge, path, vary):
    as_it_was = judge.ask(read, path)
    vary(path)
    assert judge.ask(survey, path) == []
    found = judge.ask(read, path)
    assert same(found, as_it_was)


def test_a_file_without_shots_is_accepted(judge, path):
    with h5py.File(path, "r+") as file:
        for name in list(file):
            mapped(lambda values: values[:0])(file, name)
    assert judge.ask(survey, path) == []
    assert judge.ask(read, path)[IMAGE].shape == (0, *SHAPE)


def test_rows_that_were_not_written_count_where_the_writer_says_what_they_are(judge, path):
    for name, how in ((IMAGE, {"chunks": (1, *SHAPE), "fillvalue": 7}), (PEAKS_LABEL, {"fillvalue": -1})):
        change(partly(0, **how), name, path)
    assert judge.ask(survey, path) == []
    found = judge.ask(read, path)
    assert found[IMAGE].tolist() == np.full((ROWS, *SHAPE), 7).tolist()
    assert found[PEAKS_LABEL].tolist() == [-1] * ROWS


def compare_content(paths: list[Path]) -> int:
    data = DataParams(raw="raw", frame_shape=SHAPE, bad_files="skip")
    return raw_files.require_same_content(raw_files.survey(Listing(paths[0].parent, tuple(paths)), data, prepare()))


def test_unknown_datasets_do_not_disturb_the_comparison_of_shots_that_stand_twice(judge, path):
    in_file(extras)(path)
    again = path.with_name("again.h5")
    again.write_bytes(path.read_bytes())
    assert judge.ask(compare_content, [path, again]) == ROWS
