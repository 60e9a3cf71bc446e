"""The explorer: one page on which a person draws an image and watches it being routed."""

from torchcaps.explorer.export import is_page, write_explorer
from torchcaps.explorer.held_out import find_held_out, held_out_images
from torchcaps.explorer.shipped import SHIPPED

__all__ = ["SHIPPED", "find_held_out", "held_out_images", "is_page", "write_explorer"]
