"""What an exit code and its output are taken for: no fault may pass as good."""

import json
import signal

import pytest

from tests.fuzz.outcomes import judged

SENTENCE = "torchcaps: x.png: not a picture: name one\n"


@pytest.mark.parametrize(
    ("code", "err", "what"),
    [
        (0, "", "accepted"),
        (2, SENTENCE, "refused"),
        (2, "╭─ Parsing error ─╮\n│ no such option │\n", "refused"),
        (2, "torchcaps: a.png: passed over (no picture)\n" + SENTENCE, "refused"),
        (2, "", "wrong"),
        (2, SENTENCE * 2, "wrong"),
        (2, "x.png is no picture\n", "wrong"),
        (2, SENTENCE.replace("x", "\x1b[2J"), "wrong"),
        (2, "torchcaps: too little memory\n", "memory"),
        (1, "the loss is not finite\n", "stopped"),
        (130, "stopped\n", "stopped"),
        (1, "", "wrong"),
        (1, "\x1b[2J\n", "wrong"),
        (1, "Traceback (most recent call last):\nKeyError: 1\n", "traceback"),
        (2, "Traceback (most recent call last):\nKeyError: 1\n", "traceback"),
        (98, "", "traceback"),
        (99, "", "traceback"),
        (-signal.SIGSEGV, "", "traceback"),
        (-signal.SIGXCPU, "", "hang"),
        (-signal.SIGKILL, "", "hang"),
    ],
)
def test_exit_codes(code, err, what):
    assert judged(code, "", err, ["train"])[0] == what


def test_memory_is_refused_where_one_asked_for_it_oneself():
    for option in ("--config", "--model-options"):
        said = judged(2, "", "torchcaps: too little memory\n", ["train", option, "x"])
        assert said[0] == "refused"


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"accuracy": 1.0, "images": 24}, "accepted"),
        ({"accuracy": 1.2}, "wrong"),
        ({"classes": [{"activation": -0.1}]}, "wrong"),
        ({"loss": float("nan")}, "wrong"),
        ({"loss": [1, float("inf")]}, "wrong"),
    ],
)
def test_numbers_that_cannot_be(values, what):
    for command in ("eval", "predict"):
        assert judged(0, json.dumps(values), "", [command, "--json"])[0] == what
    assert judged(0, "no JSON", "", ["eval", "--json"])[0] == "wrong"
