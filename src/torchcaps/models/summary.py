"""The layers of a network as a table: what comes out of them, what they learn, what they cost."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchcaps.models.arguments import arguments_of
from torchcaps.routing.base import Routing
from torchcaps.types import Capsules

__all__ = ["LayerSummary", "Summary", "summarise"]


@dataclass(frozen=True)
class LayerSummary:
    """A layer of a network.

    Attributes:
        name, kind: in the network, and its class.
        output: shape of what comes out of it for one image, without the batch; of capsules, their
            number and the dimension of their poses. None where it did not run.
        parameters: learned values.
        flops: of one image, as `torch.utils.flop_counter` counts them with all votes at once: two
            for every multiplication of a product of matrices or a convolution.
        note: how it routes, if it does.
    """

    name: str
    kind: str
    output: tuple[int, ...] | None
    parameters: int
    flops: int
    note: str = ""


@dataclass(frozen=True)
class Summary:
    """The layers of a network and their totals; `str(summary)` is a table."""

    title: str
    layers: tuple[LayerSummary, ...]
    parameters: int
    flops: int

    def __str__(self) -> str:
        head = ("layer", "kind", "output", "parameters", "FLOPs/image", "")
        rows = [
            (
                row.name,
                row.kind,
                shape(row.output),
                f"{row.parameters:,}",
                short(row.flops),
                row.note,
            )
            for row in self.layers
        ]
        total = ("total", "", "", f"{self.parameters:,}", short(self.flops), "")
        table = [head, *rows, total]
        widths = [max(len(row[k]) for row in table) for k in range(len(head))]
        lines = [
            "  ".join(
                cell.rjust(width) if k in (3, 4) else cell.ljust(width)
                for k, (cell, width) in enumerate(zip(row, widths))
            ).rstrip()
            for row in table
        ]
        return "\n".join([self.title, *lines])

    __repr__ = __str__


def summarise(model: nn.Module, image: Tensor, title: str) -> Summary:
    """The direct children of a model, on one image.

    Nothing is computed: sizes are followed on torch's meta device, which costs no memory.

    Args:
        model: on any device, the meta device too; it stays as it is.
        image: `[1, C, H, W]`, of which only shape and dtype matter.
        title: first line of the table.
    """
    from torch.utils.flop_counter import FlopCounterMode  # loads Triton

    outputs: dict[str, tuple[int, ...]] = {}

    def note_shape(name: str) -> Any:
        def after(module: nn.Module, inputs: object, output: object) -> None:
            outputs[name] = output_shape(output)

        return after

    hooks = [
        layer.register_forward_hook(note_shape(name)) for name, layer in model.named_children()
    ]
    modes = {module: module.training for module in model.modules()}
    routings = [module for module in model.modules() if isinstance(module, Routing)]
    backends = [routing.backend for routing in routings]
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    on_meta = {name: tensor.detach().to("meta") for name, tensor in tensors.items()}
    counter = FlopCounterMode(display=False)
    try:
        model.eval()
        for routing in routings:
            routing.backend = "reference"
        with torch.no_grad(), counter:
            torch.func.functional_call(model, on_meta, (image.to("meta"),))
    finally:
        for module, training in modes.items():
            module.training = training
        for routing, backend in zip(routings, backends):
            routing.backend = backend
        for hook in hooks:
            hook.remove()
    counts = counter.get_flop_counts()
    counted = {name: sum(of.values()) for name, of in counts.items()}
    root = type(model).__name__
    layers = tuple(
        LayerSummary(
            name=name,
            kind=type(layer).__name__,
            output=outputs.get(name),
            parameters=count_parameters(layer),
            flops=counted.get(f"{root}.{name}", 0),
            note=routing_note(layer),
        )
        for name, layer in model.named_children()
    )
    return Summary(title, layers, count_parameters(model), counter.get_total_flops())


def count_parameters(module: nn.Module) -> int:
    """Number of learned values.

    Example:
        >>> count_parameters(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in module.parameters())


def output_shape(output: object) -> tuple[int, ...]:
    """Of a tensor or of capsules, without the batch."""
    if isinstance(output, Capsules):
        return tuple(output.pose.shape[1:])
    return tuple(output.shape[1:]) if isinstance(output, Tensor) else ()


def routing_note(layer: nn.Module) -> str:
    """The routings in a layer with their options, as far as they differ from the usual ones."""
    notes = []
    for module in layer.modules():
        if isinstance(module, Routing):
            usual = {k: argument.default for k, argument in arguments_of(type(module)).items()}
            options = [f"{k}={v}" for k, v in module.options().items() if v != usual.get(k)]
            notes.append(" ".join([module.name or type(module).__name__, *options]))
    return ", ".join(notes)


def shape(sizes: tuple[int, ...] | None) -> str:
    """Sizes as text: 10×16."""
    return "–" if sizes is None else "×".join(map(str, sizes))


def short(count: int) -> str:
    """A large number in three digits.

    Example:
        >>> short(0), short(1234), short(56_700_000)
        ('0', '1.23 k', '56.7 M')
    """
    size, unit = float(count), ""
    for unit in ("", " k", " M", " G", " T"):
        if size < 1000 or unit == " T":
            break
        size /= 1000
    return f"{size:.3g}{unit}"
