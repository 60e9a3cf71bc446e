"""Few training images get smaller batches, and more epochs unless their number is given."""

import json
from typing import Any

import pytest

from tests.small_runs import tiny_data
from torchcaps.training.config import TrainConfig, config_to_dict
from torchcaps.training.fit import fit
from torchcaps.training.small_sets import fit_to_size


@pytest.mark.parametrize(
    ("images", "asked", "batch", "epochs"),
    [
        (60_000, {}, 64, 20),
        (1600, {}, 64, 20),  # 25 steps an epoch
        (1599, {}, 64, 21),
        (540, {}, 64, 63),
        (255, {}, 56, 100),
        (40, {}, 8, 100),
        (5, {}, 5, 100),
        (540, {"epochs": 20}, 64, 20),
        (540, {"epochs": 1}, 64, 1),
        (5000, {"epochs": 300}, 64, 300),
        (540, {"batch_size": 16}, 16, 20),
        (540, {"batch_size": 500}, 500, 100),
    ],
)
def test_batches_and_epochs(images, asked, batch, epochs):
    config, said = fit_to_size(TrainConfig(**asked), images)
    assert (config.batch_size, config.epochs) == (batch, epochs)
    changed = [batch != asked.get("batch_size", 64), epochs != asked.get("epochs", 20)]
    assert len(said) == sum(changed)
    others = {"batch_size": batch, "epochs": epochs}
    assert config_to_dict(config) == config_to_dict(TrainConfig(**asked)) | others


def test_a_training_without_a_number_of_epochs_says_how_many_it_takes(tmp_path, capsys):
    options: dict[str, Any] = {
        "model": "capsnet_small",
        "threads": 1,
        "patience": 1,
        "keep": "best",
    }
    fit(tiny_data(), out=tmp_path / "run", **options)
    said = capsys.readouterr().out
    assert "epochs are taken instead of 20 (--epochs sets their number)" in said
    epochs = json.loads((tmp_path / "run" / "config.json").read_text())["epochs"]
    assert epochs > 20
    assert f"epoch  1/{epochs}" in said or f"epoch   1/{epochs}" in said
