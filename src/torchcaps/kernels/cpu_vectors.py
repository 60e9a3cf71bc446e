"""Vectors of samples for the CPU kernel: what Numba lacks to keep them in registers.

A `Vector` holds the same quantity for `lanes` samples: as many as fill two registers of this
machine. LLVM maps it to whatever registers there are, so the loops of kernels say which values
stay in one, instead of hoping that the compiler finds out. Every operation takes a scalar wherever
it takes a vector, and means the same number for all samples.
"""

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import (
    NativeValue,
    intrinsic,
    models,
    register_model,
    typeof_impl,
    unbox,
)

__all__ = [
    "REGISTER_BYTES",
    "Lanes",
    "absolute",
    "add",
    "add_totals",
    "claim",
    "divide",
    "exp",
    "fma",
    "load",
    "maximum",
    "multiply",
    "nonzero",
    "square_root",
    "store",
    "subtract",
    "total",
    "zeros",
]

Generator = Callable[[Any, Any, Any, Any], Any]


def _register_bytes() -> int:
    features = get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx") else 16


# Bytes in a vector register of this machine. Asked for once: it takes 0.1 ms, and LLVM's lock, for
# which a process would wait for ever that was forked off while another thread held it.
REGISTER_BYTES = _register_bytes()


class Lanes:
    """How many samples a vector holds; a type to Numba, so that it compiles for this number."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._numba_type_ = LanesType(count)  # or Numba works it out at every call, 10 µs each


class LanesType(types.Type):  # type: ignore[misc]
    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(f"Lanes({count})")


@typeof_impl.register(Lanes)
def _(value: Lanes, _: Any) -> LanesType:
    return LanesType(value.count)


register_model(LanesType)(models.OpaqueModel)


@unbox(LanesType)
def _(_: Any, value: Any, c: Any) -> NativeValue:
    return NativeValue(c.context.get_dummy_value())


class Vector(types.Type):  # type: ignore[misc]
    def __init__(self, dtype: types.Float, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vector({dtype}, {lanes})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, in_llvm(vector))


def in_llvm(vector: Vector) -> ir.VectorType:
    element = ir.FloatType() if vector.dtype == types.float32 else ir.DoubleType()
    return ir.VectorType(element, vector.lanes)


def address_of_row(
    context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Vector
) -> Any:
    """The address of row `index` of an array [rows, lanes] of this Numba type."""
    start = context.make_array(kind)(context, builder, array).data
    offset = builder.mul(index, ir.Constant(ir.IntType(64), vector.lanes))
    return builder.bitcast(builder.gep(start, [offset]), in_llvm(vector).as_pointer())


@intrinsic
def load(_: Any, lanes: LanesType, array: types.Array, index: Any) -> tuple[Any, Generator]:
    """array[index], a row of `lanes` samples."""
    vector = Vector(array.dtype, lanes.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = address_of_row(context, builder, array, *arguments[1:], vector)
        return builder.load(address, align=array.dtype.bitwidth // 8)

    return vector(lanes, array, types.int64), generate


@intrinsic
def store(_: Any, array: types.Array, index: Any, vector: Vector) -> tuple[Any, Generator]:
    """array[index] = vector"""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = address_of_row(context, builder, array, *arguments[:2], vector)
        builder.store(arguments[2], address, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, types.int64, vector), generate


@intrinsic
def claim(_: Any, counter: types.Array) -> tuple[Any, Generator]:
    """counter[0]++ as one step that no other thread comes between; the value before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = context.make_array(counter)(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", address, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), generate


@intrinsic
def zeros(_: Any, lanes: LanesType, array: types.Array) -> tuple[Any, Generator]:
    """0 for every sample, in the dtype of `array`."""
    vector = Vector(array.dtype, lanes.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return constant(in_llvm(vector), 0.0)

    return vector(lanes, array), generate


def constant(kind: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(kind, [value] * kind.count)


def operation(count: int, emit: Callable[..., Any]) -> Any:
    """An intrinsic of `count` vectors or scalars, of which one at least is a vector."""

    def declare(operands: tuple[Any, ...]) -> tuple[Any, Generator]:
        vector = next(operand for operand in operands if isinstance(operand, Vector))

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = in_llvm(vector)
            values = []
            for operand, value in zip(signature.args, arguments):
                if not isinstance(operand, Vector):
                    value = context.cast(builder, value, operand, vector.dtype)
                    first = builder.insert_element(
                        ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
                    )
                    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), None)
                    value = builder.shuffle_vector(first, first, everywhere)
                values.append(value)
            return emit(builder, kind, *values)

        return vector(*operands), generate

    if count == 1:
        return intrinsic(lambda _, a: declare((a,)))
    if count == 2:
        return intrinsic(lambda _, a, b: declare((a, b)))
    return intrinsic(lambda _, a, b, c: declare((a, b, c)))


def of_llvm(name: str) -> Callable[..., Any]:
    """One of LLVM's functions of vectors."""

    def emit(builder: Any, kind: ir.VectorType, *values: Any) -> Any:
        bits = 32 if kind.element == ir.FloatType() else 64
        signature = ir.FunctionType(kind, [kind] * len(values))
        function = cgutils.get_or_insert_function(
            builder.module, signature, f"llvm.{name}.v{kind.count}f{bits}"
        )
        return builder.call(function, values)

    return emit


emit_fma = of_llvm("fma")


def emit_maximum(builder: Any, kind: ir.VectorType, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def emit_exp(builder: Any, kind: ir.VectorType, x: Any) -> Any:
    """2^k times the Taylor polynomial of what is left, |f| ≤ ln 2 / 2, to the last digit.

    The addition of 1.5·2^23 (2^52) rounds to a whole number and leaves it in the lowest bits, so
    that no conversion is needed, which for a NaN would be undefined.
    """
    single = kind.element == ir.FloatType()
    whole = ir.VectorType(ir.IntType(32 if single else 64), kind.count)
    mantissa, bias, lowest, degree = (23, 127, -87.0, 7) if single else (52, 1023, -708.0, 13)
    # ln 2 in two parts, the first so short that its products with k are exact.
    short = 0.693359375 if single else 0.693147180369123816
    ln2 = (short, -2.12194440e-4 if single else 1.90821492927058770e-10)
    rounder = constant(kind, 1.5 * 2**mantissa)
    vanishes = builder.fcmp_ordered("<", x, constant(kind, lowest))
    x = builder.select(vanishes, constant(kind, lowest), x)
    shifted = emit_fma(builder, kind, x, constant(kind, math.log2(math.e)), rounder)
    k = builder.fsub(shifted, rounder)
    f = emit_fma(builder, kind, k, constant(kind, -ln2[0]), x)
    f = emit_fma(builder, kind, k, constant(kind, -ln2[1]), f)
    power = constant(kind, 1 / math.factorial(degree))
    for n in reversed(range(degree)):
        power = emit_fma(builder, kind, power, f, constant(kind, 1 / math.factorial(n)))
    exponent = builder.add(builder.bitcast(shifted, whole), ir.Constant(whole, [bias] * kind.count))
    exponent = builder.shl(exponent, ir.Constant(whole, [mantissa] * kind.count))
    power = builder.fmul(power, builder.bitcast(exponent, kind))
    return builder.select(vanishes, constant(kind, 0.0), power)


def emit_nonzero(builder: Any, kind: ir.VectorType, x: Any) -> Any:
    return builder.select(builder.fcmp_ordered("==", x, constant(kind, 0)), constant(kind, 1), x)


add = operation(2, lambda builder, _, a, b: builder.fadd(a, b))
subtract = operation(2, lambda builder, _, a, b: builder.fsub(a, b))
multiply = operation(2, lambda builder, _, a, b: builder.fmul(a, b))
divide = operation(2, lambda builder, _, a, b: builder.fdiv(a, b))
fma = operation(3, emit_fma)  # a·b + c
maximum = operation(2, emit_maximum)  # b where either is a NaN
absolute = operation(1, of_llvm("fabs"))
square_root = operation(1, of_llvm("sqrt"))
nonzero = operation(1, emit_nonzero)  # 1 in place of 0
exp = operation(1, emit_exp)  # e^x for x ≤ 0; exactly 0 from −87 (float64: −708) down


def halves(builder: Any, vector: Any) -> Any:
    """The first half of a vector plus its second."""
    lanes = vector.type.count
    first, second = (
        builder.shuffle_vector(vector, vector, lane_numbers(range(start, start + lanes // 2)))
        for start in (0, lanes // 2)
    )
    return builder.fadd(first, second)


def neighbours(builder: Any, a: Any, b: Any) -> Any:
    """The sums of neighbouring lanes, those of a and then those of b."""
    lanes = a.type.count
    even, odd = (
        builder.shuffle_vector(a, b, lane_numbers(range(start, 2 * lanes, 2))) for start in (0, 1)
    )
    return builder.fadd(even, odd)


def lane_numbers(lanes: range) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))


@intrinsic
def total(_: Any, vector: Vector) -> tuple[Any, Generator]:
    """The sum over the samples."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (value,) = arguments
        while value.type.count > 1:
            value = halves(builder, value)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return vector.dtype(vector), generate


@intrinsic
def add_totals(
    _: Any, array: types.Array, r: Any, p: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any,
    g: Any, h: Any,
) -> tuple[Any, Generator]:  # fmt: skip
    """array[r, p:p+4] += totals of a, b, c, d;  array[r+1, p:p+4] += totals of e, f, g, h.

    Eight sums over the samples at once need half the steps of eight times `total`.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values = list(arguments[3:])
        while values[0].type.count > 4:
            values = [halves(builder, value) for value in values]
        while len(values) > 2:
            pairs = zip(values[::2], values[1::2])
            values = [neighbours(builder, *pair) for pair in pairs]
        block = context.make_array(array)(context, builder, arguments[0])
        columns = cgutils.unpack_tuple(builder, block.shape)[1]
        align = array.dtype.bitwidth // 8
        for line, sums in enumerate(values):
            row = builder.add(arguments[1], ir.Constant(ir.IntType(64), line))
            place = builder.add(builder.mul(row, columns), arguments[2])
            address = builder.gep(block.data, [place])
            address = builder.bitcast(address, sums.type.as_pointer())
            before = builder.load(address, align=align)
            builder.store(builder.fadd(before, sums), address, align=align)
        return context.get_dummy_value()

    return types.none(array, types.int64, types.int64, *[a] * 8), generate
