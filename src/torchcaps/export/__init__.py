"""Trained networks as files that run elsewhere: ONNX, and programs of torch.export."""

from torchcaps.export.check import Comparison
from torchcaps.export.program import export_program
from torchcaps.export.write import FORMATS, check_path, export_model, is_export

__all__ = [
    "FORMATS",
    "Comparison",
    "check_path",
    "export_model",
    "export_program",
    "is_export",
]
