"""A loop on the threads of torch's own operations, where they are those of GNU's OpenMP.

For some milliseconds after an operation they wait for the next in a loop that keeps their cores
busy. A thread of another kind that is woken meanwhile finds no core until that is over, and up to
5 ms late is as long as a kernel takes. The threads that wait there begin at once; and no Python
runs in them, whose lock they would wait for.
"""

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from torchcaps.kernels.compile_cache import compiled
from torchcaps.kernels.cpu_denormals import flushed

__all__ = ["has_team", "on_team"]

ADDRESS = ir.IntType(8).as_pointer()
COUNT = ir.IntType(32)
OF_A_THREAD = ir.FunctionType(ir.VoidType(), [ADDRESS])
PARALLEL = ir.FunctionType(ir.VoidType(), [OF_A_THREAD.as_pointer(), ADDRESS, COUNT, COUNT])

_forked = False  # after a fork a process has one thread, and OpenMP would wait for the others


def _note_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


@cache
def parallel() -> int | None:
    """The address of `GOMP_parallel`, which calls a function on all threads.

    It is what torch itself calls: another copy of the library would have threads of its own. None
    where torch's threads are of another kind.
    """
    brought = (Path(torch.__file__).parent / "lib").glob("libgomp*")
    for library in (None, *map(str, brought)):  # None: what the process has loaded for all to use
        with suppress(OSError, AttributeError, TypeError):
            function = ctypes.CDLL(library).GOMP_parallel
            return ctypes.cast(function, ctypes.c_void_p).value
    return None


def has_team() -> bool:
    """Whether `on_team` works in this process."""
    return not _forked and parallel() is not None


def on_team(loop: Any, *arguments: object) -> None:
    """Call a compiled function on every thread of torch's at once, with the same arguments.

    Always on all of them: OpenMP ends the threads that it is not asked for.
    """
    team_loop(loop)(parallel(), torch.get_num_threads(), *arguments)


@cache
def team_loop(loop: Any) -> Callable[..., None]:
    """A function that calls this one on all threads: (address, threads, *arguments).

    It says that it is of the same file, next to which Numba keeps what it compiles.
    """
    code = loop.py_func.__code__
    name, arguments = f"{code.co_name}_on_team", ", ".join(code.co_varnames[: code.co_argcount])
    source = (
        f"def {name}(address, threads, {arguments}): call(loop, address, threads, ({arguments}))"
    )
    scope: dict[str, Any] = {"call": call_on_team, "loop": loop, "__name__": loop.__module__}
    exec(compile(source, code.co_filename, "exec"), scope)
    return compiled(scope[name])


@intrinsic
def call_on_team(
    typing: Any, loop: Any, address: Any, threads: Any, arguments: Any
) -> tuple[Any, Callable[..., Any]]:
    """loop(*arguments) on so many threads; denormal numbers are zero meanwhile."""
    callee = loop.dispatcher.get_compile_result(loop.get_call_type(typing, tuple(arguments), {}))

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        context.add_linking_libs((callee.library,))
        given = cgutils.alloca_once_value(builder, values[3])
        failed = cgutils.alloca_once_value(builder, COUNT(0))
        call = ir.LiteralStructType([given.type, failed.type])
        slot = cgutils.alloca_once(builder, call)
        builder.store(given, cgutils.gep_inbounds(builder, slot, 0, 0))
        builder.store(failed, cgutils.gep_inbounds(builder, slot, 0, 1))
        thread = function_of_a_thread(context, builder.module, callee, call)
        builder.call(
            builder.inttoptr(values[1], PARALLEL.as_pointer()),
            [thread, builder.bitcast(slot, ADDRESS), builder.trunc(values[2], COUNT), COUNT(0)],
        )
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
    """An array of which Numba does not count the users: the threads would wait for that number."""
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, builder, value)
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    array.parent = cgutils.get_null_value(array.parent.type)
    return array._getvalue()
