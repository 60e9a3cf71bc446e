"""Random shifts against a loop written with slices."""

import pytest
import torch

from torchcaps.data import apply_shift, random_shift, shift_offsets


def shifted_by_slices(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """One image [C, H, W]: copy the overlap, leave the rest zero."""
    _, height, width = image.shape
    out = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                out[:, y, x] = image[:, y - down, x - right]
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bfloat16])
@pytest.mark.parametrize("size", [(6, 6), (5, 9)])
def test_every_offset_equals_the_loop(size, dtype):
    offsets = torch.cartesian_prod(torch.arange(-3, 4), torch.arange(-3, 4))
    images = torch.randint(1, 200, (len(offsets), 2, *size)).to(dtype)
    expected = torch.stack(
        [shifted_by_slices(i, *o) for i, o in zip(images, offsets.tolist(), strict=True)]
    )
    assert torch.equal(apply_shift(images, offsets), expected)


def test_an_offset_larger_than_the_image_leaves_nothing():
    images = torch.ones(3, 1, 4, 4)
    assert not apply_shift(images, torch.tensor([[4, 0], [0, -9], [100, 100]])).any()


def test_random_shift_applies_the_offsets_it_draws():
    images = torch.rand(16, 1, 10, 12)
    offsets = shift_offsets(16, 2, seed=3, step=9)
    assert torch.equal(random_shift(images, 2, seed=3, step=9), apply_shift(images, offsets))


def test_processes_that_slice_the_global_offsets_agree_with_one_process():
    images = torch.rand(12, 1, 8, 8)
    whole = random_shift(images, 2, seed=0, step=4)
    offsets = shift_offsets(12, 2, seed=0, step=4)
    parts = [apply_shift(images[i::3], offsets[i::3]) for i in range(3)]
    assert all(torch.equal(part, whole[i::3]) for i, part in enumerate(parts))


def test_seed_and_step_alone_decide():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = shift_offsets(64, 2, seed=1, step=2)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(shift_offsets(64, 2, seed=1, step=2), first)


def test_neighbouring_and_exchanged_pairs_differ():
    drawn = {
        pair: tuple(shift_offsets(32, 2, *pair).flatten().tolist())
        for pair in [(0, 0), (0, 1), (1, 0), (1, 1), (0, -1), (-1, 0), (11, 1), (1, 11), (2, 0)]
    }
    assert len(set(drawn.values())) == len(drawn)


def test_offsets_are_uniform():
    offsets = torch.cat([shift_offsets(500, 2, seed=0, step=step) for step in range(100)])
    cell = (offsets[:, 0] + 2) * 5 + offsets[:, 1] + 2
    counts = cell.bincount(minlength=25)
    assert len(counts) == 25
    # 25 cells of 2,000 expected: chi-square with 24 degrees of freedom is below 51.2 with
    # probability 0.999, and the draw is fixed
    assert ((counts - 2000) ** 2 / 2000).sum() < 51.2


def test_no_shift_returns_the_input_itself():
    images = torch.rand(2, 1, 4, 4)
    assert random_shift(images, 0, seed=0, step=0) is images


def test_the_input_is_not_changed():
    images = torch.rand(4, 1, 6, 6)
    before = images.clone()
    random_shift(images, 3, seed=0, step=0)
    assert torch.equal(images, before)


def test_an_empty_batch():
    assert random_shift(torch.zeros(0, 1, 6, 6), 2, seed=0, step=0).shape == (0, 1, 6, 6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_gives_what_the_cpu_gives():
    images = torch.rand(8, 3, 9, 9)
    on_gpu = random_shift(images.cuda(), 2, seed=1, step=1)
    assert torch.equal(on_gpu.cpu(), random_shift(images, 2, seed=1, step=1))
