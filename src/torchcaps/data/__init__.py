"""Labelled images: where they come from, how they are split and varied."""

from torchcaps.data.affine import (
    AFFNIST_RANGES,
    AffineRanges,
    affine_images,
    pad_images,
    place_images,
)
from torchcaps.data.affnist import read_affnist
from torchcaps.data.augment import apply_shift, random_shift, shift_offsets
from torchcaps.data.augmentation import Augmentation
from torchcaps.data.image_file import read_image
from torchcaps.data.image_files import ImageFiles
from torchcaps.data.image_kind import augmentation_for, image_kind
from torchcaps.data.images import ImageData
from torchcaps.data.load import TrainTest, dataset_names, load_data
from torchcaps.data.multimnist import MultiMNIST, PairBatch
from torchcaps.data.split import stratified_split
from torchcaps.data.statistics import channel_statistics

__all__ = [
    "AFFNIST_RANGES",
    "AffineRanges",
    "Augmentation",
    "ImageData",
    "ImageFiles",
    "MultiMNIST",
    "PairBatch",
    "TrainTest",
    "affine_images",
    "apply_shift",
    "augmentation_for",
    "channel_statistics",
    "dataset_names",
    "image_kind",
    "load_data",
    "pad_images",
    "place_images",
    "random_shift",
    "read_affnist",
    "read_image",
    "shift_offsets",
    "stratified_split",
]
