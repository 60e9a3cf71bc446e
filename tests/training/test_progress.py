"""What cannot be displayed, or cannot be displayed any more, ends no training."""

import errno
import io
import sys

import pytest

from tests.small_runs import tiny_config, tiny_data
from torchcaps.training.loop import train
from torchcaps.training.progress import TrainingProgress, say, watched

LINE = "a 28×28 image → “ä” · 日本 …"


class Failing(io.StringIO):
    """A stream whose buffer cannot be written: a full disk, or a pipe without a reader."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def flush(self) -> None:
        raise self.error


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


BAD = {
    "none": lambda: None,
    "closed": closed,
    "full": lambda: Failing(OSError(errno.ENOSPC, "No space left on device")),
    "gone": lambda: Failing(BrokenPipeError(errno.EPIPE, "Broken pipe")),
    "ascii": lambda: io.TextIOWrapper(io.BytesIO(), encoding="ascii"),
    "cp1252": lambda: io.TextIOWrapper(io.BytesIO(), encoding="cp1252"),
}


def use_display() -> None:
    with TrainingProgress(3) as progress:
        progress.say(LINE)
        progress.step("epoch 1/1")
        progress.epoch(LINE)
    assert list(watched([1, 2], "measuring")) == [1, 2]
    say(LINE)


@pytest.mark.parametrize("kind", BAD)
def test_no_stream_ends_a_display(kind, monkeypatch):
    monkeypatch.setattr(sys, "stdout", BAD[kind]())
    monkeypatch.setattr(sys, "stderr", BAD[kind]())
    use_display()


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", 'a 28x28 image -> "\\xe4" - \\u65e5\\u672c ...'),
        ("cp1252", 'a 28x28 image -> "ä" - \\u65e5\\u672c ...'),
        ("utf-8", LINE),
    ],
)
def test_characters_that_a_stream_has_not_are_written_in_others(encoding, expected, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    use_display()
    assert stream.buffer.getvalue().decode(encoding).splitlines() == 3 * [expected]


@pytest.mark.parametrize("kind", ["full", "gone", "ascii"])
def test_a_run_that_cannot_be_displayed_is_finished(kind, tmp_path, no_pictures, monkeypatch):
    stream = BAD[kind]()
    monkeypatch.setattr(sys, "stdout", stream)
    result = train(tiny_config(tmp_path, epochs=1), tiny_data())
    assert (result.folder / "result.json").is_file()
    if kind == "ascii":
        assert b"(1x17x17, 3 classes)" in stream.buffer.getvalue()
