"""Columns of the matrices of neighbouring input capsules, for loops whose vectors hold inputs.

Weights W [I, R, P] have what belongs to one input capsule side by side. Where a vector is to hold
one entry of `lanes` input capsules, eight columns at a time are read as rows, and transposed in
registers; the gradient of W is written by the way back. Inputs beyond the last stand for the last.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from torchcaps.kernels.cpu_vectors import Generator, LanesType, Vector, in_llvm

__all__ = ["load_column", "load_eight_columns", "store_column", "store_eight_columns"]

EIGHT = 8
INT = ir.IntType(64)


def addresses(context: Any, builder: Any, kind: Any, arguments: Sequence[Any], count: int) -> Any:
    """Of w[min(i + lane, I − 1), r, p] for every lane, from the arguments (w, i, r, p)."""
    array, i, r, p = arguments
    block = context.make_array(kind)(context, builder, array)
    inputs, rows, columns = cgutils.unpack_tuple(builder, block.shape)
    place = builder.add(builder.mul(r, columns), p)
    size, last = builder.mul(rows, columns), builder.sub(inputs, ir.Constant(INT, 1))
    found = []
    for lane in range(count):
        own = builder.add(i, ir.Constant(INT, lane))
        own = builder.select(builder.icmp_signed("<", own, last), own, last)
        found.append(builder.gep(block.data, [builder.add(builder.mul(own, size), place)]))
    return found


def transposed(builder: Any, vectors: Sequence[Any]) -> list[Any]:
    """Eight vectors whose lanes are n·8 + l, vector k: the same with k and l exchanged."""
    vectors = list(vectors)
    width = vectors[0].type.count
    for bit in (1, 2, 4):
        low = [lane if not lane & bit else width + (lane ^ bit) for lane in range(width)]
        high = [lane | bit if not lane & bit else width + lane for lane in range(width)]
        for k in range(EIGHT):
            if not k & bit:
                a, b = vectors[k], vectors[k | bit]
                vectors[k] = shuffled(builder, a, b, low)
                vectors[k | bit] = shuffled(builder, a, b, high)
    return vectors


def shuffled(builder: Any, a: Any, b: Any, lanes: Sequence[int]) -> Any:
    """These lanes of a, and of b after them."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))
    return builder.shuffle_vector(a, b, mask)


def row_type(vector: Vector) -> ir.VectorType:
    """Eight numbers of a row."""
    return ir.VectorType(in_llvm(vector).element, EIGHT)


@intrinsic
def load_eight_columns(
    _: Any, lanes: LanesType, w: types.Array, i: Any, r: Any, p: Any
) -> tuple[Any, Generator]:
    """The vectors w[i:i + lanes, r, p + k] for k in 0 … 7, a tuple; `lanes` is 8 or 16."""
    vector = Vector(w.dtype, lanes.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        of_lanes = addresses(context, builder, w, arguments[1:], lanes.count)
        kind, align = row_type(vector), w.dtype.bitwidth // 8
        rows = [
            builder.load(builder.bitcast(place, kind.as_pointer()), align=align)
            for place in of_lanes
        ]
        if lanes.count > EIGHT:  # the rows of lanes l and l + 8 side by side
            both = range(2 * EIGHT)
            rows = [shuffled(builder, *pair, both) for pair in zip(rows[:EIGHT], rows[EIGHT:])]
        columns = transposed(builder, rows)
        return context.make_tuple(builder, signature.return_type, columns)

    return types.UniTuple(vector, EIGHT)(lanes, w, i, r, p), generate


@intrinsic
def store_eight_columns(
    _: Any, w: types.Array, i: Any, r: Any, p: Any, vectors: types.UniTuple
) -> tuple[Any, Generator]:
    """w[i:i + lanes, r, p + k] = vectors[k] for k in 0 … 7, the lanes beyond the last input left
    out."""
    lanes = vectors.dtype.lanes

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        of_lanes = addresses(context, builder, w, arguments[:4], lanes)
        kind, align = row_type(vectors.dtype), w.dtype.bitwidth // 8
        rows = transposed(builder, cgutils.unpack_tuple(builder, arguments[4]))
        if lanes > EIGHT:
            halves = (range(EIGHT), range(EIGHT, 2 * EIGHT))
            rows = [shuffled(builder, row, row, half) for half in halves for row in rows]
        # The last lane first: those that stand for the last input are overwritten by its own.
        for place, row in reversed(list(zip(of_lanes, rows))):
            builder.store(row, builder.bitcast(place, kind.as_pointer()), align=align)
        return context.get_dummy_value()

    return types.none(w, i, r, p, vectors), generate


@intrinsic
def load_column(
    _: Any, lanes: LanesType, w: types.Array, i: Any, r: Any, p: Any
) -> tuple[Any, Generator]:
    """The vector w[i:i + lanes, r, p]."""
    vector = Vector(w.dtype, lanes.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = ir.Constant(in_llvm(vector), ir.Undefined)
        of_lanes = addresses(context, builder, w, arguments[1:], lanes.count)
        for lane, place in enumerate(of_lanes):
            here = ir.Constant(ir.IntType(32), lane)
            value = builder.insert_element(value, builder.load(place), here)
        return value

    return vector(lanes, w, i, r, p), generate


@intrinsic
def store_column(
    _: Any, w: types.Array, i: Any, r: Any, p: Any, vector: Vector
) -> tuple[Any, Generator]:
    """w[i:i + lanes, r, p] = vector, the lanes beyond the last input left out."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        of_lanes = addresses(context, builder, w, arguments[:4], vector.lanes)
        for lane, place in reversed(list(enumerate(of_lanes))):
            here = ir.Constant(ir.IntType(32), lane)
            builder.store(builder.extract_element(arguments[4], here), place)
        return context.get_dummy_value()

    return types.none(w, i, r, p, vector), generate
