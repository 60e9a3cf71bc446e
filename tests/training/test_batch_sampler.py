from typing import Any

import pytest
import torch

from tests.small_runs import tiny_data
from torchcaps.data import ImageData, TrainTest
from torchcaps.errors import InputError
from torchcaps.training.batch_sampler import BatchSampler
from torchcaps.training.image_classification import ImageClassification

# Image k has the value k everywhere, so that a batch says which images it holds.
NUMBERED = ImageData(
    torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1).expand(50, 1, 6, 6).contiguous(),
    torch.arange(50) % 2,
    ("even", "odd"),
    "numbered",
)


def image_batch(data: ImageData, step: int, *sampling: Any, max_shift: int = 0, **options: Any):
    """Images and labels of a step; `sampling` is batch size, seed, rank, world."""
    task = ImageClassification(TrainTest(data, data), "a model", max_shift=max_shift)
    return task.batch(step, BatchSampler(len(data), *sampling, **options))


def seen(step: int, batch_size: int, seed: int = 0) -> list[int]:
    images, _ = image_batch(NUMBERED, step, batch_size, seed)
    return (images[:, 0, 0, 0] * 255).round().int().tolist()


def test_an_epoch_visits_no_image_twice_and_leaves_out_the_incomplete_batch():
    assert BatchSampler(50, batch_size=8, seed=0).steps_per_epoch == 6
    visited = [image for step in range(6) for image in seen(step, batch_size=8)]
    assert len(visited) == len(set(visited)) == 48


def test_every_epoch_has_its_own_order():
    first, second = seen(0, batch_size=50), seen(1, batch_size=50)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second


def test_a_step_is_a_function_of_the_seed_alone():
    def step_seven(seed):
        torch.rand(3)  # the state of the global generator is of no matter
        return image_batch(tiny_data().train, 7, 16, seed, max_shift=2)

    first, again, other = step_seven(0), step_seven(0), step_seven(1)
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])


def test_labels_stay_with_their_images():
    labels = image_batch(NUMBERED, 2, 10, 3)[1].tolist()
    assert labels == [image % 2 for image in seen(2, batch_size=10, seed=3)]


@pytest.mark.parametrize("world", [2, 4])
def test_the_processes_together_see_the_batch_of_one(world):
    data = tiny_data().train
    whole = image_batch(data, 9, 16, 5, max_shift=2)
    shares = [image_batch(data, 9, 16, 5, rank, world, max_shift=2) for rank in range(world)]
    assert torch.equal(torch.cat([images for images, _ in shares]), whole[0])
    assert torch.equal(torch.cat([labels for _, labels in shares]), whole[1])


def test_shifts_move_images_and_no_shift_leaves_them():
    data = tiny_data().train
    still, moved = (image_batch(data, 0, 16, 0, max_shift=shift)[0] for shift in (0, 2))
    assert not torch.equal(still, moved)
    original = torch.stack([data[k][0] for k in range(len(data))])
    assert all((original == image).flatten(1).all(1).any() for image in still)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch_size": 51, "noun": "images"},
            "there are 50 training images, fewer than one batch: take --batch-size 50 or less",
        ),
        ({"batch_size": 9, "world": 2}, "--batch-size 9 must be a multiple of the 2 processes"),
    ],
)
def test_what_cannot_be_cut_into_batches_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        BatchSampler(**{"examples": 50, "batch_size": 8, "seed": 0, **options})


def test_shifts_out_of_sight_are_refused():
    with pytest.raises(
        InputError, match="--max-shift 6 would push whole images of 6×6 out of sight: take 5"
    ):
        image_batch(NUMBERED, 0, 8, 0, max_shift=6)
