"""Evaluations while training: at a fixed level of accuracy, found on digits kept aside."""

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

MEASURED = ("placed", "affine", "affnist")


class MatchedEvaluation:
    """What is measured of a training every so many steps, kept in its run folder.

    The digits kept aside from training are evaluated each time. Up to the first time that the share
    of those that are only moved and classified correctly reaches the level, the held-out digits are
    evaluated too. Their errors *at* the level lie on the straight line between the last evaluation
    below it and the first that reaches it: networks that learn fast jump far past a level from one
    evaluation to the next, and would be compared at other errors than slow ones. The moment is
    chosen without the held-out digits.

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
        self.held_out = {"placed": placed, "affine": affine, "affnist": affnist}

    def evaluate_model(self, model: Classifier, number: int) -> None:
        """Evaluation number 1, 2, …; the same again where a kill has undone the steps before it."""
        if number == 0:
            return
        self.folder.mkdir(exist_ok=True)
        moved, transformed = (evaluate(model, data).accuracy for data in self.aside)
        found: dict[str, float | None] = {"moved": moved, "transformed": transformed}
        if not any(one["moved"] >= self.level for one in self.before(number)):
            found |= self.evaluate_held_out(model, number)
        write_json(self.path(number), found)

    def evaluate_held_out(self, model: Classifier, number: int) -> dict[str, float | None]:
        """The errors, and which of the transformed digits are told wrongly, as a file."""
        found = {
            name: None if data is None else evaluate(model, data)
            for name, data in self.held_out.items()
        }
        affine = found["affine"]
        assert affine is not None
        with atomic_path(self.path(number).with_suffix(".npz")) as path:
            wrong = (affine.predictions != affine.labels).numpy()
            np.savez_compressed(path, allow_pickle=False, wrong=wrong)
        return {name: None if one is None else 1 - one.accuracy for name, one in found.items()}

    def before(self, number: int) -> list[Mapping[str, float]]:
        """The earlier evaluations."""
        return [json.loads(self.path(k).read_text(encoding="utf-8")) for k in range(1, number)]

    def path(self, number: int) -> Path:
        """The file of an evaluation."""
        return self.folder / f"{number:04d}.json"

    @property
    def evaluations(self) -> list[Mapping[str, Any]]:
        """All of them."""
        return self.before(1 + len(list(self.folder.glob("[0-9]*.json"))))

    def shares(self) -> dict[int, float]:
        """The evaluations beside the level, from 1, and the share that each has of what is at it.

        Of one alone where the first reaches the level, or one hits it; of none where none does.
        """
        moved = [one["moved"] for one in self.evaluations]
        last = next((k for k, accuracy in enumerate(moved) if accuracy >= self.level), None)
        if last is None:
            return {}
        if last == 0:
            return {1: 1.0}
        share = (self.level - moved[last - 1]) / (moved[last] - moved[last - 1])
        return {last: 1 - share, last + 1: share}

    @property
    def matched_row(self) -> Row:
        """The errors at the level, and after how many evaluations; None throughout without it."""
        shares, evaluations = self.shares(), self.evaluations

        def at_level(name: str) -> float | None:
            values = [(share, evaluations[k - 1][name]) for k, share in shares.items()]
            known = bool(values) and all(value is not None for _, value in values)
            return sum(share * value for share, value in values) if known else None

        moved = at_level("moved")
        return {
            "matched_look": sum(share * k for k, share in shares.items()) if shares else None,
            "matched_validation_error": None if moved is None else 1 - moved,
            **{f"matched_{name}_error": at_level(name) for name in MEASURED},
        }

    @property
    def arrays(self) -> Arrays:
        """Accuracies on the digits kept aside, one an evaluation, and the errors at the level.

        `matched_wrong` has for each transformed digit 0, 1, or what lies between: wrong in one of
        the two evaluations beside the level.
        """
        arrays: dict[str, Any] = {
            f"aside_{name}": np.array([one[name] for one in self.evaluations])
            for name in ("moved", "transformed")
        }
        wrong: Any = 0.0
        shares = self.shares()
        for k, share in shares.items():
            with np.load(self.path(k).with_suffix(".npz"), allow_pickle=False) as file:
                wrong = wrong + np.float32(share) * file["wrong"]
        return {**arrays, "matched_wrong": wrong} if shares else arrays
