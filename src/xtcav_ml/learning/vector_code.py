"""Four loops of vector instructions, written in LLVM's language, for numba: any processor has the same bits.

A compiler may add the terms of a sum in another order, or round a product before it is added, as the processor suggests. Here
each number is a chain of fused multiply-adds in the order of the terms, whatever the length of the vectors.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numba
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

F = TypeVar("F")

LANES = 8
"""Numbers that all loops but `convolve` read and write at once."""

FLOAT, PLACE, INDEX = ir.FloatType(), ir.IntType(32), ir.IntType(64)


def compiled(function: F) -> F:
    """Return a function for others that numba compiles; `operations` caches what it makes of them. Nothing divides by 0."""
    options = {"nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy"}
    return numba.njit(**options)(function)  # type: ignore[no-any-return]


@intrinsic  # type: ignore[untyped-decorator]
def pointer(typing: Any, address: Any) -> Any:
    """Return an address as a pointer."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.uintp), write


def _registers(context: Any) -> tuple[int, int, int]:
    """Return lanes, channels and vectors whose sums fill the registers: 32 of 512 bits, or 16 of 256 bits and less."""
    return (16, 8, 3) if "+avx512f" in context.codegen().magic_tuple()[2] else (8, 4, 3)


class _Vectors:
    """Writes instructions on vectors of `lanes` numbers."""

    def __init__(self, builder: Any, lanes: int) -> None:
        self.builder, self.type = builder, ir.VectorType(FLOAT, lanes)
        name = f"llvm.fma.v{lanes}f32"
        self.fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(self.type, [self.type] * 3), name)
        self.first = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)

    def pointer(self, start: Any, index: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(start, [index]), self.type.as_pointer())

    def load(self, start: Any, index: Any) -> Any:
        return self.builder.load(self.pointer(start, index), align=4)

    def store(self, value: Any, start: Any, index: Any) -> None:
        self.builder.store(value, self.pointer(start, index), align=4)

    def everywhere(self, number: Any) -> Any:
        nothing = ir.Constant(ir.VectorType(number.type, self.type.count), ir.Undefined)
        vector = self.builder.insert_element(nothing, number, ir.IntType(32)(0))
        return self.builder.shuffle_vector(vector, nothing, self.first)

    def multiply_add(self, one: Any, other: Any, to: Any) -> Any:
        return self.builder.call(self.fma, [one, other, to])


def _loop(
    builder: Any, end: Any, step: int, initial: Sequence[Any], body: Callable[[Any, list[Any]], list[Any]]
) -> list[Any]:
    """Write a loop over 0, `step`, ... below `end`, which must be above 0, that carries values from turn to turn."""
    before, turn, after = builder.basic_block, builder.append_basic_block("turn"), builder.append_basic_block("after")
    builder.branch(turn)
    builder.position_at_end(turn)
    phis = [builder.phi(value.type) for value in (INDEX(0), *initial)]
    values = body(phis[0], phis[1:])
    following, end_of_turn = builder.add(phis[0], INDEX(step)), builder.basic_block
    for phi, first, last in zip(phis, (INDEX(0), *initial), (following, *values), strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(last, end_of_turn)
    builder.cbranch(builder.icmp_signed("<", following, end), turn, after)
    builder.position_at_end(after)
    return values


def _data(context: Any, builder: Any, signature: Any, arguments: Any, index: int) -> Any:
    return context.make_array(signature.args[index])(context, builder, arguments[index]).data


@intrinsic  # type: ignore[untyped-decorator]
def tile(typing: Any) -> Any:
    """Return the length and the number of the lines that `convolve` writes at once."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes, channels, vectors = _registers(context)
        return context.make_tuple(builder, signature.return_type, [INDEX(lanes * vectors), INDEX(channels)])

    return types.UniTuple(types.intp, 2)(), write


@intrinsic  # type: ignore[untyped-decorator]
def convolve(
    typing: Any,
    image: Any,
    start: Any,
    offsets: Any,
    taps: Any,
    weights: Any,
    kernel: Any,
    out: Any,
    at: Any,
    pitch: Any,
) -> Any:
    """Write out[at + pitch * c + n] = sum over t < taps of weights[kernel + channels * t + c] * image[start + offsets[t] + n].

    c and n go through the channels and the length of `tile`; terms are added in the order of t. Nothing is checked.
    """
    index = types.intp
    signature = types.void(image, index, offsets, index, weights, index, out, index, index)

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes, channels, vectors = _registers(context)
        vector = _Vectors(builder, lanes)
        image, offsets, weights, out = (_data(context, builder, signature, arguments, i) for i in (0, 2, 4, 6))
        _, start, _, taps, _, kernel, _, at, pitch = arguments

        def tap(t: Any, sums: list[Any]) -> list[Any]:
            origin = builder.add(start, builder.load(builder.gep(offsets, [t])))
            pixels = [vector.load(image, builder.add(origin, INDEX(lanes * j))) for j in range(vectors)]
            first = builder.add(kernel, builder.mul(t, INDEX(channels)))
            scales = [builder.load(builder.gep(weights, [builder.add(first, INDEX(c))])) for c in range(channels)]
            scales = [vector.everywhere(scale) for scale in scales]
            return [
                vector.multiply_add(pixels[i % vectors], scales[i // vectors], total) for i, total in enumerate(sums)
            ]

        sums = _loop(builder, taps, 1, [ir.Constant(vector.type, None)] * (channels * vectors), tap)
        for i, total in enumerate(sums):
            line = builder.add(at, builder.mul(pitch, INDEX(i // vectors)))
            vector.store(total, out, builder.add(line, INDEX(i % vectors * lanes)))
        return context.get_dummy_value()

    return signature, write


@intrinsic  # type: ignore[untyped-decorator]
def add_scaled(typing: Any, out: Any, at: Any, values: Any, start: Any, scale: Any, length: Any) -> Any:
    """Add scale * values[start + n] to out[at + n] for n < length, a multiple of LANES above 0. Nothing is checked."""
    signature = types.void(out, types.intp, values, types.intp, types.float32, types.intp)

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _Vectors(builder, LANES)
        out, values = (_data(context, builder, signature, arguments, i) for i in (0, 2))
        _, at, _, start, scale, length = arguments
        scales = vector.everywhere(scale)

        def some(n: Any, carried: list[Any]) -> list[Any]:
            here = builder.add(at, n)
            term = vector.load(values, builder.add(start, n))
            vector.store(vector.multiply_add(term, scales, vector.load(out, here)), out, here)
            return carried

        _loop(builder, length, LANES, [], some)
        return context.get_dummy_value()

    return signature, write


@intrinsic  # type: ignore[untyped-decorator]
def keep_larger(
    typing: Any,
    values: Any,
    start: Any,
    pitch: Any,
    count: Any,
    number: Any,
    most: Any,
    row_of: Any,
    at: Any,
    length: Any,
) -> Any:
    """Replace most[at + n] by the larger values[start + pitch * k + n], k < count, and row_of[at + n] by number + k.

    Of equal ones the first stays, and so does what is no number. n goes up to `length` and to a multiple of LANES. Nothing is
    checked. The rows are compared in registers: compilers make of a choice between memory and a new value a store under a mask,
    which takes some processors 20 cycles.
    """
    index = types.intp
    signature = types.void(values, index, index, index, types.int32, most, row_of, index, index)

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _Vectors(builder, LANES)
        values, most, row_of = (_data(context, builder, signature, arguments, i) for i in (0, 5, 6))
        _, start, pitch, count, number, _, _, at, length = arguments
        numbers = ir.VectorType(PLACE, LANES)

        def some(n: Any, carried: list[Any]) -> list[Any]:
            to, source = builder.add(at, n), builder.add(start, n)
            places = builder.bitcast(builder.gep(row_of, [to]), numbers.as_pointer())

            def row(k: Any, kept: list[Any]) -> list[Any]:
                new = vector.load(values, builder.add(source, builder.mul(pitch, k)))
                here = vector.everywhere(builder.add(number, builder.trunc(k, PLACE)))
                larger = builder.fcmp_ordered(">", new, kept[0])
                return [builder.select(larger, new, kept[0]), builder.select(larger, here, kept[1])]

            kept = _loop(builder, count, 1, [vector.load(most, to), builder.load(places, align=4)], row)
            vector.store(kept[0], most, to)
            builder.store(kept[1], places, align=4)
            return carried

        _loop(builder, length, LANES, [], some)
        return context.get_dummy_value()

    return signature, write


@intrinsic  # type: ignore[untyped-decorator]
def first_maximum(typing: Any, values: Any, places: Any, start: Any, count: Any) -> Any:
    """Return the largest of values[start : start + count] and its place; of equal ones the smallest place counts.

    `count` is above 0. LANES - 1 more are read. NaN is returned where all are.
    """
    signature = types.Tuple((types.float32, types.int32))(values, places, types.intp, types.intp)

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _Vectors(builder, LANES)
        values, places = (_data(context, builder, signature, arguments, i) for i in (0, 1))
        start, count = arguments[2:]
        numbers = ir.VectorType(PLACE, LANES)
        order = ir.Constant(numbers, list(range(LANES)))
        least = ir.Constant(vector.type, [float("-inf")] * LANES)
        last = ir.Constant(numbers, [2**31 - 1] * LANES)

        def chunk(n: Any) -> tuple[Any, Any]:
            left = vector.everywhere(builder.trunc(builder.sub(count, n), PLACE))
            there = builder.icmp_signed("<", order, left)
            at = builder.add(start, n)
            place = builder.load(builder.bitcast(builder.gep(places, [at]), numbers.as_pointer()), align=4)
            return builder.select(there, vector.load(values, at), least), builder.select(there, place, last)

        def better(one: Sequence[Any], other: Sequence[Any]) -> list[Any]:
            larger, equal = (builder.fcmp_ordered(sign, other[0], one[0]) for sign in (">", "=="))
            taken = builder.or_(larger, builder.and_(equal, builder.icmp_signed("<", other[1], one[1])))
            return [builder.select(taken, second, first) for first, second in zip(one, other, strict=True)]

        pair = _loop(builder, count, LANES, chunk(INDEX(0)), lambda n, pair: better(pair, chunk(n)))
        for step in (4, 2, 1):
            turned = ir.Constant(numbers, [(i + step) % LANES for i in range(LANES)])
            pair = better(pair, [builder.shuffle_vector(each, each, turned) for each in pair])
        found = [builder.extract_element(each, PLACE(0)) for each in pair]
        return context.make_tuple(builder, signature.return_type, found)

    return signature, write
