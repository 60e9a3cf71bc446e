"""The routings that the page's engine has, and how a model says which of them it needs."""

from typing import Any

from torchcaps.errors import InputError
from torchcaps.models.capsule_classifier import CapsuleClassifier
from torchcaps.routing.registry import ROUTINGS, routing_config

__all__ = ["PAGE_ROUTINGS", "page_routing"]

# As in page/engine/routings/table.js: name → the options that the page takes.
PAGE_ROUTINGS: dict[str, tuple[str, ...]] = {
    "dynamic": ("iterations", "leaky"),
    "attention": ("iterations",),
    "em": (
        "iterations",
        "final_lambda",
        "variance_floor",
        "mean_momentum",
        "mass_floor",
        "lambda_scale",
        "constant_lambda",
        "first_coupling",
    ),
}
# Options that say how a routing is trained, and not what it computes.
NOT_FOR_THE_PAGE = {"detach"}
MOST_ITERATIONS = 100  # beyond which a page would not come to an end


def page_routing(model: CapsuleClassifier) -> dict[str, Any]:
    """Name and options of the model's routing, as the page's engine takes them: JSON values.

    Raises:
        InputError: a routing, an option of it, or a number of iterations that the page has not.
    """
    name, options = routing_of(model)
    if name not in PAGE_ROUTINGS:
        raise InputError(
            f"the explorer shows {listed('and')} routing, and this model routes by {name}: name a "
            f"model that routes by {listed('or')}"
        )
    if not options.get("activations", True):
        raise InputError(
            "the explorer shows how active each class is, and this model's attention routing has "
            "activations=False, by which all are alike: name a model whose classes have activations"
        )
    usual = ROUTINGS[name]().options()
    beyond = set(options) - {*PAGE_ROUTINGS[name], *NOT_FOR_THE_PAGE}
    unknown = sorted(option for option in beyond if options[option] != usual[option])
    if unknown:
        raise InputError(
            f"the explorer's {name} routing has no {', '.join(unknown)}, which this model sets: "
            f"name a model with {', '.join(PAGE_ROUTINGS[name])} alone"
        )
    if options.get("iterations", 1) > MOST_ITERATIONS:
        raise InputError(
            f"the model routes in {options['iterations']} iterations, and the explorer shows at "
            f"most {MOST_ITERATIONS}: correct iterations in its config.json"
        )
    return {"name": name, **{option: options[option] for option in PAGE_ROUTINGS[name]}}


def listed(word: str) -> str:
    """The names of the routings, with a word before the last."""
    *others, last = PAGE_ROUTINGS
    return f"{', '.join(others)} {word} {last}"


def routing_of(model: CapsuleClassifier) -> tuple[str, dict[str, Any]]:
    """Name and options of the routing of the class capsules; no name where none stands for it."""
    routing = model.classes.routing
    if ROUTINGS.get(routing.name) is not type(routing):
        return type(routing).__name__, {}
    options = routing_config(routing)
    return options.pop("name"), options
