import pytest
import torch

from small_runs import tiny_data
from torchcaps.data import ImageData
from torchcaps.errors import InputError
from torchcaps.training.batches import Batches

# Image k has the value k everywhere, so that a batch says which images it holds.
NUMBERED = ImageData(
    torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1).expand(50, 1, 6, 6).contiguous(),
    torch.arange(50) % 2,
    ("even", "odd"),
    "numbered",
)


def seen(batches: Batches, step: int) -> list[int]:
    return (batches.batch(step)[0][:, 0, 0, 0] * 255).round().int().tolist()


def test_an_epoch_visits_no_image_twice_and_leaves_out_the_incomplete_batch():
    batches = Batches(NUMBERED, batch_size=8, seed=0, max_shift=0)
    assert batches.steps_per_epoch == 6
    visited = [image for step in range(6) for image in seen(batches, step)]
    assert len(visited) == len(set(visited)) == 48


def test_every_epoch_has_its_own_order():
    batches = Batches(NUMBERED, batch_size=50, seed=0, max_shift=0)
    first, second = seen(batches, 0), seen(batches, 1)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second


def test_a_step_is_a_function_of_the_seed_alone():
    def step_seven(seed):
        torch.rand(3)  # the state of the global generator is of no matter
        return Batches(tiny_data().train, 16, seed, max_shift=2).batch(7)

    first, again, other = step_seven(0), step_seven(0), step_seven(1)
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])


def test_labels_stay_with_their_images():
    batches = Batches(NUMBERED, batch_size=10, seed=3, max_shift=0)
    labels = batches.batch(2)[1].tolist()
    assert labels == [image % 2 for image in seen(batches, 2)]


@pytest.mark.parametrize("world", [2, 4])
def test_the_processes_together_see_the_batch_of_one(world):
    data = tiny_data().train
    whole = Batches(data, 16, seed=5, max_shift=2).batch(9)
    shares = [Batches(data, 16, 5, 2, rank, world).batch(9) for rank in range(world)]
    assert torch.equal(torch.cat([images for images, _ in shares]), whole[0])
    assert torch.equal(torch.cat([labels for _, labels in shares]), whole[1])


def test_shifts_move_images_and_no_shift_leaves_them():
    data = tiny_data().train
    still, moved = (Batches(data, 16, 0, max_shift).batch(0)[0] for max_shift in (0, 2))
    assert not torch.equal(still, moved)
    original = torch.stack([data[k][0] for k in range(len(data))])
    assert all((original == image).flatten(1).all(1).any() for image in still)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 51}, "there are 50 training images, fewer than one batch"),
        ({"batch_size": 9, "world": 2}, "--batch-size 9 must be a multiple of the 2 processes"),
        ({"max_shift": 6}, "--max-shift 6 would push whole images of 6×6 out of sight: take 5"),
    ],
)
def test_what_cannot_be_cut_into_batches_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        Batches(**{"data": NUMBERED, "batch_size": 8, "seed": 0, "max_shift": 0, **options})
