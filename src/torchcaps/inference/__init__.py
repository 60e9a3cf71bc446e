"""A trained model on many image files: finding them, reading them ahead, answers, tables."""

from torchcaps.inference.answers import Answer, answer_files
from torchcaps.inference.image_paths import find_images
from torchcaps.inference.table import check_folder, check_table, open_table

__all__ = ["Answer", "answer_files", "check_folder", "check_table", "find_images", "open_table"]
