"""What kind of images there are, told from their borders, and how such images are varied."""

from typing import Literal, get_args

import torch
from torch import Tensor

from torchcaps.data.augment import Border
from torchcaps.data.augmentation import Augmentation
from torchcaps.data.border import some_images
from torchcaps.data.images import ImageData
from torchcaps.errors import InputError
from torchcaps.types import check_choice

__all__ = ["ImageKind", "augmentation_for", "image_kind"]

ImageKind = Literal["digits", "drawings", "photos"]
SAME = 0.06  # brightness: what differs by less is one colour, though JPEG wrote it
PLAIN = 0.7  # share of an image's border that has one colour, where the ground is plain
USUAL = 2  # pixels of a shift, where nobody says
SHIFTED = (
    8  # photos are shifted by up to a side / SHIFTED: 4 pixels of 32, as is usual for CIFAR-10
)


def image_kind(data: ImageData) -> ImageKind:
    """Tell the kind of images from their borders.

    The ground of an image is plain where most of its border has one colour. Where more than half of
    the images have a plain ground, they are "digits" if the ground is black in most of them, else
    "drawings"; all others are "photos".

    Args:
        data: of more than 1,000 images, 1,000 at even distances are looked at.

    Example:
        >>> from torchcaps.data import load_data
        >>> image_kind(load_data("mnist5k").train)
        'digits'
    """
    border = torch.cat([borders(images) for images in some_images(data)])
    ground = border.median(dim=2, keepdim=True).values
    plain = ((border - ground).abs() < SAME).all(dim=1).float().mean(dim=1) > PLAIN
    if plain.float().mean() <= 0.5:
        return "photos"
    black = (ground < SAME).all(dim=1)
    return "digits" if black[plain].float().mean() > 0.5 else "drawings"


def borders(images: Tensor) -> Tensor:
    """The outermost pixels of `[n, C, H, W]`, `[n, C, P]`: those of the corners twice."""
    sides = (images[:, :, 0], images[:, :, -1], images[..., 0], images[..., -1])
    return torch.cat(sides, dim=2)


def augmentation_for(
    data: ImageData,
    augment: Literal["auto", "none"] | ImageKind = "auto",
    *,
    max_shift: int | None = None,
    flip: bool | None = None,
    max_rotation: float = 0.0,
    jitter: float = 0.0,
) -> Augmentation:
    """How images are varied in training, by their kind.

    "digits" are shifted and black moves in, as in the paper. "drawings" are shifted and their edge
    is repeated. "photos" are shifted by more, and their mirror image moves in; half of those with
    colour are flipped, for left and right seldom matter in them. "auto" takes what `image_kind`
    says. "none" has nothing but what the other options ask for, which win over every kind.

    Args:
        data: the images for training.
        augment: "auto", "none", or a kind.
        max_shift: pixels; 0 turns shifts off; None: 2, and in photos an eighth of the smaller side
            where that is more.
        flip: whether left and right are exchanged in half of the images; None: in colour photos.
        max_rotation, jitter: as in `Augmentation`.

    Raises:
        InputError: `max_shift` would push whole images out of sight. ValueError: another kind.

    Example:
        >>> from torchcaps.data import load_data
        >>> str(augmentation_for(load_data("mnist5k").train))
        'shifts by up to 2 pixels (black moves in)'
    """
    check_choice("augment", augment, ("auto", "none", *get_args(ImageKind)))
    kind = image_kind(data) if augment == "auto" else augment
    height, width = data.image_size
    side = min(height, width)
    if max_shift is None:
        usual = max(USUAL, side // SHIFTED) if kind == "photos" else USUAL
        max_shift = 0 if kind == "none" else min(usual, side - 1)
    if max_shift >= side:
        raise InputError(
            f"--max-shift {max_shift} would push whole images of {height}×{width} out of sight: "
            f"take {side - 1} or less"
        )
    borders: dict[str, Border] = {"digits": "zeros", "drawings": "edge"}
    return Augmentation(
        max_shift=max_shift,
        border=borders.get(kind, "mirror"),
        flip=(kind == "photos" and data.channels >= 3) if flip is None else flip,
        max_rotation=max_rotation,
        jitter=jitter,
    )
