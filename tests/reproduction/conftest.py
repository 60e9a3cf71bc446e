"""Experiments that take a second a training, on images of 17×17."""

import dataclasses

import pytest

from reproduction.harness.experiment import Experiment
from tests.small_runs import tiny_data, write_npz
from torchcaps.training.image_classification import ImageClassification


@pytest.fixture
def no_run_pictures(monkeypatch):
    """The pictures of a run take longer than the run."""
    monkeypatch.setattr(ImageClassification, "draw", lambda *arguments: None)


@pytest.fixture
def tiny(tmp_path):
    """Make an experiment so small that it can be run in a test."""
    path = write_npz(tmp_path / "tiny.npz", tiny_data())

    def shrink(
        experiment: Experiment, seeds: int = 1, rates: tuple[float, ...] = (), **options
    ) -> Experiment:
        scale = experiment.scales["smoke"]
        if scale.training is not None:
            defaults = {"epochs": 2, "batch_size": 16, "precision": "fp32", "checkpoint_every": 2}
            training = dataclasses.replace(
                scale.training, data=str(path), **{**defaults, **options}
            )
            scale = dataclasses.replace(
                scale, seeds=seeds, training=training, images=64, held_out=20, rates=rates
            )
        return dataclasses.replace(experiment, scales={"smoke": scale})

    return shrink
