"""Stratified parts: sizes, disjointness, and dependence on the seed alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchcaps.data import ImageData, stratified_split
from torchcaps.data.split import TrainTest, check_parts
from torchcaps.errors import InputError


def numbered(labels: list[int]) -> ImageData:
    """Images whose pixels are their position."""
    n = len(labels)
    images = torch.arange(n).to(torch.uint8).view(n, 1, 1, 1)
    return ImageData(images, torch.tensor(labels), ("a", "b", "c"), "toy")


def positions(data: ImageData) -> list[int]:
    return data.images.flatten().tolist()


@settings(deadline=None)  # a test is not timed
@given(
    counts=st.lists(st.integers(5, 40), min_size=3, max_size=3),
    fraction=st.floats(0.2, 0.8),
    seed=st.integers(0, 2**63),
)
def test_each_class_gives_its_share_and_nothing_is_lost(counts, fraction, seed):
    labels = [k for k, n in enumerate(counts) for _ in range(n)]
    rest, part = stratified_split(numbered(labels), fraction, seed)
    assert part.labels.bincount().tolist() == [round(fraction * n) for n in counts]
    assert sorted(positions(rest) + positions(part)) == list(range(len(labels)))
    assert positions(part) == sorted(positions(part))


def test_the_seed_alone_decides():
    data = numbered([0, 1, 2] * 20)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = positions(stratified_split(data, 0.3, seed=5)[1])
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert positions(stratified_split(data, 0.3, seed=5)[1]) == first
    assert positions(stratified_split(data, 0.3, seed=6)[1]) != first


def test_a_name_without_images_is_passed_over():
    rest, part = stratified_split(numbered([0, 2] * 10), 0.5)
    assert part.labels.bincount(minlength=3).tolist() == [5, 0, 5]
    assert rest.class_names == ("a", "b", "c")


def test_labels_stay_with_their_images():
    data = numbered([2, 0, 1] * 10)
    for part in stratified_split(data, 0.4):
        assert torch.equal(part.labels, data.labels[positions(part)])


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_any_integer_of_64_bits_is_a_seed(seed):
    stratified_split(numbered([0, 1] * 5), 0.4, seed)


def test_small_classes_give_one_at_least_where_they_may():
    labels = [0] * 12 + [1] * 2 + [2] * 5
    rest, part = stratified_split(numbered(labels), 0.05, at_least_one=True)
    assert part.labels.bincount().tolist() == [1, 1, 1]
    assert len(rest) + len(part) == len(labels)
    with pytest.raises(
        InputError, match=r"class 'b' has 2 images: a fraction of 0\.1 would take 0"
    ):
        stratified_split(numbered(labels), 0.1)
    with pytest.raises(
        InputError, match=r"class 'a' has 12 images: a fraction of 0\.01 would take"
    ):
        stratified_split(numbered(labels), 0.01, at_least_one=True)
    with pytest.raises(InputError, match=r"class 'c' has 1 image: .* would take 1 of them"):
        stratified_split(numbered([0] * 5 + [2]), 0.2, at_least_one=True)


def part(names: str = "ab", shape: tuple[int, ...] = (1, 4, 4), several: bool = False) -> ImageData:
    labels = torch.eye(2, len(names)).long() if several else torch.tensor([0, 1])
    return ImageData(torch.zeros(2, *shape, dtype=torch.uint8), labels, tuple(names), "toy")


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (
            part(),
            part(shape=(3, 4, 4)),
            r"images: 3×4×4 \(.*\) beside 1×4×4: bring",
        ),
        (
            part(),
            part(shape=(1, 5, 4)),
            r"images: 1×5×4 \(.*\) beside 1×4×4: bring",
        ),
        (part(), part("abc"), "they have 3 classes, and those 2: give both the class_names of"),
        (part("abc"), part(), "they have 2 classes, and those 3: give both the class_names of"),
        (
            part(),
            part("ba"),
            "their class 1 is 'b', and that of the others 'a': give both",
        ),
        (
            part(),
            part("ac"),
            "their class 2 is 'c', and that of the others 'b': give both",
        ),
        (part(several=True), part(), "labels of the training images are several classes an image"),
        (part(), part(several=True), "labels of the test images are several classes an image"),
    ],
)
def test_parts_that_cannot_be_judged_by_one_another(train, test, said):
    with pytest.raises(InputError, match=f"^the test images of toy do not fit .*{said}"):
        check_parts(TrainTest(train, test))


def test_parts_that_fit():
    check_parts(TrainTest(part(), part()))
    check_parts(TrainTest(part(several=True), part(several=True)))
    floats = ImageData(torch.zeros(2, 1, 4, 4), torch.tensor([1, 1]), ("a", "b"), "another")
    check_parts(TrainTest(part(), floats))
