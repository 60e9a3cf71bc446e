"""A model and some images → one file: the page, its script and style, and the weights."""

import base64
import copy
import hashlib
import json
import math
import re
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchcaps.data import ImageData
from torchcaps.errors import InputError
from torchcaps.explorer.bundle import bundle
from torchcaps.explorer.routings import page_routing
from torchcaps.explorer.samples import choose_samples, no_samples
from torchcaps.models import CapsNet, Classifier
from torchcaps.models.classifier import count_parameters
from torchcaps.storage import write_text

__all__ = ["page_data", "page_text", "write_explorer"]

LARGEST_DECODER = 4_000_000  # parameters: 11 MB of a page; of the paper's network it is 1.4 million
DRAWN_ON_BLACK = 0.15  # mean brightness of the border, at most; on white paper 1 − this, at least
PLACEHOLDER = re.compile(
    r"/\*torchcaps:(?:style|script)\*/|<!--torchcaps:data-->|#torchcaps:script-hash#"
)


def write_explorer(
    model: Classifier,
    path: Path,
    held_out: ImageData | None = None,
    predictions: Tensor | None = None,
) -> None:
    """Write the page of a model: one file that needs no server and asks nobody for anything.

    Args:
        model: a `CapsNet`; the page has its weights in fp16.
        path: of the file, which is written atomically; its folder is made where there is none.
        held_out: images that the model was not trained on, for the strip; default: none.
        predictions: [N], what the model said of all of them, where that is known.

    Raises:
        InputError: a model without capsules, or weights that the page cannot hold.
    """
    text = page_text(page_data(model, held_out, predictions))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def page_data(
    model: Classifier, held_out: ImageData | None = None, predictions: Tensor | None = None
) -> dict[str, Any]:
    """What the page knows, as JSON values; arguments as in `write_explorer`."""
    if not isinstance(model, CapsNet):
        raise InputError(
            f"the explorer shows capsules, and a {type(model).__name__} has none: name a CapsNet"
        )
    routing = page_routing(model)
    left_out = model.decoder is not None and count_parameters(model.decoder) > LARGEST_DECODER
    rounded = copy.deepcopy(model).cpu().eval().half().float()
    if left_out:
        rounded.decoder = None
    tensors = {name: packed(name, value) for name, value in rounded.state_dict().items()}
    samples = no_samples(rounded)
    if held_out is not None:
        samples = choose_samples(rounded, held_out, predictions)
    metadata = single_values(model.metadata)
    return {
        "title": title(metadata),
        "subject": subject(model, metadata),
        "decoder_left_out": left_out,
        "config": {**architecture(rounded), "routing": routing},
        "metadata": metadata,
        "tensors": tensors,
        "samples": samples.as_json(),
    }


def architecture(model: CapsNet) -> dict[str, Any]:
    """What the page's engine builds the network from, without its routing."""
    kernel, conv_stride = model.conv.kernel_size[0], model.conv.stride[0]
    decoder = [] if model.decoder is None else list(model.decoder.layers)
    widths = [layer.out_features for layer in decoder if isinstance(layer, torch.nn.Linear)]
    return {
        "image_size": list(model.image_size),
        "channels": model.channels,
        "class_names": list(model.class_names),
        "conv_channels": model.conv.out_channels,
        "primary_types": model.primary.types,
        "primary_dim": model.primary.dim,
        "pose_dim": model.classes.weight.shape[2],
        "routing_bias": model.classes.bias is not None,
        "kernel_size": kernel,
        "conv_stride": conv_stride,
        "primary_stride": model.primary.conv.stride[0],
        "reconstruct": model.decoder is not None,
        "decoder_hidden": widths[:-1],
        "primary_grid": list(model.primary_grid),
    }


def packed(name: str, tensor: Tensor) -> dict[str, Any]:
    """A tensor as base64 of little-endian fp16."""
    if not tensor.isfinite().all():
        raise InputError(
            f"the model's {name} holds numbers that are not finite, or beyond the 65,504 of fp16, "
            "the page's format: train it anew, or copy it again from its source"
        )
    halves = tensor.contiguous().numpy().astype("<f2")
    return {"shape": list(tensor.shape), "data": base64.b64encode(halves.tobytes()).decode()}


def single_values(metadata: object) -> dict[str, str | int | float | bool]:
    """The entries of a model's metadata that are single values; they may be anybody's."""
    if not isinstance(metadata, Mapping):
        return {}
    return {
        str(key): value
        for key, value in metadata.items()
        if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    }


def title(metadata: Mapping[str, str | int | float | bool]) -> str:
    """A line that says what the network was trained on, and what it reaches."""
    said = [str(metadata[key]) for key in ("data", "held_out_accuracy") if key in metadata]
    return ": ".join(said) or "a capsule network"


def subject(model: CapsNet, metadata: Mapping[str, str | int | float | bool]) -> str:
    """What the network learned from, as the page takes it: "digits", "drawings" or "photos".

    Photos are images whose border is neither black nor white, where a model's metadata says so.
    """
    border = metadata.get("border_brightness")
    if isinstance(border, float) and DRAWN_ON_BLACK < border < 1 - DRAWN_ON_BLACK:
        return "photos"
    digits = all(len(name) == 1 and name in "0123456789" for name in model.class_names)
    return "digits" if digits else "drawings"


def page_text(data: Mapping[str, Any]) -> str:
    """The page with this in it."""
    with as_file(files("torchcaps.explorer") / "page") as folder:
        worker = bundle(folder, "worker.js")
        main = bundle(folder, "main.js")
        style = (folder / "style.css").read_text(encoding="utf-8")
        frame = (folder / "index.html").read_text(encoding="utf-8")
    script = f"globalThis.torchcapsWorkerSource = {embedded(worker)};\n{main}"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "#torchcaps:script-hash#": f"sha256-{digest}",
        "/*torchcaps:style*/": style,
        "/*torchcaps:script*/": script,
        "<!--torchcaps:data-->": '<script type="application/json" id="torchcaps-data">'
        f"{embedded(data)}</script>",
    }
    # In one go: what is put in is not searched for placeholders.
    return PLACEHOLDER.sub(lambda found: parts[found[0]], frame)


def embedded(value: object) -> str:
    """JSON that can end no element of HTML, open no comment, and be read as JavaScript too."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII alone
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
