"""A loop on the threads of torch's own operations, which OpenMP holds.

For some milliseconds after an operation these threads wait for the next one, and keep their cores
busy. Any other thread that is woken meanwhile gets no core: it begins up to 5 ms late, which is as
long as a kernel takes. Torch's own threads begin at once. They run no Python, so that they need not
wait for its lock.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.compiler import Flags
from numba.extending import intrinsic

from torchcaps.kernels.compile_cache import compiled
from torchcaps.kernels.cpu_denormals import flushed

__all__ = ["has_team", "run_loop"]

ADDRESS = ir.IntType(8).as_pointer()
COUNT = ir.IntType(32)
OF_A_THREAD = ir.FunctionType(ir.VoidType(), [ADDRESS])
COPIED = 0x40  # Linux's flag PF_FORKNOEXEC
PARALLEL = ir.FunctionType(ir.VoidType(), [OF_A_THREAD.as_pointer(), ADDRESS, COUNT, COUNT])


@cache
def parallel() -> int | None:
    """The address of `GOMP_parallel`, which calls a function on all threads; None but on Linux.

    It is what torch itself calls: another copy of the library would have threads of its own.
    """
    if sys.platform != "linux":
        return None
    brought = (Path(torch.__file__).parent / "lib").glob("libgomp*")
    for library in (None, *map(str, brought)):  # None: what the process has loaded for all to use
        with suppress(OSError, AttributeError):
            function = ctypes.CDLL(library).GOMP_parallel
            return ctypes.cast(function, ctypes.c_void_p).value
    return None


@cache
def was_forked(process: int) -> bool:
    """Whether this process, by its number, is a copy of another, and has not begun a program.

    Such a copy has one thread, and OpenMP would wait for the others that the first had. True, too,
    where the system does not say.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        return bool(int(fields[6]) & COPIED)
    except (OSError, ValueError, IndexError):
        return True


def has_team() -> bool:
    """Whether `run_loop` may take all threads in this process."""
    return parallel() is not None and not was_forked(os.getpid())


def run_loop(loop: Any, threads: int, *arguments: object) -> None:
    """Call a compiled function on so many threads, with the same arguments.

    Args:
        loop: of `compiled`. All that it may raise is `MemoryError`.
        threads: 1 is this thread alone. More may be asked for where `has_team()`, and then all that
            torch has: OpenMP ends those that it is not asked for.
        arguments: of the loop.
    """
    team_loop(loop)(parallel() or 0, threads, *arguments)


@cache
def team_loop(loop: Any) -> Callable[..., None]:
    """A function (address, threads, *arguments) that calls a loop on so many threads.

    It is given the file of the loop as its own, since Numba keeps what it compiles next to that.
    """
    code = loop.py_func.__code__
    name, arguments = f"{code.co_name}_on_team", ", ".join(code.co_varnames[: code.co_argcount])
    source = (
        f"def {name}(address, threads, {arguments}):\n"
        f"    call(loop, address, threads, ({arguments}))\n"
    )
    scope: dict[str, Any] = {"call": call_on_team, "loop": loop, "__name__": loop.__module__}
    exec(compile(source, code.co_filename, "exec"), scope)
    return compiled(scope[name])


@intrinsic
def call_on_team(
    typing: Any, loop: Any, address: Any, threads: Any, arguments: Any
) -> tuple[Any, Callable[..., Any]]:
    """loop(*arguments) on so many threads; denormal numbers are zero meanwhile."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        # Compiled here, and nowhere else: it takes seconds.
        flags = Flags()
        flags.nrt, flags.error_model = True, "numpy"
        callee = context.compile_subroutine(
            builder, loop.dispatcher.py_func, types.none(*arguments), flags=flags
        )
        given = cgutils.alloca_once_value(builder, values[3])
        failed = cgutils.alloca_once_value(builder, COUNT(0))
        call = ir.LiteralStructType([given.type, failed.type])
        slot = cgutils.alloca_once(builder, call)
        builder.store(given, cgutils.gep_inbounds(builder, slot, 0, 0))
        builder.store(failed, cgutils.gep_inbounds(builder, slot, 0, 1))
        thread = function_of_a_thread(context, builder.module, callee, call)
        slot = builder.bitcast(slot, ADDRESS)
        team = builder.inttoptr(values[1], PARALLEL.as_pointer())
        count = builder.trunc(values[2], COUNT)
        with builder.if_else(builder.icmp_signed(">", count, COUNT(1))) as (several, one):
            with several:
                builder.call(team, [thread, slot, count, COUNT(0)])
            with one:
                builder.call(thread, [slot])
        with cgutils.if_unlikely(builder, cgutils.is_not_null(builder, builder.load(failed))):
            context.call_conv.return_user_exc(builder, MemoryError, ("a kernel found no memory",))
        return context.get_dummy_value()

    return types.none(loop, types.int64, types.int64, arguments), generate


def function_of_a_thread(context: Any, module: Any, callee: Any, call: Any) -> Any:
    """What a thread does, as OpenMP calls it: with the address of the arguments and the error."""
    name = f"{callee.fndesc.mangled_name}_of_a_thread"
    function = ir.Function(module, OF_A_THREAD, name)
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    slot = builder.bitcast(function.args[0], call.as_pointer())
    given, failed = (
        builder.load(cgutils.gep_inbounds(builder, slot, 0, part)) for part in range(2)
    )
    kinds = callee.fndesc.argtypes
    arguments = [
        borrowed(context, builder, kind, value)
        for kind, value in zip(kinds, cgutils.unpack_tuple(builder, builder.load(given)))
    ]
    loop = context.declare_function(module, callee.fndesc)
    with flushed(builder):
        status, _ = context.call_conv.call_function(builder, loop, types.none, kinds, arguments)
    with cgutils.if_unlikely(builder, status.is_error):
        builder.store(COUNT(1), failed)
    builder.ret_void()
    return function


def borrowed(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """An array whose users Numba does not count: threads would wait for that count."""
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, builder, value)
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    array.parent = cgutils.get_null_value(array.parent.type)
    return array._getvalue()
