"""SegCaps: images in, masks out; and the Dice loss."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import torchcaps
from tests.small_runs import tiny_config
from torchcaps.errors import InputError
from torchcaps.losses import dice_loss, dice_score
from torchcaps.models import SegCaps
from torchcaps.models.registry import takes_argument
from torchcaps.models.summary import count_parameters
from torchcaps.training.batch_sampler import BatchSampler
from torchcaps.training.config import TrainConfig
from torchcaps.training.loop import train_task
from torchcaps.training.precision import Precision
from torchcaps.training.task import HeldOut, StepResult, Task

Masked = tuple[Tensor, Tensor]  # images [n, 1, H, W], masks [n, K, H, W]


def bars(n: int, seed: int = 0) -> Masked:
    """A bar across and a bar down, which overlap; one mask for each."""
    draw = torch.Generator().manual_seed(seed)
    masks = torch.zeros(n, 2, 16, 16)
    for image, (y, x) in enumerate(torch.randint(1, 13, (n, 2), generator=draw).tolist()):
        masks[image, 0, y : y + 2] = 1
        masks[image, 1, :, x : x + 2] = 1
    return masks.amax(dim=1, keepdim=True), masks


class Bars(Task[SegCaps, Masked]):
    """Which pixels belong to which bar."""

    name = "bars"
    measures = ("dice",)

    def __init__(self) -> None:
        self.data = bars(16)
        self.examples_per_epoch = 16

    def describe_data(self) -> dict[str, Any]:
        return {"name": self.name, "train": 16}

    def batch(self, step: int, sampler: BatchSampler) -> Masked:
        images, masks = self.data
        chosen = sampler.indices(step)
        return images[chosen], masks[chosen]

    def losses(self, model: SegCaps, batch: Masked, precision: Precision) -> StepResult:
        images, masks = batch
        with precision.autocast():
            output = model(images, masks)
        dice = dice_score(output.activation, masks).mean()
        return StepResult(model.loss(output, images, masks), {"dice": dice})

    def measure_held_out(self, model: SegCaps, config: TrainConfig) -> HeldOut:
        images, masks = bars(8, seed=1)
        return HeldOut(answers=float(dice_score(model(images).activation, masks).mean()))


def test_it_has_as_many_parameters_as_published() -> None:
    with torch.device("meta"):
        assert count_parameters(SegCaps()) == 1_425_649  # 1.4 million


def test_the_task_seam_carries_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SegCaps(num_classes=2, iterations=2)
    before = bars(8, seed=1)
    with torch.no_grad():
        untrained = float(dice_score(model(before[0]).activation, before[1]).mean())
    config = tiny_config(
        tmp_path / "run", iterations=None, epochs=6, batch_size=4, learning_rate=2e-3
    )
    trained = train_task(config, Bars(), model).held_out.answers
    assert trained > untrained + 0.1


def test_samples_are_independent() -> None:
    model = SegCaps(channels=3, num_classes=2).eval()
    images = torch.rand(3, 3, 16, 8)
    together = model(images)
    assert together.pose.shape == (3, 2, 16, 8, 16)
    assert together.reconstruction.shape == images.shape
    for n in range(3):
        alone = model(images[n : n + 1])
        torch.testing.assert_close(alone.activation[0], together.activation[n])


def test_the_reconstruction_shows_what_is_within_the_masks() -> None:
    model = SegCaps(num_classes=2).eval()
    images, masks = bars(2)
    output = model(images, masks)
    assert not torch.equal(output.reconstruction, model(images, 0 * masks).reconstruction)
    nothing = model(images, 0 * masks).reconstruction
    assert torch.equal(nothing, nothing[..., :1, :1].expand_as(nothing))  # no pose is seen
    dice = dice_loss(output.activation, masks)
    error = nn.functional.mse_loss(output.reconstruction, images)  # the bars are the image
    torch.testing.assert_close(model.loss(output, images, masks), dice + error)
    plain = SegCaps(reconstruct=False)
    assert plain(images).reconstruction is None
    plain.loss(plain(images), images, masks[:, :1]).backward()


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float64])
def test_masks_may_be_of_any_number_format(dtype: torch.dtype) -> None:
    model = SegCaps(num_classes=2).eval()
    images, masks = bars(1)
    expected = model(images, masks).reconstruction
    torch.testing.assert_close(model(images, masks.to(dtype)).reconstruction, expected)


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    model = SegCaps(num_classes=2, iterations=2, reconstruct=False).eval()
    model.save_pretrained(tmp_path)
    again = SegCaps.from_pretrained(tmp_path)
    images = torch.rand(1, 1, 8, 8)
    assert torch.equal(again(images).activation, model(images).activation)
    assert "SegCaps.from_pretrained" in (tmp_path / "README.md").read_text()


def test_dice_is_the_overlap() -> None:
    seen = torch.tensor([[[1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    true = torch.tensor([[[True, False], [True, False]], [[False, False], [False, False]]])
    score = dice_score(seen, true, smooth=0.5)
    torch.testing.assert_close(score, torch.tensor([(2 * 1 + 0.5) / (4 + 0.5), 1.0]))
    torch.testing.assert_close(dice_loss(seen, true, 0.5), 1 - score.mean())
    logits = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 3, 3) < 0.5
    blank = torch.zeros(1, 2, 2, requires_grad=True)
    same = dice_score(blank, torch.zeros(1, 2, 2), smooth=0)
    assert same.item() == 1
    same.sum().backward()
    assert bool(blank.grad.isfinite().all())
    assert torch.autograd.gradcheck(lambda x: dice_loss(x.sigmoid(), mask), logits)
    assert dice_score(seen.half(), true).dtype == torch.float32


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"multiples of 8, got shape \(1, 1, 12, 8\)"):
        SegCaps()(torch.rand(1, 1, 12, 8))
    with pytest.raises(TypeError, match="reconstruct must be True or False, got 'no'"):
        SegCaps(reconstruct="no")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="images must be a floating-point tensor"):
        SegCaps()(torch.ones(1, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(TypeError, match=r"images is torch.float64 and the"):
        SegCaps()(torch.rand(1, 1, 8, 8, dtype=torch.float64))
    with pytest.raises(ValueError, match="divide pixels by 255"):
        SegCaps()(torch.full((1, 1, 8, 8), 255.0))
    with pytest.raises(ValueError, match=r"masks must be \[B, K, H, W\] = \(2, 2, 8, 8\), got"):
        SegCaps(1, 2)(torch.rand(2, 1, 8, 8), torch.ones(2, 8, 8))
    with pytest.raises(ValueError, match="must have the same shape"):
        dice_score(torch.rand(2, 3, 3), torch.rand(2, 3, 4))
    with pytest.raises(ValueError, match="smooth must be at least 0"):
        dice_score(torch.rand(2, 3), torch.rand(2, 3), smooth=-1)


def test_it_is_made_by_name_but_tells_no_classes(tmp_path: Path) -> None:
    model = torchcaps.create_model("segcaps", num_classes=2, reconstruct=False)
    assert isinstance(model, torchcaps.SegCaps)
    assert model.num_classes == 2
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="load it with torchcaps"):
        torchcaps.load_model(tmp_path)
    again = torchcaps.SegCaps.from_pretrained(tmp_path)
    assert again.config == model.config
    with pytest.raises(InputError, match="segcaps makes masks"):
        takes_argument("segcaps", "routing")
