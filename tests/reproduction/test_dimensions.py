"""What is measured on drawings, and what a change of one dimension does."""

import numpy as np
import pytest
import torch

from reproduction.dimensions import experiment as dimensions
from reproduction.dimensions.figures import draw_tweaks, most_changed
from reproduction.dimensions.report import slim
from reproduction.dimensions.shape_measures import MEASURES, measure_shapes
from reproduction.dimensions.tweaks import TWEAKS, effects_of, random_directions, tweaked
from reproduction.harness.experiment import Results
from tests.training.pictures.figure_checks import pixels
from torchcaps.models import CapsNet
from torchcaps.seeding import mix_seed


def line(width=3, lean=0.0, length=24, at=(16, 16)):
    """A bright line of so many pixels' width, leaning to the right for `lean` pixels a pixel up."""
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    up = at[0] - rows
    away = (columns - at[1] - lean * up).abs()
    inside = (width / 2 + 0.5 - away).clamp(0, 1) * (up.abs() <= length / 2)
    return inside[None, None]


def measures(**shape):
    return dict(zip(MEASURES, measure_shapes(line(**shape))[0].tolist()))


def test_measures_of_lines():
    upright = measures()
    assert upright["slant"] == pytest.approx(0)
    assert (upright["right"], upright["down"]) == pytest.approx((16, 16))
    assert measures(lean=0.5)["slant"] == pytest.approx(0.5, abs=0.02)
    assert measures(lean=-0.5)["slant"] == pytest.approx(-0.5, abs=0.02)
    moved = measures(at=(13, 18))
    assert (moved["right"], moved["down"]) == pytest.approx((18, 13))
    for other in ("size", "slant", "stroke width"):
        assert moved[other] == pytest.approx(upright[other])
    # A line of length n has n · w of ink and an outline of 2 (n + w).
    for width in (2, 4):
        assert measures(width=width)["stroke width"] == pytest.approx(25 * width / (25 + width))
    assert measures(length=12)["size"] < 0.6 * upright["size"]


def test_effects_and_correlations():
    """Two images whose second measure rises with dimension 1, and falls with dimension 0."""
    steps = torch.arange(11.0, dtype=torch.float64)
    found = torch.zeros(2, 2, 11, 2, dtype=torch.float64)
    found[0] += 3
    found[1] += 7  # s.d. of 3 and 7: √8
    found[:, 1, :, 1] += 0.4 * (steps - 5)
    found[:, 0, :, 1] -= 0.2 * (steps - 5)
    effect, correlation = effects_of(found)
    assert effect[1].tolist() == pytest.approx([0, 4 / 8**0.5])
    assert effect[0].tolist() == pytest.approx([0, -2 / 8**0.5])
    assert correlation[:, 1].tolist() == pytest.approx([-1, 1])
    assert correlation[:, 0].tolist() == pytest.approx([0, 0])


@pytest.fixture
def model():
    return CapsNet(17, 1, 3, conv_channels=4, primary_types=2, decoder_hidden=(8, 8)).eval()


def test_one_dimension_of_one_class_is_changed(model):
    pose, labels = torch.rand(2, 3, 16), torch.tensor([2, 0])
    drawings = tweaked(model, pose, labels)
    assert drawings.shape == (2, 16, 11, 1, 17, 17)
    changed = pose.clone()
    changed[1, 0, 6] -= 0.25
    with torch.no_grad():
        expected = model.decoder(changed, labels)[1]
        same = model.decoder(pose, labels)[0]
    torch.testing.assert_close(drawings[1, 6, 0], expected)
    torch.testing.assert_close(drawings[0, :, 5], same.expand(16, -1, -1, -1))
    assert TWEAKS.tolist() == pytest.approx(np.arange(-0.25, 0.26, 0.05).tolist(), abs=1e-6)


def test_only_what_is_shown_of_the_drawings_is_published(tmp_path):
    """For each measure one class and dimension."""
    draw = np.random.default_rng(0)
    effects = draw.normal(size=(3, 4, len(MEASURES)))
    examples = draw.random((3, len(MEASURES), 11, 17, 17), dtype=np.float32)
    kept = slim({"effects": effects, "examples": examples})
    assert kept["effects"] is effects
    shown = np.zeros((3, len(MEASURES)), bool)
    for m in range(len(MEASURES)):
        k, d = np.argwhere(np.abs(effects[..., m]) == np.abs(effects[..., m]).max())[0]
        assert most_changed(effects)[m] == (k, d)
        shown[k, m] = True
    np.testing.assert_allclose(
        kept["examples"][shown].astype(float) / 255, examples[shown], atol=0.51 / 255
    )
    assert not kept["examples"][~shown].any()
    again = slim(kept)
    assert np.array_equal(again["examples"], kept["examples"])
    draw_tweaks(effects, kept["examples"], path=tmp_path / "slim.png")
    assert pixels(tmp_path / "slim.png").std() > 20


def test_random_directions_are_changed_like_dimensions(model):
    """The dimensions are the directions of the identity; others mix them."""
    pose, labels = torch.rand(2, 3, 16), torch.tensor([2, 0])
    directions = random_directions(16, seed=3)
    assert not torch.equal(directions, random_directions(16, seed=4))
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(16))
    drawings = tweaked(model, pose, labels, directions)
    changed = pose.clone()
    changed[1, 0] += 0.25 * directions[6]
    with torch.no_grad():
        expected = model.decoder(changed, labels)[1]
    torch.testing.assert_close(drawings[1, 6, -1], expected)
    torch.testing.assert_close(
        tweaked(model, pose, labels), tweaked(model, pose, labels, torch.eye(16))
    )


def test_random_directions_are_no_special_ones():
    """Uniform over the sphere: each component has the variance 1/D and no sign."""
    drawn = torch.stack([random_directions(4, seed) for seed in range(500)])
    assert drawn.mean(dim=0).abs().max() < 0.1
    assert (drawn.square().mean(dim=0) - 0.25).abs().max() < 0.06


def test_the_strongest_by_chance_is_that_of_random_directions(model, monkeypatch):
    monkeypatch.setattr(dimensions, "DRAWS", 2)
    pose, labels = torch.rand(3, 3, 16), torch.tensor([1, 1, 1])
    found = dimensions.strongest_by_chance(model, pose, labels, seed=5)
    for draw in range(2):
        directions = random_directions(16, mix_seed("directions", 5, draw))
        drawings = tweaked(model, pose, labels, directions)
        shapes = measure_shapes(drawings.flatten(0, 2)).view(3, 16, 11, len(MEASURES))
        effects, _ = effects_of(shapes)
        assert found[draw].tolist() == pytest.approx(effects.abs().max(dim=0).values.tolist())


@pytest.fixture
def reported(tmp_path):
    """The report of so many seeds: one measure is stronger than by chance, one weaker."""

    def report(seeds, with_chance=True):
        draw = np.random.default_rng(0)
        arrays: dict[str, np.ndarray] = {
            "effects": draw.normal(size=(3, 4, 5)), "correlations": draw.normal(size=(3, 4, 5)),
            "examples": draw.random((3, 5, 11, 17, 17), dtype=np.float32),
        }  # fmt: skip
        rows = []
        for s in range(seeds):
            row = {"cell": "r3", "seed": s}
            for m, name in enumerate(MEASURES):
                row[f"strongest effect on {name}"] = m + s
                by_chance = m + s - (1 + 0.01 * s if m == 0 else -2 if m == 1 else 5 * (s % 2) - 2)
                row |= {f"{name} by chance": by_chance} if with_chance else {}
            rows.append(row)
        scale = dimensions.SCALES["cpu"]
        return dimensions.report(Results(tmp_path, scale, rows, lambda row: arrays))

    return report


def test_effects_are_told_for_all_seeds_beside_chance(reported):
    report = reported(5)
    assert report.figures[3].startswith(
        "right: the strongest dimension of a class changes it by 5.0 ± 1.6 standard deviations "
        "(random directions 5.0 ± "
    )
    assert report.figures[3].endswith("beside chance: not decided")
    assert report.figures[0].endswith("beside chance: higher")
    assert report.figures[1].endswith("beside chance: lower")
    assert (
        "| stroke width: strongest dimension minus strongest random direction | +1.02 | 1.00 to "
        "1.04 | < 0.0001 | higher |"
    ) in report.body
    (found,) = report.findings
    assert found.verdict.startswith("stroke width: higher, slant: lower, size: not decided")


def test_few_seeds_or_no_random_directions_decide_nothing(reported):
    assert reported(2).findings[0].verdict == "not decided (2 seeds)"
    older = reported(2, with_chance=False)
    assert older.findings[0].verdict == "not decided, no random directions"
    assert "random directions" not in older.body
