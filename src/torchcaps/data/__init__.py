"""Labelled images: where they come from, how they are split and shifted."""

from .augment import apply_shift, random_shift, shift_offsets
from .images import ImageData
from .load import TrainTest, dataset_names, load_data
from .picture import read_image
from .split import stratified_split

__all__ = [
    "ImageData",
    "TrainTest",
    "apply_shift",
    "dataset_names",
    "load_data",
    "random_shift",
    "read_image",
    "shift_offsets",
    "stratified_split",
]
