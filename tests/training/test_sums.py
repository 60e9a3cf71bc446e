import torch

from torchcaps.models import Losses
from torchcaps.training.sums import EpochSums

CPU = torch.device("cpu")


def step(sums: EpochSums, number: int, total: float, images: int = 4, right: int = 3) -> None:
    losses = Losses(torch.tensor(total), torch.tensor(total / 2), torch.tensor(total / 4))
    sums.add(losses, torch.arange(images) < right, number)


def test_means_weigh_every_image_alike():
    sums = EpochSums(CPU)
    step(sums, 0, total=1.0, images=4, right=3)
    step(sums, 1, total=4.0, images=2, right=0)
    assert sums.images == 6
    assert sums.means() == {
        "loss": 2.0,
        "classification_loss": 1.0,
        "reconstruction_loss": 0.5,
        "train_accuracy": 0.5,
    }


def test_going_on_from_saved_values_gives_the_same_bits():
    straight, first = EpochSums(CPU), EpochSums(CPU)
    step(straight, 0, 0.1)
    step(first, 0, 0.1)
    second = EpochSums(CPU, first.values)
    step(straight, 1, 0.7)
    step(second, 1, 0.7)
    assert straight.values == second.values


def test_many_small_losses_are_not_lost_in_a_large_sum():
    sums = EpochSums(CPU)
    step(sums, 0, total=2.0**24, images=1, right=1)
    for k in range(8):
        step(sums, k, total=0.5, images=1, right=1)
    assert sums.means()["loss"] * 9 == 2.0**24 + 4  # float32 would have kept 2²⁴


def test_the_first_bad_step_is_kept():
    sums = EpochSums(CPU)
    step(sums, 3, 1.0)
    assert int(sums.first_bad_step) == -1
    step(sums, 4, float("inf"))
    step(sums, 5, 1.0)
    step(sums, 6, float("nan"))
    assert int(sums.first_bad_step) == 4
