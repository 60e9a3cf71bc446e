"""A few of the inputs that `make fuzz` tries for as long as one likes, always the same ones."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.fuzz import api


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each input is tried in a forked process")
def test_no_input_of_any_kind_gets_a_traceback(tmp_path):
    """In a process of its own, which has no threads: with them it could not be forked."""
    command = [sys.executable, "-m", "tests.fuzz", "--rounds", "2", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 faults" in done.stdout


@pytest.mark.parametrize("name", api.CALLS)
def test_the_python_api_answers_or_says_why_not(name):
    faults: Counter[str] = Counter()
    counts = api.tried(2017, faults, examples=25, only=name)
    assert not faults
    assert counts["Python API", "accepted"]
    assert counts["Python API", "refused"]
