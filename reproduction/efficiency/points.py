"""What is compared: three networks with one stem, by training images and by width."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reproduction.harness.comparison import Comparison

__all__ = ["CNN", "NETWORKS", "ROUTED", "UNIFORM", "Point", "comparisons", "points"]

ROUTED, UNIFORM, CNN = "dynamic", "uniform", "cnn"
NETWORKS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    ROUTED: ("dynamic routing", {"routing": "dynamic"}),
    UNIFORM: ("uniform coupling", {"routing": "dynamic", "iterations": 1}),
    CNN: ("CNN, no capsules", {}),
}
STEM, TYPES = (32, 64, 128), 16  # of the default network


class Point(NamedTuple):
    """So many training images, and a width as a multiple of the default network's.

    Example:
        >>> point = Point.of("dynamic-300-0.25")
        >>> point.images, point.widths
        (300, {'stem_channels': (8, 16, 32), 'primary_types': 4})
    """

    network: str
    images: int
    width: float

    @classmethod
    def of(cls, name: str) -> "Point":
        """From the name of its cells."""
        network, images, width = name.split("-")
        return cls(network, int(images), float(width))

    @property
    def name(self) -> str:
        """Of its cells."""
        return f"{self.network}-{self.images}-{self.width:g}"

    @property
    def label(self) -> str:
        """As a report says it."""
        return f"{NETWORKS[self.network][0]}, {self.images:,} images, width {self.width:g}"

    @property
    def widths(self) -> dict[str, Any]:
        """The options of a network of this width."""
        return {
            "stem_channels": tuple(max(1, round(self.width * n)) for n in STEM),
            "primary_types": max(1, round(self.width * TYPES)),
        }


def points(images: Sequence[int], widths: Sequence[float]) -> tuple[str, ...]:
    """Every network by the number of images, at the default width, and by width, with the most.

    Example:
        >>> points([100, 300], [0.25, 1])[:3]
        ('dynamic-100-1', 'uniform-100-1', 'cnn-100-1')
        >>> len(points([100, 300], [0.25, 1]))
        9
    """
    places = [(n, 1.0) for n in images] + [(max(images), w) for w in widths if w != 1]
    return tuple(Point(network, *place).name for place in places for network in NETWORKS)


def comparisons(names: Sequence[str]) -> dict[str, Comparison]:
    """All points as networks that are compared; nobody has published their errors.

    The CNN comes last of two, and is at the place of the first, which is said once.
    """
    known = {name: Point.of(name) for name in names}
    return {
        name: Comparison(NETWORKS[CNN][0] if one.network == CNN else one.label, {}, None)
        for name, one in known.items()
    }
