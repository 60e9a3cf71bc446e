"""A run without its pictures takes a third of the time; one test draws them all."""

import pytest

from torchcaps.training.image_classification import ImageClassification


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageClassification, "draw", lambda *arguments: None)
