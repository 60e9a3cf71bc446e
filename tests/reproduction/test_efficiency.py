"""`efficiency`: points of equal budget, images by seed, and what is concluded."""

import dataclasses

import numpy as np
import pytest
import torch

from reproduction.efficiency import experiment as efficiency
from reproduction.efficiency.points import CNN, ROUTED, UNIFORM, Point, points
from reproduction.harness import workbench
from reproduction.harness.experiment import Results
from reproduction.harness.stem_cnn import cnn_beside
from tests.small_runs import tiny_data
from torchcaps.data import ImageData, TrainTest
from torchcaps.errors import InputError
from torchcaps.models import ImageCapsNet
from torchcaps.models.summary import count_parameters

MNIST = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # training images by class


def test_a_point_is_found_again_by_its_name():
    names = efficiency.SCALES["paper"].compared
    assert len(set(names)) == len(names)
    assert [Point.of(name).name for name in names] == list(names)
    assert Point.of("cnn-100-0.0625") == Point("cnn", 100, 1 / 16)


def test_every_training_sees_as_many_images():
    scale = efficiency.SCALES["cpu"]
    seen = {
        Point.of(cell.network).images * cell.options["epochs"] for cell in efficiency.cells(scale)
    }
    assert max(seen) <= 1.15 * min(seen)
    assert max(Point.of(name).images for name in scale.compared) <= scale.images - scale.aside


@pytest.mark.parametrize(
    ("scale", "classes"),
    [
        ("few", MNIST),
        *((scale, classes) for scale in ("cpu", "paper") for classes in (MNIST, 10 * [6000])),
    ],
)
def test_no_point_asks_for_more_images_than_those_kept_aside_leave(scale, classes, monkeypatch):
    """How many are kept aside is rounded class by class."""
    labels = torch.arange(10).repeat_interleave(torch.tensor(classes))
    pixels = torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8)
    train = ImageData(pixels, labels, tuple("0123456789"), "digits")
    monkeypatch.setattr(workbench, "load", lambda *named: TrainTest(train, train))
    bench = workbench.Workbench(None, efficiency.SCALES[scale], None, None)
    efficiency.EXPERIMENT.check(bench)
    bench.scale = dataclasses.replace(bench.scale, compared=points((60_000,), (1,)))
    with pytest.raises(InputError, match="learns from 60,000 images, and digits has"):
        efficiency.EXPERIMENT.check(bench)


def test_the_images_are_those_of_the_seed():
    train = tiny_data().train
    first, again, other = (efficiency.drawn(train, 10, seed) for seed in (0, 0, 1))
    assert len(first) == 10
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    more = {image.numpy().tobytes() for image in efficiency.drawn(train, 20, 0).images}
    assert {image.numpy().tobytes() for image in first.images} <= more
    with pytest.raises(InputError, match=r"learns from 1,000,000 images, and .* take data with"):
        efficiency.drawn(train, 1_000_000, 0)


@pytest.mark.parametrize("width", [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2])
def test_the_networks_of_a_width_are_of_one_size(width):
    with torch.device("meta"):
        default = ImageCapsNet(reconstruct=False)
        capsules, cnn = (
            efficiency.resized(Point(network, 100, width), 0)(default) for network in (ROUTED, CNN)
        )
    stems = [network.get_submodule("stem") for network in (cnn, capsules)]
    assert len(set(map(count_parameters, stems))) == 1
    assert count_parameters(cnn) == pytest.approx(count_parameters(capsules), rel=0.15)
    weights = [cnn.get_parameter("conv.weight"), capsules.get_parameter("primary.conv.weight")]
    assert weights[0].shape == weights[1].shape


def test_the_options_of_a_network_are_kept_when_it_is_resized():
    model = ImageCapsNet(
        20, 3, 2, ["a", "b"], mean=0.3, std=0.2, reconstruct=False,
        routing={"name": "dynamic", "iterations": 1},
    )  # fmt: skip
    narrow = efficiency.resized(Point(UNIFORM, 100, 0.5), 0)(model)
    assert isinstance(narrow, ImageCapsNet)
    assert narrow.classes.routing.iterations == 1
    assert (narrow.mean, narrow.class_names) == (model.mean, model.class_names)
    assert narrow.stem_channels != model.stem_channels
    cnn = cnn_beside(narrow, 0)
    assert (cnn.image_size, cnn.num_classes) == (model.image_size, 2)


def results_of(tmp_path, errors, seeds=5):
    """Of two numbers of images and two widths; every seed answers alike."""
    names = points((100, 300), (0.5, 1))
    scale = dataclasses.replace(efficiency.SCALES["smoke"], compared=names, rates=())
    wrong = {name: np.arange(400) < 400 * errors(Point.of(name)) for name in names}
    rows = [
        {
            "cell": name,
            "seed": seed,
            "test_error": answers.mean(),
            "parameters": parameters(name),
            "images": 400,
            "learnt": Point.of(name).images,
            "images_seen": 9600,
        }
        for seed in range(seeds)
        for name, answers in wrong.items()
    ]
    return Results(tmp_path, scale, rows, lambda row: {"wrong": wrong[row["cell"]]})


def parameters(name):
    return round(1000 * Point.of(name).width)


def test_capsules_that_spare_images_need_not_spare_parameters(tmp_path):
    """Fewer errors than the CNN at the default width, more of them when it is narrow."""

    def errors(point):
        better = -0.1 if point.width == 1 else 0.1
        return 0.3 + better * (point.network == ROUTED)

    report = efficiency.report(results_of(tmp_path, errors))
    by_images, by_width = report.findings
    assert by_images.verdict == "2 lower"
    assert by_images.ours == "lower at 2 of 2 points, higher at 0, not decided at 0"
    assert by_width.verdict == "1 lower, 1 higher"
    assert by_width.ours == "lower at 1 of 2 points, higher at 1, not decided at 0"
    # whether it is routing that spares them is asked, too
    assert "| uniform coupling, 300 images, width 1 minus CNN, no capsules | +0.00 |" in report.body


def test_the_report_says_how_many_images_each_training_saw(tmp_path):
    """As the rows have it, since batches that are not full are left out."""
    results = results_of(tmp_path, lambda point: 0.25)
    for row in results.rows:
        row["images_seen"] = {100: 10_240, 300: 13_568}[row["learnt"]]
    report = efficiency.report(results)
    assert "Images that a training saw" in report.body
    assert ": 10,240 from 100; 13,568 from 300." in report.body
    assert "| uniform coupling, 300 images, width 1 | – | 13,568 | 1,000 |" in report.body
    assert not [line for line in efficiency.differs(results.scale) if "Every training sees" in line]
    assert "Every training sees" not in str(efficiency.__doc__)


def test_no_error_at_all_has_no_interval(tmp_path):
    """Neither in the picture, where it is drawn as half a mistake, nor in the table."""
    body = efficiency.report(results_of(tmp_path, lambda point: 0.0)).body
    assert "minus CNN, no capsules | +0.00 | – | 1 | not decided |" in body
    assert (tmp_path / "errors.png").is_file()


def test_equal_errors_and_few_seeds_decide_nothing(tmp_path):
    equal = efficiency.report(results_of(tmp_path, lambda point: 0.25))
    assert [found.verdict for found in equal.findings] == ["not decided"] * 2
    few = efficiency.report(
        results_of(tmp_path, lambda point: 0.2 + 0.2 * (point.network == CNN), seeds=3)
    )
    assert [found.verdict for found in few.findings] == ["not decided (3 seeds)"] * 2
