"""The pictures that a finished run leaves in its folder, for a person who looks at them.

All are PNG files in one style, whatever a matplotlibrc says, and are written atomically. Only
figure objects and the Agg canvas are used: no window, no global figure, and matplotlib's settings
are as before when a function returns.

Class names are drawn as they are, `$` and `_` included. A character that no font at hand has (the
fonts are DejaVu Sans, then those of `text.FALLBACK_FONTS` that are installed) is drawn as □ and
the name is preceded by the number of its class, so that two names never look the same because of
it.
"""

from torchcaps.training.pictures.confusion import draw_confusion
from torchcaps.training.pictures.learning_curves import draw_learning_curves
from torchcaps.training.pictures.mistakes import draw_mistakes
from torchcaps.training.pictures.prediction import draw_prediction
from torchcaps.training.pictures.reconstructions import draw_reconstructions

__all__ = [
    "draw_confusion",
    "draw_learning_curves",
    "draw_mistakes",
    "draw_prediction",
    "draw_reconstructions",
]
