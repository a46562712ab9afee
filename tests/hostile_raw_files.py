"""Two hundred raw files that are meant to harm: each is made of a good one, by plain h5py, its low-level calls, or bytes.

Datasets that declare terabytes, chunks that unpack to gigabytes, filters whose headers lie, links in circles and out of the
file, types that numpy lacks, names of a megabyte, hundreds of thousands of objects, bytes that are cut or changed, and what
is no file. Sizes are declared, never written: a file takes a few megabytes at most.
"""

import os
import socket
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.conftest import SHAPE
from xtcav_ml.config.schema import IMAGE, PEAKS_LABEL

Spoil = Callable[[Path], object]
Change = Callable[[h5py.File], object]

ROWS = 6
TIB = 2**40
MB = 2**20
FRAME = 2 * SHAPE[0] * SHAPE[1]  # bytes
DEFLATE, SHUFFLE, FLETCHER, SZIP, NBIT, SCALEOFFSET, LZF, BLOSC, LZ4, BITSHUFFLE, ZSTD = (
    *range(1, 7),
    32000,
    32001,
    32004,
    32008,
    32015,
)
PACKERS = {IMAGE: (LZF, BLOSC, LZ4, ZSTD, 32018, 32026, 32033, NBIT, SCALEOFFSET)} | dict.fromkeys(
    (PEAKS_LABEL, "run"), (LZF, BLOSC, LZ4, ZSTD, 32026, NBIT, SCALEOFFSET)
)
"""Filters that h5py and hdf5plugin have and that HDF5 lets a file name with whatever numbers."""
NOISE = bytes(np.random.default_rng(0).integers(0, 256, 4096, np.uint8))


def zeros(size: int) -> bytes:
    """Return a zlib stream that unpacks to `size` zero bytes, whole megabytes; made without packing all of them."""
    packer = zlib.compressobj(9)
    head, block = packer.compress(bytes(MB)) + packer.flush(zlib.Z_FULL_FLUSH), b""
    block = packer.compress(bytes(MB)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = struct.pack(">HH", size % 65521, 1)  # Adler-32 of zeros
    return head + block * (size // MB - 1) + b"\x03\x00" + checksum


def nested(levels: int) -> bytes:
    """Return zeros of 200 MB in zlib streams within one another."""
    packed = zeros(200 * MB)
    for _ in range(levels - 1):
        packed = zlib.compress(packed, 9)
    return packed


# Of a dataset


def change(function: Change) -> Spoil:
    def spoil(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            function(file)

    return spoil


def put(name: str, **how: Any) -> Spoil:
    """Create a dataset anew, with these arguments of create_dataset."""

    def make(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file.create_dataset(name, **how)

    return change(make)


def packed(
    name: str, payload: bytes, filters: Sequence[tuple[int, tuple[int, ...]]], *, rows: int = 1, mask: int = 0
) -> Spoil:
    """Create a dataset in chunks of `rows` shots, the first of which are these bytes, to go through these filters."""

    def make(file: h5py.File) -> None:
        row_shape = SHAPE if name == IMAGE else ()
        if name in file:
            del file[name]
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((rows, *row_shape))
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        for code, values in filters:
            properties.set_filter(code, h5py.h5z.FLAG_OPTIONAL, values)
        kind = h5py.h5t.NATIVE_INT16 if name == IMAGE else h5py.h5t.NATIVE_INT64
        shape = (ROWS, *row_shape)
        space = h5py.h5s.create_simple(shape, (h5py.h5s.UNLIMITED, *row_shape))
        dataset = h5py.h5d.create(file.id, name.encode(), kind, space, properties)
        for first in range(0, ROWS, rows):
            dataset.write_direct_chunk((first, *(0 for _ in row_shape)), payload, mask)

    return change(make)


def gzipped(name: str, megabytes: int) -> Spoil:
    """One chunk of so many megabytes, of zeros, packed to a thousandth."""
    row = FRAME if name == IMAGE else 8
    rows = megabytes * MB // row
    return packed(name, zeros(megabytes * MB), [(DEFLATE, (1,))], rows=rows)


def virtual(name: str, source: str, inner: str | None = None, shape: tuple[int, ...] | None = None) -> Spoil:
    def make(file: h5py.File) -> None:
        full = (ROWS, *SHAPE) if name == IMAGE else (ROWS,)
        layout = h5py.VirtualLayout(shape or full, "i2" if name == IMAGE else "i8")
        layout[:] = h5py.VirtualSource(source, inner or name, shape or full)
        del file[name]
        file.create_virtual_dataset(name, layout)

    return change(make)


def typed(name: str, kind: h5py.h5t.TypeID, shape: tuple[int, ...] = (ROWS,)) -> Spoil:
    """Create a dataset of a type that h5py has no word for, never written."""

    def make(file: h5py.File) -> None:
        if name in file:
            del file[name]
        h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape))

    return change(make)


def deep_type(levels: int) -> h5py.h5t.TypeID:
    """Return a compound type within compound types."""
    kind = h5py.h5t.NATIVE_INT64
    for _ in range(levels):
        outer = h5py.h5t.create(h5py.h5t.COMPOUND, 8)
        outer.insert(b"a", 0, kind)
        kind = outer
    return kind


def wide_type(fields: int) -> h5py.h5t.TypeID:
    kind = h5py.h5t.create(h5py.h5t.COMPOUND, 8 * fields)
    for number in range(fields):
        kind.insert(f"{number}".encode(), 8 * number, h5py.h5t.NATIVE_INT64)
    return kind


def sized(size: int) -> h5py.h5t.TypeID:
    """Return an opaque type of so many bytes."""
    kind = h5py.h5t.create(h5py.h5t.OPAQUE, size)
    kind.set_tag(b"x")
    return kind


def text_type(size: int) -> h5py.h5t.TypeID:
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(size)
    return kind


def precise(bits: int, offset: int) -> h5py.h5t.TypeID:
    kind = h5py.h5t.STD_I64LE.copy()
    kind.set_precision(bits)
    kind.set_offset(offset)
    return kind


def floating() -> h5py.h5t.TypeID:
    """Return a floating-point type whose exponent takes all but one bit."""
    kind = h5py.h5t.IEEE_F64LE.copy()
    kind.set_fields(63, 1, 62, 0, 1)
    return kind


def link(name: str, target: Any) -> Spoil:
    def make(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = target

    return change(make)


def strings_without_end(path: Path) -> None:
    """Labels of variable strings, of which each claims four gigabytes."""
    put(PEAKS_LABEL, data=["mine"] * ROWS, dtype=h5py.string_dtype())(path)
    content = bytearray(path.read_bytes())
    at = content.find(struct.pack("<I", 4) + b"", content.find(b"GCOL"))
    with h5py.File(path) as file:
        start = file[PEAKS_LABEL].id.get_offset()
    for row in range(ROWS):
        struct.pack_into("<I", content, start + 16 * row, 2**32 - 1)
    assert at
    path.write_bytes(content)


# Of many objects


def many(count: int, **how: Any) -> Spoil:
    """Give the root so many names of one dataset."""

    def spoil(path: Path) -> None:
        with h5py.File(path, "r+", **how) as file:
            group = file.create_group("many")
            one = group.create_dataset("first", data=1)
            for number in range(count):
                h5py.h5o.link(one.id, group.id, f"{number}".encode())

    return spoil


def groups(count: int) -> Spoil:
    """Put so many empty groups beside one another."""

    def make(file: h5py.File) -> None:
        inner = file.create_group("many")
        for number in range(count):
            h5py.h5g.create(inner.id, f"{number}".encode())

    return change(make)


def nest(levels: int) -> Spoil:
    """Put groups into one another."""

    def make(file: h5py.File) -> None:
        group = file.id
        for _ in range(levels):
            group = h5py.h5g.create(group, b"g")

    return change(make)


def attributes(count: int, size: int, name: str = "/") -> Spoil:
    def make(file: h5py.File) -> None:
        for number in range(count):
            file[name].attrs.create(f"a{number}", np.zeros(size, np.uint8))

    return change(make)


def attribute(name: str, value: Any = None, place: str = "/", **how: Any) -> Spoil:
    return change(lambda file: file[place].attrs.create(name, value, **how))


# Of bytes


def newest(path: Path) -> None:
    """Write the file again in HDF5's newest format, in which metadata have checksums."""
    other = path.with_suffix(".new")
    with h5py.File(path) as old, h5py.File(other, "w", libver="latest") as new:
        for name in old:
            new.create_dataset(name, data=old[name][:], chunks=True)
    other.replace(path)


def patch(offset: int | str, data: bytes, shift: int = 0) -> Spoil:
    """Write bytes at an offset, or at that of the object header of a dataset."""

    def spoil(path: Path) -> None:
        at = header(path, offset) if isinstance(offset, str) else offset
        with path.open("r+b") as file:
            file.seek(at + shift)
            file.write(data)

    return spoil


def header(path: Path, name: str) -> int:
    with h5py.File(path) as file:
        return int(h5py.h5o.get_info(file[name].id).addr)


def found(signature: bytes, data: bytes, shift: int = 0, number: int = 0) -> Spoil:
    """Write bytes behind one of the places where a signature stands."""

    def spoil(path: Path) -> None:
        content, at = path.read_bytes(), -1
        for _ in range(number + 1):
            at = content.index(signature, at + 1)
        patch(at + shift, data)(path)

    return spoil


def cut(part: float) -> Spoil:
    return lambda path: os.truncate(path, int(path.stat().st_size * part))


def flipped(seed: int, *, new: bool = False, bits: int = 1) -> Spoil:
    """Flip bits of what is no value: the headers of the root, its names and of all datasets."""

    def spoil(path: Path) -> None:
        if new:
            newest(path)
        draw = np.random.default_rng(seed)
        with h5py.File(path) as file:
            places = [0, 0, 96, 680, 800, *(h5py.h5o.get_info(file[name].id).addr for name in file)]
        content = bytearray(path.read_bytes())
        for _ in range(bits):
            content[draw.choice(places) + draw.integers(96 if new else 272)] ^= 1 << draw.integers(8)
        path.write_bytes(content)

    return spoil


def continued(path: Path) -> None:
    """Let the header of the labels continue in itself, without end."""
    start = header(path, PEAKS_LABEL)
    content = path.read_bytes()
    count, size = struct.unpack_from("<H", content, start + 2)[0], struct.unpack_from("<I", content, start + 8)[0]
    message = struct.pack("<HHBxxxQQ", 16, 16, 0, start + 16, size)
    patch(start + 2, struct.pack("<H", count + 1) + content[start + 4 : start + 16] + message)(path)


def chained(path: Path) -> None:
    """Two hundred thousand continuations of a header, one after the other."""
    start, end, count = header(path, PEAKS_LABEL), path.stat().st_size, 65_000
    links = b"".join(struct.pack("<HHBxxxQQ", 16, 16, 0, end + 24 * (number + 1), 24) for number in range(count))
    with path.open("ab") as file:
        file.write(links + struct.pack("<HHBxxx", 0, 16, 0) + bytes(16))
    patch(8, path.read_bytes()[8:40] + struct.pack("<QQ", 2**64 - 1, path.stat().st_size))(path)
    patch(start + 2, struct.pack("<H", count + 2))(path)
    patch(start + 16, links[:16] + struct.pack("<Q", 24))(path)


# Instead of the file


def instead(make: Spoil) -> Spoil:
    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # such a path has a hundred letters at most
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def sparse(start: bytes) -> Spoil:
    def spoil(path: Path) -> None:
        path.write_bytes(start)
        os.truncate(path, 8 * TIB)

    return instead(spoil)


def longer(path: Path) -> None:
    os.truncate(path, 8 * TIB)


IMAGES = (ROWS, *SHAPE)
COLUMN = {"dtype": "i8", "chunks": (ROWS,)}

DECLARED: dict[str, Spoil] = {
    "image of 8 TiB": put(IMAGE, shape=(8 * TIB // FRAME, *SHAPE), dtype="i2"),
    "image of 8 TiB in chunks": put(IMAGE, shape=(8 * TIB // FRAME, *SHAPE), dtype="i2", chunks=(1, *SHAPE)),
    "image of 2**61 rows": put(IMAGE, shape=(2**53, *SHAPE), dtype="i1", chunks=(1, *SHAPE)),
    "image of huge frames": put(IMAGE, shape=(ROWS, 2**20, 2**21), dtype="i2"),
    "image of a huge type": typed(IMAGE, sized(2**31), IMAGES),
    "image of no rows": put(IMAGE, shape=(0, *SHAPE), dtype="i2"),
    "image of no shape": put(IMAGE, data=h5py.Empty("i2")),
    "image of 32 axes": put(IMAGE, shape=(1,) * 29 + IMAGES, dtype="i2"),
    "labels of 8 TiB": put(PEAKS_LABEL, shape=(TIB,), dtype="i8"),
    "labels of 8 TiB in chunks": put(PEAKS_LABEL, shape=(TIB,), dtype="i8", chunks=(2**20,)),
    "labels of 8 TiB with a fill value": put(PEAKS_LABEL, shape=(TIB,), dtype="i8", chunks=(1,), fillvalue=7),
    "labels of a million rows": put(PEAKS_LABEL, shape=(10**6,), dtype="i8", chunks=(1,)),
    "run of 8 TiB": put("run", shape=(TIB,), dtype="i8", chunks=(1000,)),
    "key of 8 TiB": put("evt.seconds", shape=(TIB,), dtype="i8", fillvalue=3),
    "all keys of 8 TiB": lambda path: [
        put(name, shape=(TIB,), dtype="i8", chunks=(10**6,))(path)
        for name in ("evt.seconds", "evt.nanoseconds", "evt.fiducials", "run", "run.index", PEAKS_LABEL)
    ],
    "unasked of 8 TiB": put("more", shape=(TIB,), dtype="f8"),
    "unasked of 8 TiB in chunks": put("more", shape=(TIB,), dtype="f8", chunks=(2**20,)),
    "unasked of 8 TiB that a name asks for": put("acq.peaksLabel2", shape=(8, TIB), dtype="i8"),
}

CHUNKS: dict[str, Spoil] = {
    f"chunk of {megabytes} MB of {name}": gzipped(name, megabytes)
    for megabytes in (14, 60, 200, 250, 900, 4000)
    for name in (IMAGE, PEAKS_LABEL, "more")
} | {
    "chunk that was never written": put(
        IMAGE, shape=IMAGES, dtype="i2", chunks=(2**21, *SHAPE), maxshape=(None, *SHAPE)
    ),
    "chunks of one pixel": put(IMAGE, data=np.ones(IMAGES, np.int16), chunks=(1, 1, 1)),
    "a chunk for each of 3,000 rows": put(PEAKS_LABEL, data=np.ones(3000, int), chunks=(1,)),
}

FILTERS: dict[str, Spoil] = {
    **{
        f"zeros of {megabytes} MB in a chunk of {name}": packed(
            name, zeros(megabytes * MB), [(DEFLATE, (1,))], rows=1 if name == IMAGE else ROWS
        )
        for megabytes, names in ((1, (IMAGE, PEAKS_LABEL, "run")), (50, (IMAGE, PEAKS_LABEL)), (1000, (IMAGE,)))
        for name in names
    },
    **{
        f"{levels} gzips of {name}": packed(name, nested(levels), [(DEFLATE, (1,))] * levels)
        for levels in (2, 3, 32)
        for name in (IMAGE, "run")
    },
    "32 checksums": packed(IMAGE, bytes(FRAME), [(FLETCHER, ())] * 32),
    "32 shuffles": packed(IMAGE, bytes(FRAME), [(SHUFFLE, (2,))] * 32),
    "shuffle of a huge element": packed(IMAGE, bytes(FRAME), [(SHUFFLE, (2**32 - 1,))]),
    "shuffle of elements of 0": packed("run", bytes(8), [(SHUFFLE, (0,))]),
    **{
        f"filter {code} of {name}, {words}": packed(name, payload, [(code, values)])
        for name in (IMAGE, "run")
        for code in PACKERS[name]
        for words, values, payload in (
            ("noise", (2, 2, 2, 0, 5, 1, 1, 2), NOISE),
            ("ones", (2**32 - 1,) * 8, b"\xff" * 400),
            ("zeros", (0,) * 8, bytes(400)),
        )
    },
    **{f"szip of {name}": packed(name, bytes(400), [(SZIP, (0,) * 8)]) for name in (IMAGE, PEAKS_LABEL, "run")},
    **{f"bitshuffle of {name}": packed(name, bytes(400), [(BITSHUFFLE, (0,) * 8)]) for name in (IMAGE, "run")},
    "lz4 of 8 TiB": packed(IMAGE, struct.pack(">QI", 8 * TIB, 2**30) + NOISE, [(LZ4, (2**30,))]),
    "lz4 of negative blocks": packed(IMAGE, struct.pack(">QII", FRAME, 2**31, 2**31) + NOISE, [(LZ4, (0,))]),
    "lz4 of blocks beyond the end": packed(IMAGE, struct.pack(">QII", FRAME, 100, 2**30) + NOISE, [(LZ4, (0,))]),
    "bitshuffle of 8 TiB": packed(IMAGE, struct.pack(">QI", 8 * TIB, 8192) + NOISE, [(BITSHUFFLE, (0, 4, 2, 0, 2))]),
    "bitshuffle of blocks beyond the end": packed(
        IMAGE, struct.pack(">QII", FRAME, 64, 2**31 - 1) + NOISE, [(BITSHUFFLE, (0, 4, 2, 0, 2))]
    ),
    "blosc of 2 GiB": packed(
        IMAGE, struct.pack("<BBBBiii", 2, 1, 2, 2, 2**31 - 1, 2**20, 4112) + NOISE, [(BLOSC, (2, 2, 2, 960, 5, 1, 0))]
    ),
    "blosc of negative sizes": packed(
        IMAGE, struct.pack("<BBBBiii", 2, 1, 2, 2, -1, -1, -1) + NOISE, [(BLOSC, (2, 2, 2, 960, 5, 1, 0))]
    ),
    "zstd of 8 TiB": packed(IMAGE, b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 8 * TIB) + NOISE, [(ZSTD, (3,))]),
    "zstd of 900 MB": packed(IMAGE, b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 900 * MB) + NOISE, [(ZSTD, (3,))]),
    "lzf of 4 GB": packed("run", NOISE, [(LZF, (4, 0, 2**32 - 1))]),
    "a filter nobody has": packed(IMAGE, NOISE, [(32700, ())]),
    "filters skipped by their mask": packed(IMAGE, NOISE, [(DEFLATE, (1,)), (LZ4, ())], mask=2**32 - 1),
    "filter of 500 values": packed(IMAGE, NOISE, [(LZ4, tuple(range(500)))]),
}

LINKS: dict[str, Spoil] = {
    **{
        f"{kind} of {name}": link(name, target)
        for name in (IMAGE, PEAKS_LABEL, "a/b")
        for kind, target in {
            "link to itself": h5py.SoftLink(f"/{name}"),
            "link to zeros": h5py.ExternalLink("/dev/zero", "/x"),
            "link to passwords": h5py.ExternalLink("/etc/passwd", "/x"),
            "link to a pipe": h5py.ExternalLink("pipe", "/x"),
            "link to its file": h5py.ExternalLink("hostile.h5", f"/{name}"),
            "link with a long name": h5py.ExternalLink("a" * 60_000, "b" * 5000),
            "link with a line break": h5py.ExternalLink("a\n\x1b[2J", "\r\n"),
        }.items()
    },
    "links in a circle": lambda path: [
        link(name, h5py.SoftLink(other))(path) for name, other in ((IMAGE, "/x"), ("x", "/y"), ("y", f"/{IMAGE}"))
    ],
    "a thousand links": lambda path: [
        link(IMAGE, h5py.SoftLink("/l0"))(path),
        change(lambda file: [file.__setitem__(f"l{i}", h5py.SoftLink(f"/l{i + 1}")) for i in range(1000)])(path),
    ],
    "links that grow": lambda path: link(IMAGE, h5py.SoftLink(f"{IMAGE}/" * 1000))(path),
    "groups in a circle": change(
        lambda file: (file.create_group("g"), file.__setitem__("g/g", file["/"]), file.__setitem__("g/h", file["g"]))
    ),
    "virtual of itself": virtual(IMAGE, "."),
    "virtual of its file": virtual(IMAGE, "hostile.h5"),
    "virtual of one another": lambda path: [
        virtual(IMAGE, ".", "other")(path),
        link("other", h5py.SoftLink(IMAGE))(path),
    ],
    "virtual of zeros": virtual(PEAKS_LABEL, "/dev/zero"),
    "virtual of a pipe": virtual(IMAGE, "pipe"),
    "virtual of passwords": virtual(IMAGE, "/etc/passwd"),
    "virtual of 8 TiB": virtual(IMAGE, ".", "more", (8 * TIB // FRAME, *SHAPE)),
    "raw values of a pipe": put(IMAGE, shape=IMAGES, dtype="i2", external=[("pipe", 0, h5py.h5f.UNLIMITED)]),
    "raw values of zeros": put(IMAGE, shape=IMAGES, dtype="i2", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)]),
    "raw values of 1,000 files": put(
        IMAGE,
        shape=IMAGES,
        dtype="i2",
        external=[("/etc/passwd", number, 1) for number in range(1000)] + [("x", 0, 9000)],
    ),
}

TYPES: dict[str, Spoil] = {
    f"{kind} of {name}": typed(name, made, IMAGES if name == IMAGE else (ROWS,))
    for name in (IMAGE, PEAKS_LABEL, "more")
    for kind, made in {
        "500 compounds in one another": deep_type(500),
        "5,000 fields": wide_type(1000),
        "opaque type of a GB": sized(2**30),
        "texts of 2 GB": text_type(2**31 - 1),
        "references": h5py.h5t.STD_REF_OBJ,
        "regions": h5py.h5t.STD_REF_DSETREG,
        "numbers of one bit": precise(1, 63),
        "floats of one bit": floating(),
        "arrays of a GB": h5py.h5t.array_create(h5py.h5t.NATIVE_INT64, (2**27,)),
        "lists": h5py.h5t.vlen_create(h5py.h5t.NATIVE_INT64),
        "lists of lists": h5py.h5t.vlen_create(h5py.h5t.vlen_create(h5py.h5t.NATIVE_INT64)),
        "times": h5py.h5t.UNIX_D64LE,
        "bits": h5py.h5t.STD_B64LE,
    }.items()
} | {
    "texts that claim gigabytes": strings_without_end,
    "enumeration of 1,000 names": put(
        PEAKS_LABEL, shape=(ROWS,), dtype=h5py.enum_dtype({f"n{number}": number for number in range(1000)}, "i8")
    ),
    "enumeration with a line break": put(
        PEAKS_LABEL, data=np.zeros(ROWS, "i8"), dtype=h5py.enum_dtype({"\n\x1b[2J": 0}, "i8")
    ),
}

MANY: dict[str, Spoil] = {
    "100,000 names": many(100_000),
    "20,000 names in the newest format": many(20_000, libver="latest"),
    "20,000 groups": groups(20_000),
    "3,000 groups in one another": nest(3000),
    "attribute of 64 kB": attribute("a", np.zeros(64_000, np.uint8)),
    "300 attributes of 8 kB": attributes(300, 8000),
    "1,000 attributes of the image": attributes(1000, 1, IMAGE),
    "mark of predictions of 60 kB": attribute("model_sha256", np.zeros(60_000, np.uint8)),
    "mark of predictions of nothing": attribute("model_sha256", h5py.Empty("i2")),
    "name with a line break": put("a\nb\x1b[2J", data=1),
    "name of 60 kB": put("a" * 60_000, data=1),
    "name of a megabyte": lambda path: (newest(path), put("a" * MB, data=1)(path)),
    "name that is no text": change(lambda file: h5py.h5g.create(file.id, b"\xff\xfe\x80")),
    "name of a hundred lines": change(lambda file: file.move(IMAGE, "\n" * 100)),
    "name of a parent": change(lambda file: file.id.links.create_soft(b"..", b"/")),
}

BYTES: dict[str, Spoil] = {
    **{f"cut at {part}": cut(part) for part in (0.0, 1e-5, 1e-4, 5e-4, 1e-3, 0.002, 0.005, 0.01, 0.1, 0.5, 0.9, 0.999)},
    **{f"superblock of version {version}": patch(8, bytes([version])) for version in (1, 2, 3, 4, 255)},
    **{f"offsets of {size} bytes": patch(13, bytes([size, size])) for size in (0, 1, 4, 16, 255)},
    **{
        f"{words} at {address:#x}": patch(offset, struct.pack("<Q", address))
        for words, offset in (
            ("base", 24),
            ("end", 40),
            ("driver", 48),
            ("root", 64),
            ("root's index", 80),
            ("names", 88),
        )
        for address in (0, 64, 2**62, 2**64 - 1)
    },
    **{
        f"index that leads {words}": found(b"TREE", struct.pack("<Q", address), shift, number)
        for words, address, shift in (
            ("to the left beyond the end", 2**40, 8),
            ("down beyond the end", 2**40, 32),
            ("down to the root", 96, 32),
            ("down to the start", 0, 32),
        )
        for number in (0,)
    },
    "index of itself": lambda path: found(b"TREE", struct.pack("<Q", path.read_bytes().index(b"TREE")), 32)(path),
    "index of 255 levels": found(b"TREE", b"\xff", 5),
    "index of 65,535 entries": found(b"TREE", b"\xff\xff", 6),
    "index of chunks of itself": lambda path: (
        put(IMAGE, data=np.ones(IMAGES, "i2"), chunks=(1, *SHAPE))(path),
        patch(path.read_bytes().index(b"TREE\x01"), b"\x01\x01")(path),
    ),
    "heap of names of 8 TiB": found(b"HEAP", struct.pack("<Q", 8 * TIB), 8),
    "heap with holes in a circle": found(b"HEAP", struct.pack("<Q", 0), 16),
    "node of 65,535 names": found(b"SNOD", b"\xff\xff", 6),
    "header that goes on in itself": continued,
    "header of 65,000 parts": chained,
    **{
        f"header of {name} is {data[:2].hex()}": patch(name, data)
        for name in (IMAGE, "run")
        for data in (b"\0", b"\xff" * 16, b"OHDR\x02\x3f" + NOISE[:60], b"\1\0\xff\xff", NOISE[:200])
    },
    **{f"flipped bit {seed}": flipped(seed) for seed in range(20)},
    **{f"flipped bit {seed} of the newest format": flipped(seed, new=True) for seed in range(6)},
    **{f"twenty flipped bits {seed}": flipped(seed, bits=20) for seed in range(6)},
    "nothing but a signature": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"),
    "noise behind a signature": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + NOISE),
    "zeros behind a signature": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(10**6)),
    "user's block of noise": lambda path: path.write_bytes(NOISE[:512] + path.read_bytes()),
    "a million bytes before it": lambda path: path.write_bytes(bytes(2**20) + path.read_bytes()),
    "two files in one": lambda path: path.write_bytes(path.read_bytes() * 2),
}

KINDS_OF_FILE: dict[str, Spoil] = {
    "pipe": instead(os.mkfifo),
    "socket": instead(listening),
    "zeros without end": instead(lambda path: path.symlink_to("/dev/zero")),
    "terminal": instead(lambda path: path.symlink_to("/dev/tty")),
    "memory": instead(lambda path: path.symlink_to("/dev/mem")),
    "folder": instead(Path.mkdir),
    "link to itself": instead(lambda path: path.symlink_to(path.name)),
    "link to nothing": instead(lambda path: path.symlink_to("nowhere")),
    "process": instead(lambda path: path.symlink_to("/proc/self/mem")),
    "empty": instead(Path.touch),
    "8 TiB of nothing": sparse(b""),
    "8 TiB behind a signature": sparse(b"\x89HDF\r\n\x1a\n"),
    "8 TiB behind a file": longer,
    "a text": lambda path: path.write_text("run,label\n70,1\n" * 1000),
}

FILES = {
    f"{words}": spoil
    for kind in (DECLARED, CHUNKS, FILTERS, LINKS, TYPES, MANY, BYTES, KINDS_OF_FILE)
    for words, spoil in kind.items()
}
