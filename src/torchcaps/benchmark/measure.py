"""Time, memory, and what a machine can do at best."""

import ctypes
import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = [
    "Machine",
    "available_memory",
    "captured",
    "extra_memory",
    "machine_rates",
    "processor_seconds",
    "seconds",
]

Call = Callable[[], object]
WARM = 5  # calls before a capture, in which kernels are compiled


def seconds(call: Call, device: str, calls: int = 1) -> float:
    """How long a call takes, until its last number is there: the mean of so many in a row."""
    _wait(device)
    begun = time.perf_counter()
    for _ in range(calls):
        call()
    _wait(device)
    return (time.perf_counter() - begun) / calls


def processor_seconds(call: Call) -> float:
    """Processor time of all threads that a call takes: on the CPU, beside other programs too."""
    begun = time.process_time()
    call()
    return time.process_time() - begun


def captured(call: Call) -> Call:
    """The same work on a GPU as a CUDA graph, which is replayed."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def extra_memory(call: Call, device: str) -> int | None:
    """Bytes that a call takes at its peak beyond what is held before it; results included.

    On the CPU by the kernel's own account of the process (Linux; None elsewhere), so that nothing
    is left out: the call has to have run before, or what it compiles counts too.
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        _wait(device)
        return torch.cuda.max_memory_allocated() - before
    if not sys.platform.startswith("linux"):
        return None
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back to the system
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is held now
    before = _status("VmRSS")
    call()
    return max(0, _status("VmHWM") - before)


def available_memory(device: str) -> int | None:
    """Bytes that may be taken; None where the system does not say."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    (line,) = (line for line in lines if line.startswith("MemAvailable"))
    return 1024 * int(line.split()[1])


@dataclass(frozen=True)
class Machine:
    """Rates measured in this run: float32 operations a second in a matrix product, bytes a second
    in a copy (read and written)."""

    operations: float
    bytes: float

    def floor(self, operations: int, traffic: int) -> float:
        """Seconds below which no program for this work comes at these rates."""
        return max(operations / self.operations, traffic / self.bytes)


def machine_rates(device: str) -> Machine:
    """The best of several tries each."""
    size = 8192 if device == "cuda" else 2048
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    source = torch.empty(2**28 if device == "cuda" else 2**26, device=device)
    source.zero_()
    target = source.clone()
    product = min(seconds(lambda: a @ b, device) for _ in range(8))
    copy = min(seconds(lambda: target.copy_(source), device) for _ in range(8))
    return Machine(2 * size**3 / product, 2 * source.nbytes / copy)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _status(field: str) -> int:
    """Bytes from /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}")
