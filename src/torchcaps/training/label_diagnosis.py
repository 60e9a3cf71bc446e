"""What is wrong with a network that does not tell which classes are in an image."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torchcaps.training.diagnosis import (
    BEYOND_CHANCE,
    Diagnosis,
    named,
    no_progress,
    stuck_capsules,
)
from torchcaps.training.metrics import Evaluation

__all__ = ["diagnose_labels", "ordered_pairs"]

RATHER_RIGHT = 0.6  # of the pairs in the right order: with few images that may be luck or not
PRESENT = 0.5  # a capsule longer than this says that its class is there: midway of the margins


def diagnose_labels(
    measured: Evaluation,
    class_names: Sequence[str],
    *,
    images: str,
    history: Sequence[Mapping[str, Any]] = (),
) -> Diagnosis | None:
    """What is wrong with a network that answered so; None where nothing is to be seen.

    A network has learned something when the capsules of classes that are in an image are longer
    there than in images without them, by more than chance (`ordered_pairs`). Its answers may be the
    same for every image even so: while no length passes a half, or all do.

    Args:
        measured: its answers; labels `[N, K]`, 0 or 1.
        class_names: K names.
        images: what was measured on, for the words: "validation images".
        history: the epochs so far, with `classification_loss`.
    """
    share, z = ordered_pairs(measured.labels, measured.activation)
    if share is None:
        return None  # every class is in all images, or in none
    count = len(measured.labels)
    found = measured.activation > PRESENT
    alike = bool((found == found[0]).all())
    order = f"{share:.0%} of the pairs of an image with a class and one without it are in the"
    if alike:
        names = [name for name, there in zip(class_names, found[0].tolist()) if there]
        words = f"in all {count} {images} {named(names) if names else 'no class'} is found"
        if stuck := stuck_capsules(words, measured.activation):
            return stuck
    else:
        words = f"{order} order of their capsules' lengths, {count} {images}, by chance 50%"
    if z > BEYOND_CHANCE:
        if not alike:
            return None
        return Diagnosis(
            "one_answer",
            f"{words}, though {order} right order",
            "try more --epochs, or choose a threshold for each class yourself",
        )
    if share > RATHER_RIGHT:
        return Diagnosis(
            "few_images",
            f"{order} right order, and of only {count} {images} that may be luck",
            "hold out more images",
        )
    return no_progress(words, history)


def ordered_pairs(labels: Tensor, activation: Tensor) -> tuple[float | None, float]:
    """How often a class has a longer capsule where it is than where it is not, and how surely.

    Of class k and an image with it and one without, the pair is in the right order if the capsule
    is longer in the first; equal lengths count half. With r_nk the rank of image n among the
    lengths of class k less the mean rank, and y_nk its label less the mean label,

        S = Σ_nk r_nk y_nk,   E[S] = 0,   Var[S] = Σ_kl (rᵀr)_kl (yᵀy)_kl / (N − 1)

    over all ways to deal the answers to other images. It asks nothing of how often classes come,
    or come together.

    Args:
        labels: `[N, K]`, 0 or 1.
        activation: `[N, K]`.

    Returns:
        The share of such pairs of all classes, None where there are none; and S / √Var[S], 0 where
        all lengths of every class are alike.

    Reference: Mann and Whitney (1947); the variance over permutations: Hoeffding (1951).

    Example:
        >>> labels = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0]])
        >>> lengths = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.8, 0.1], [0.1, 0.2]])
        >>> share, z = ordered_pairs(labels, lengths)
        >>> share, round(z, 2)
        (0.8125, 1.4)
    """
    y = labels.double()
    with_class = y.sum(dim=0)
    pairs = float((with_class * (len(y) - with_class)).sum())
    if not pairs:
        return None, 0.0
    r = torch.stack([centred_ranks(column) for column in activation.double().unbind(1)], dim=1)
    y = y - y.mean(dim=0)
    surplus = float((r * y).sum())
    variance = float(((r.T @ r) * (y.T @ y)).sum()) / (len(y) - 1)
    return 0.5 + surplus / pairs, surplus / variance**0.5 if variance > 1e-9 else 0.0


def centred_ranks(values: Tensor) -> Tensor:
    """The rank of each value, equal ones sharing theirs, less the mean rank."""
    _, which, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    mean = last - (counts - 1) / 2
    ranks: Tensor = mean[which].double()
    return ranks - (len(values) + 1) / 2
