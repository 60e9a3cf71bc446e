"""A capsule network as the page's engine takes it: lists of convolutions, and their tensors."""

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from torchcaps.errors import InputError
from torchcaps.models import CapsNet, Classifier, ImageCapsNet
from torchcaps.models.capsule_classifier import CapsuleClassifier
from torchcaps.models.conv_decoder import ConvDecoder
from torchcaps.models.decoder import Decoder

__all__ = ["architecture", "page_model", "page_tensors"]


class PageLayer(NamedTuple):
    """A layer of the page's network. A fully connected one is a convolution over a grid of 1×1.

    Attributes:
        name: of its tensors in the model.
        layer: its weight and bias.
        grid: (height, width) over which its input lies; None: as it comes.
        doubled: whether the input is first doubled in size.
    """

    name: str
    layer: nn.Conv2d | nn.Linear
    grid: tuple[int, int] | None = None
    doubled: bool = False

    def as_json(self) -> dict[str, Any]:
        """What the engine has to know of it beside its tensors."""
        kernel, stride, padding = 1, 1, 0
        if isinstance(self.layer, nn.Conv2d):
            kernel, stride = self.layer.kernel_size[0], self.layer.stride[0]
            padding = int(self.layer.padding[0])
        found: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": padding}
        if self.grid is not None:
            found |= {"grid": list(self.grid), "doubled": self.doubled}
        return found


def page_model(model: Classifier) -> CapsuleClassifier:
    """A copy of a model that computes what the page does.

    Each batch normalisation is folded into the convolution before it (as in evaluation), and then
    the weights are rounded to fp16: in this order, since folded ones are nearer to 1 than the
    weights of a convolution whose scale does not matter.

    Raises:
        InputError: a model that the page cannot show, or numbers in it that are not finite.
    """
    if not isinstance(model, CapsuleClassifier):
        raise InputError(
            f"the explorer shows capsules, and a {type(model).__name__} has none: name a CapsNet "
            "or an ImageCapsNet"
        )
    if not isinstance(model, (CapsNet, ImageCapsNet)):
        raise InputError(
            f"the explorer does not know the convolutions of a {type(model).__name__}: name a "
            "CapsNet or an ImageCapsNet"
        )
    for name, value in model.state_dict().items():
        check_finite(name, value)
    if isinstance(model, ImageCapsNet):
        check_finite("mean or std", torch.tensor([model.mean, model.std]))
    copied = copy.deepcopy(model).cpu().float().eval()
    if isinstance(copied, ImageCapsNet):
        fold_normalisation(copied.stem)
    for parameter in copied.parameters():
        parameter.data = parameter.data.half().float()
    return copied


def fold_normalisation(stem: nn.Sequential) -> None:
    """Give each convolution the weights that it has together with the normalisation after it."""
    for k, layer in enumerate(stem):
        if isinstance(layer, nn.BatchNorm2d):
            stem[k - 1] = fuse_conv_bn_eval(stem[k - 1], layer)
            stem[k] = nn.Identity()


def check_finite(name: str, tensor: Tensor) -> None:
    """Raise where the page, which has fp16, could not hold a tensor."""
    if not tensor.isfinite().all():
        raise InputError(
            f"the model's {name} holds numbers that are not finite, or beyond the 65,504 of fp16, "
            "the page's format: train it anew, or copy it again from its source"
        )


def stem_layers(model: CapsuleClassifier) -> list[PageLayer]:
    """The convolutions before the primary capsules, each followed by ReLU."""
    if isinstance(model, CapsNet):
        return [PageLayer("conv", model.conv)]
    assert isinstance(model, ImageCapsNet)
    return [
        PageLayer(f"stem.{k}", layer)
        for k, layer in enumerate(model.stem)
        if isinstance(layer, nn.Conv2d)
    ]


def decoder_layers(model: CapsuleClassifier) -> list[PageLayer]:
    """The layers that draw: ReLU after each, after the last one the logistic function."""
    decoder = model.decoder
    if isinstance(decoder, Decoder):
        return [
            PageLayer(f"decoder.layers.{k}", layer, (1, 1))
            for k, layer in enumerate(decoder.layers)
            if isinstance(layer, nn.Linear)
        ]
    if not isinstance(decoder, ConvDecoder):
        return []
    layers = [PageLayer("decoder.first", decoder.first, (1, 1))]
    height, width = decoder.grid
    doubled = False
    for k, layer in enumerate(decoder.layers):
        if isinstance(layer, nn.Upsample):
            doubled = True
        elif isinstance(layer, nn.Conv2d):
            layers.append(PageLayer(f"decoder.layers.{k}", layer, (height, width), doubled))
            height, width, doubled = height * (1 + doubled), width * (1 + doubled), False
    return layers


def architecture(model: CapsuleClassifier) -> dict[str, Any]:
    """What the page's engine builds a `page_model` from, without its routing."""
    decoder = decoder_layers(model)
    mean, std = [0.0] * model.channels, [1.0] * model.channels
    if isinstance(model, ImageCapsNet):
        mean, std = model.mean, model.std
    return {
        "image_size": list(model.image_size),
        "channels": model.channels,
        "class_names": list(model.class_names),
        "mean": mean,
        "std": std,
        "stem": [layer.as_json() for layer in stem_layers(model)],
        "primary": PageLayer("primary.conv", model.primary.conv).as_json(),
        "primary_types": model.primary.types,
        "primary_grid": list(model.primary_grid),
        "pose_dim": model.classes.sizes[3],
        "reconstruct": bool(decoder),
        "decoder": [layer.as_json() for layer in decoder],
    }


def page_tensors(model: CapsuleClassifier) -> dict[str, Tensor]:
    """The tensors of a `page_model`, by the names that the page has for them."""
    layers = {f"stem.{n}": layer for n, layer in enumerate(stem_layers(model))}
    layers["primary"] = PageLayer("primary.conv", model.primary.conv)
    layers |= {f"decoder.{n}": layer for n, layer in enumerate(decoder_layers(model))}
    tensors: dict[str, Tensor] = {}
    for name, (own_name, layer, _, _) in layers.items():
        for part in ("weight", "bias"):
            tensors[f"{name}.{part}"] = layer.get_parameter(part).detach()
            check_finite(f"{own_name}.{part}", tensors[f"{name}.{part}"])
    for part, value in model.classes.state_dict().items():
        tensors[f"classes.{part}"] = value
        check_finite(f"classes.{part}", value)
    return tensors
