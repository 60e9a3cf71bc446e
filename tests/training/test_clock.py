"""The clock of the system may be set back by hours: no result changes, nor how long a run took."""

import csv
import os
import re
import signal
import time
from itertools import count

import pytest

from tests.small_runs import tiny_config, tiny_data, weights_of
from torchcaps.errors import RunStopped
from torchcaps.training.loop import resume, train
from torchcaps.training.run import Run

HOUR = 3600.0


@pytest.fixture
def clock_backwards(monkeypatch):
    """Another hour less whenever somebody asks for the time of day."""
    now, calls = time.time, count()
    monkeypatch.setattr(time, "time", lambda: now() - HOUR * next(calls))


def seconds_of(folder):
    with (folder / "metrics.csv").open() as file:
        return [float(row["seconds"]) for row in csv.DictReader(file)]


@pytest.mark.usefixtures("no_pictures")
def test_a_run_is_the_same_while_the_clock_goes_backwards(
    tmp_path, monkeypatch, clock_backwards, capsys
):
    straight = train(tiny_config(tmp_path / "straight"), tiny_data())
    do_step = Run.do_step

    def and_stop(self):
        do_step(self)
        if self.step == 7:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "do_step", and_stop)
        with pytest.raises(RunStopped, match="stopped after step 7"):
            train(tiny_config(tmp_path / "run"), tiny_data())
    later = time.time() + 1000 * HOUR
    for path in (tmp_path / "run").rglob("*"):
        os.utime(path, (later, later))  # written when the clock was ahead
    resume(tmp_path / "run", tiny_data())
    assert weights_of(tmp_path / "run") == weights_of(straight.folder)
    for folder in (straight.folder, tmp_path / "run"):
        assert all(0 < seconds < HOUR for seconds in seconds_of(folder))
    assert not re.search(r"-[0-9.,]+ (?:s|min|h|images/s)\b", capsys.readouterr().out)
