"""The report of `reconstructions` follows its rows."""

import re
from typing import Any

import numpy as np

from reproduction.harness.experiment import Results
from reproduction.reconstructions import experiment as reconstructions
from tests.training.pictures.figure_checks import pixels


def test_the_answers_about_drawings_follow_the_rows(tmp_path):
    images = np.random.default_rng(0).random((3, 1, 17, 17), dtype=np.float32)
    arrays = {"images": images, "as_predicted": images, "as_labelled": images}
    arrays |= {"labels": np.array([0, 1, 2]), "predictions": np.array([0, 1, 0])}
    rows = [
        {"cell": name, "seed": s, "drawing_error": e + s, "mean_image_error": 40.0,
         "test_error": 0.01}
        for name, e in (("paper", 45.0), ("authors", 30.0)) for s in (0, 1)
    ]  # fmt: skip
    scale = reconstructions.SCALES["cpu"]
    report = reconstructions.report(Results(tmp_path, scale, rows, lambda row: arrays))
    ours = "squared error of a drawing {} ± 0.7, of the mean image of the class 40.0"
    assert [(found.ours, found.verdict) for found in report.findings] == [
        (ours.format(45.5), "not decided (2 seeds)"),
        (ours.format(30.5), "not decided (2 seeds)"),
    ]
    before = pixels(tmp_path / "wrong_paper.png")
    kept = reconstructions.slim(arrays)
    assert kept["images"].dtype == np.uint8
    assert kept["labels"] is arrays["labels"]
    again = reconstructions.report(Results(tmp_path, scale, rows, lambda row: kept))
    assert again == report
    assert np.array_equal(pixels(tmp_path / "wrong_paper.png"), before)
    assert np.abs(kept["images"].astype(float) / 255 - images).max() < 0.002
    pictures = re.findall(r"\(([a-z_]+)\.png\)", report.body)
    assert pictures == ["right_authors", "right_paper", "wrong_paper", "wrong_authors"]
    assert report.body.index("right_authors") < report.body.index("| weights of the loss")


def test_drawings_are_judged_beside_principal_components(tmp_path):
    """By the errors of every image: the paper's weights draw worse, the authors' as well."""
    draw = np.random.default_rng(1)
    images = draw.random((1, 1, 17, 17), dtype=np.float32)
    principal = draw.normal(15, 2, 200)
    kept: dict[tuple[str, int], dict[str, Any]] = {}
    for name, more in (("paper", 8.0), ("authors", 0.0)):
        for s in range(5):
            own = principal + more + 0.2 * s + draw.normal(0, 1, 200)
            kept[name, s] = {"drawing_error": own.astype(np.float16)}
        kept[name, 0] |= {
            "principal_error": principal.astype(np.float16),
            "mean_image_error": np.full(200, 41.5, np.float16),
            **dict.fromkeys(("images", "as_predicted", "as_labelled"), images),
            "labels": np.array([1]), "predictions": np.array([1]),
        }  # fmt: skip
    rows = [
        {"cell": name, "seed": s, "drawing_error": float(arrays["drawing_error"].mean()),
         "principal_error": 15.0, "mean_image_error": 41.5, "test_error": 0.01}
        for (name, s), arrays in kept.items()
    ]  # fmt: skip
    arrays = lambda row: kept[row["cell"], row["seed"]]  # noqa: E731
    scale = reconstructions.SCALES["cpu"]
    report = reconstructions.report(Results(tmp_path, scale, rows, arrays))
    assert [found.verdict for found in report.findings] == ["higher", "not decided"]
    assert report.findings[0].claim.endswith("16 principal components of its class (weights of the "
                                             "paper)")  # fmt: skip
    every = np.mean([kept["paper", s]["drawing_error"].astype(float) for s in range(5)])
    above = every - kept["paper", 0]["principal_error"].astype(float).mean()
    assert f"paper, minus 16 principal components of its class | {above:+.2f} |" in report.body
    line = "drawing, weights of the authors’ code, minus the mean image of the class | -26."
    assert line in report.body
    slimmed = lambda row: reconstructions.slim(arrays(row))  # noqa: E731
    assert reconstructions.report(Results(tmp_path, scale, rows, slimmed)) == report
