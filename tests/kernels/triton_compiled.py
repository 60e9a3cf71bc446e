"""What Triton and ptxas make of the launches of a kernel, on a machine without a GPU.

A test file whose kernels are looked at is also a program, `python file.py arch`, which records its
launches on meta tensors, for which there is memory, and calls `compile_launches`.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import triton
from torch import Tensor

__all__ = ["assert_no_spills", "compile_launches", "recorded"]

Launch = tuple[Any, dict[str, Any]]
OPTIONS = ("num_warps", "num_stages", "maxnreg")
SHARED_MEMORY = 99 * 1024  # of a program, on the GPUs since sm_80 that have least


class Recorder:
    """Stands in for a kernel, and notes what it would have been launched with."""

    def __init__(self, kernel: Any, launches: list[Launch]) -> None:
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid: tuple[int]) -> Any:
        def launch(*arguments: object, **constants: object) -> None:
            values = dict(zip(self.kernel.arg_names, arguments)) | constants
            self.launches.append((self.kernel, values))

        return launch


@contextmanager
def recorded(loops: ModuleType) -> Iterator[list[Launch]]:
    """What is launched of the kernels of a module."""
    launches: list[Launch] = []
    kernels = {name: getattr(loops, name) for name in loops.__all__}
    for name, kernel in kernels.items():
        setattr(loops, name, Recorder(kernel, launches))
    try:
        yield launches
    finally:
        for name, kernel in kernels.items():
            setattr(loops, name, kernel)


def compile_launches(arch: int, launches: Mapping[str, Sequence[Launch]]) -> None:
    """Compile what cases launch, each once, and print what each needs, a line of JSON."""
    done = set()
    for case, (kernel, values) in ((case, one) for case, all_ in launches.items() for one in all_):
        options = {name: values.pop(name) for name in OPTIONS if name in values}
        source = source_of(kernel, values)
        key = (kernel.__name__, source.hash(), str(options))
        if key in done:
            continue
        done.add(key)
        target = triton.backends.compiler.GPUTarget("cuda", arch, 32)
        compiled = triton.compile(source, target=target, options=options)
        name = f"{kernel.__name__} {case} {options}"
        print(json.dumps([name, compiled.metadata.shared]))


def source_of(kernel: Any, values: dict[str, Any]) -> Any:
    """What a launch with these values would compile: constants, and multiples of 16."""
    pointers = {
        torch.float32: "*fp32",
        torch.float64: "*fp64",
        torch.bfloat16: "*bf16",
        torch.float16: "*fp16",
        torch.int64: "*i64",
    }
    signature, constants, attributes = {}, {}, {}
    for place, parameter in enumerate(kernel.params):
        name, value = parameter.name, values[parameter.name]
        if parameter.is_constexpr or (type(value) is int and value == 1):
            signature[name] = "constexpr"
            constants[(place,)] = value
            continue
        if isinstance(value, float):
            signature[name] = "fp32"
        elif isinstance(value, int):
            signature[name] = "i32" if value < 2**31 else "i64"
        else:
            signature[name] = pointers[value.dtype]
        if isinstance(value, Tensor) or (isinstance(value, int) and value % 16 == 0):
            attributes[(place,)] = [["tt.divisibility", 16]]
    return triton.compiler.ASTSource(kernel, signature, constants, attributes)


def assert_no_spills(program: str, arch: int, folder: Path, least: int) -> None:
    """At least so many kernels of a test file compile, spill nothing and fit into shared memory."""
    environment = os.environ | {
        "TRITON_INTERPRET": "0",
        "TRITON_CACHE_DIR": str(folder),
        "TRITON_DUMP_PTXAS_LOG": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, program, str(arch)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    log = ""
    kernels = 0
    for line in done.stdout.splitlines():
        if not line.startswith("["):
            log += line
            continue
        name, shared_memory = json.loads(line)
        spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
        assert spills == [("0", "0")], (name, log)
        assert shared_memory <= SHARED_MEMORY, name
        log, kernels = "", kernels + 1
    assert kernels >= least
