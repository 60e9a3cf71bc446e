"""Shared by all tests: quiet threads, and small real data."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

collect_ignore = ["warm_kernels.py"]  # whose import does what its name says

# Tests run side by side; more threads than cores would only wait for each other.
torch.set_num_threads(1)

# Without a GPU its kernels run in Triton's interpreter, which has to be asked for before anything
# else (torch.compile does) imports Triton. Processes that tests start need not have it.
if find_spec("triton") is not None and not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
    import torchcaps.kernels.dynamic_cuda.op
    import torchcaps.kernels.sweeps_cuda.op

    assert torchcaps.kernels.dynamic_cuda.op.INTERPRETED
    del os.environ["TRITON_INTERPRET"]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of full data sets, where a person has them."""
    folder = os.environ.get("TORCHCAPS_DATA")
    if not folder:
        pytest.skip("TORCHCAPS_DATA does not name a folder with mnist/, fashion-mnist/, …")
    return Path(folder)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, alone or among others."""
    torch.manual_seed(0)
