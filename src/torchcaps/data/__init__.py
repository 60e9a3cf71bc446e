"""Labelled images: where they come from, how they are split and shifted."""

from .affine import AFFNIST_RANGES, AffineRanges, affine_images, pad_images, place_images
from .affnist import read_affnist
from .augment import apply_shift, random_shift, shift_offsets
from .images import ImageData
from .load import TrainTest, dataset_names, load_data
from .multimnist import MultiMNIST, PairBatch
from .picture import read_image
from .split import stratified_split

__all__ = [
    "AFFNIST_RANGES",
    "AffineRanges",
    "ImageData",
    "MultiMNIST",
    "PairBatch",
    "TrainTest",
    "affine_images",
    "apply_shift",
    "dataset_names",
    "load_data",
    "pad_images",
    "place_images",
    "random_shift",
    "read_affnist",
    "read_image",
    "shift_offsets",
    "stratified_split",
]
