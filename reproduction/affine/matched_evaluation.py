"""Evaluations while training: at a fixed level of accuracy, once on the held-out digits."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reproduction.harness.cell import Arrays, Row
from torchcaps.data import ImageData
from torchcaps.models import Classifier
from torchcaps.storage import atomic_path, write_json
from torchcaps.training.metrics import evaluate

__all__ = ["MatchedEvaluation"]


class MatchedEvaluation:
    """What is measured of a training every so many steps, kept in its run folder.

    The digits kept aside from training are evaluated each time. The first time that the share of
    those that are only moved and classified correctly reaches the level, the held-out digits are
    evaluated too: once in a training, at a moment that is chosen without them.

    Args:
        folder: where the evaluations are kept.
        level: accuracy on the moved digits kept aside, at which networks are compared.
        aside: digits kept aside, moved and transformed.
        placed, affine: held-out digits, moved and transformed.
        affnist: the published ones, or None.
    """

    def __init__(
        self,
        folder: Path,
        level: float,
        aside: tuple[ImageData, ImageData],
        placed: ImageData,
        affine: ImageData,
        affnist: ImageData | None,
    ) -> None:
        self.folder, self.level, self.aside = folder, level, aside
        self.placed, self.affine, self.affnist = placed, affine, affnist

    def evaluate_model(self, model: Classifier, number: int) -> None:
        """Evaluation number 1, 2, …; the same again where a kill has undone the steps before it."""
        if number == 0:
            return
        self.folder.mkdir(exist_ok=True)
        moved, transformed = (evaluate(model, data).accuracy for data in self.aside)
        earlier = any(one["moved"] >= self.level for one in self.before(number))
        if moved >= self.level and not earlier:
            self.evaluate_held_out(model, number, moved)
        write_json(self.path(number), {"moved": moved, "transformed": transformed})

    def evaluate_held_out(self, model: Classifier, number: int, moved: float) -> None:
        """Once in a training."""
        affine = evaluate(model, self.affine)
        row = {
            "matched_look": number,
            "matched_validation_error": 1 - moved,
            "matched_placed_error": 1 - evaluate(model, self.placed).accuracy,
            "matched_affine_error": 1 - affine.accuracy,
            "matched_affnist_error": None
            if self.affnist is None
            else 1 - evaluate(model, self.affnist).accuracy,
        }
        with atomic_path(self.folder / "matched.npz") as path:
            wrong = (affine.predictions != affine.labels).numpy()
            np.savez_compressed(path, allow_pickle=False, matched_wrong=wrong)
        write_json(self.folder / "matched.json", row)

    def before(self, number: int) -> list[Mapping[str, float]]:
        """The earlier evaluations."""
        return [json.loads(self.path(k).read_text(encoding="utf-8")) for k in range(1, number)]

    def path(self, number: int) -> Path:
        """The file of an evaluation."""
        return self.folder / f"{number:04d}.json"

    @property
    def matched_row(self) -> Row:
        """What was seen where the level was reached; None throughout where it never was."""
        path = self.folder / "matched.json"
        names = ("look", "validation_error", "placed_error", "affine_error", "affnist_error")
        if not path.exists():
            return {f"matched_{name}": None for name in names}
        row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return row

    @property
    def arrays(self) -> Arrays:
        """Accuracies on the digits kept aside, one an evaluation, and the errors at the level."""
        count = len(list(self.folder.glob("[0-9]*.json")))
        evaluations = self.before(count + 1)
        arrays: dict[str, Any] = {
            f"aside_{name}": np.array([one[name] for one in evaluations])
            for name in ("moved", "transformed")
        }
        if (self.folder / "matched.npz").exists():
            with np.load(self.folder / "matched.npz", allow_pickle=False) as file:
                arrays["matched_wrong"] = file["matched_wrong"]
        return arrays
