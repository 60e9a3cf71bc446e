"""The trained model that comes with the package, as a folder of `save_pretrained`.

`scripts/train_shipped_model.py` makes it; its README.md says how, and what it reaches.
"""

from pathlib import Path

__all__ = ["SHIPPED"]

SHIPPED = Path(__file__).parent
