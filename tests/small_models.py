"""Every network of the registry, and every routing in one of them, as small as they can be."""

from typing import Any

from torchcaps import create_model, list_models
from torchcaps.models.registry import takes_argument
from torchcaps.routing import ROUTINGS

SMALL: dict[str, Any] = {
    "image_size": 17, "num_classes": 3, "conv_channels": 4, "primary_types": 2, "pose_dim": 6,
    "types": [2, 2], "decoder_hidden": [8], "stem_channels": [4, 4, 4], "mean": 0.3, "std": 0.2,
}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    "baseline_cnn": {"image_size": 9, "conv_channels": [4, 4, 4], "hidden": [8], "dropout": 0.0},
    "self_routing_capsnet": {"types": 2},
    "attention_capsnet": {"types": 2, "widths": [4, 4], "blocks": [1, 1], "dense": [2]},
    "deepcaps": {"types": 2},
    "efficient_capsnet": {"conv_channels": [4, 4, 4]},
    "variational_capsnet": {"routing": {"name": "variational", "iterations": 2}},
}
# Networks, and routings of one network, those of the package. ("…_small" is another size of "…".)
CASES: list[tuple[str, str | None]] = [
    *((n, None) for n in list_models() if n != "capsnet" and not n.endswith("_small")),
    *(
        ("capsnet", name)
        for name, kind in ROUTINGS.items()
        if kind.__module__.startswith("torchcaps.")
    ),
]


def small(name: str, routing: str | None = None, **arguments: Any) -> Any:
    """A network of this name in evaluation mode, small where it takes arguments for that."""
    wanted = SMALL | OWN.get(name.removesuffix("_small"), {}) | arguments
    if routing is not None:
        fewer = "iterations" in ROUTINGS[routing].option_names
        wanted["routing"] = {"name": routing} | ({"iterations": 2} if fewer else {})
    known = {key: value for key, value in wanted.items() if takes_argument(name, key)}
    return create_model(name, **known).eval()
