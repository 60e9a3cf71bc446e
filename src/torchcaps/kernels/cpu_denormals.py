"""Numbers closer to zero than a processor holds in full, as zero while the loops of a kernel run.

Arithmetic with them takes a hundred times as long, and where couplings are near 0 or 1 there are
many: c (1 − c) of a coupling of 1e-38, for one. Beside larger terms that they are added to they are
nothing; beside each other they are not, where a sum is divided by another one as small. A kernel
whose sums are divided by one another scales what it adds up first (`LARGER` in
`sweeps_cpu/op.py`). (On processors other than x86 nothing is changed.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_process_triple
from numba.core import cgutils

__all__ = ["flushed"]

X86 = get_process_triple().startswith(("x86_64", "amd64", "i686"))
FLUSH = 0x8040  # results (bit 15) and operands (bit 6) of a thread's control word
ADDRESS = ir.IntType(8).as_pointer()


@contextmanager
def flushed(builder: Any) -> Iterator[None]:
    """Instructions between which such numbers are zero; the thread is then as it was before."""
    before = stored_word(builder)
    changed = builder.or_(builder.load(before), ir.IntType(32)(FLUSH))
    load_word(builder, cgutils.alloca_once_value(builder, changed))
    yield
    load_word(builder, before)


def stored_word(builder: Any) -> Any:
    """The address of the control word of this thread."""
    slot = cgutils.alloca_once_value(builder, ir.IntType(32)(0))
    if X86:
        call_with_address(builder, "stmxcsr", slot)
    return slot


def load_word(builder: Any, slot: Any) -> None:
    """Give this thread the control word at an address."""
    if X86:
        call_with_address(builder, "ldmxcsr", slot)


def call_with_address(builder: Any, name: str, slot: Any) -> None:
    """Call one of LLVM's functions that read or write the control word."""
    signature = ir.FunctionType(ir.VoidType(), [ADDRESS])
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(slot, ADDRESS)])
