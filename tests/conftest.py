"""Shared by all tests: quiet threads, and small real data."""

import os
from pathlib import Path

import pytest
import torch

# Tests run side by side; more threads than cores would only wait for each other.
torch.set_num_threads(1)


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
