"""A network as one graph of torch's own operations, for any number of images."""

import copy
import warnings

import torch
from torch import Tensor, nn

from torchcaps.errors import InputError
from torchcaps.models import Classifier

__all__ = ["export_program"]


class NamedOutputs(nn.Module):
    """A classifier whose outputs are a dict of tensors: a program that returns one can be loaded
    where this package is not installed."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        output = self.model(images)._asdict()
        return {name: value for name, value in output.items() if value is not None}


def export_program(model: Classifier) -> torch.export.ExportedProgram:
    """What a network computes without labels, as a program of `torch.export`.

    Args:
        model: any classifier. It is copied: the program is on the CPU, in float32 and in evaluation
            mode, and its weights ask for no gradients.

    Returns:
        A program: images `[B, C, H, W]`, float32 in [0, 1], any B → a dict of "pose" `[B, J, D]`,
        "activation" `[B, J]` and, where the model has a decoder, "reconstruction" `[B, C, H, W]`.
        It can be saved (`torch.export.save`), compiled (`torch._inductor.aoti_compile_and_package`)
        or turned into ONNX (`torch.onnx.export`).

    Raises:
        InputError: a network or a routing of which torch can make no program, with its reason.

    Example:
        >>> from torchcaps import create_model
        >>> model = create_model("capsnet", conv_channels=4, primary_types=2, image_size=17)
        >>> program = export_program(model).module()
        >>> program(torch.rand(5, 1, 17, 17))["activation"].shape
        torch.Size([5, 10])
    """
    copied = NamedOutputs(copy.deepcopy(model).to("cpu", torch.float32)).eval()
    copied.requires_grad_(False)  # so that what a program returns goes to NumPy as it is
    # Two images, since torch takes a size of 1 in an example for one that never changes.
    example = torch.zeros(2, model.channels, *model.image_size)
    batch = torch.export.Dim("batch", min=1)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own
            program = torch.export.export(copied, (example,), dynamic_shapes={"images": {0: batch}})
    except MemoryError:
        raise
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"torch.export can make no program of this {type(model).__name__} ({first}): use it "
            "from Python"
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine, which concern nobody else
    return program
