"""A model and some images → one file: the page, its script and style, and the weights."""

import base64
import hashlib
import json
import re
import sys
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from torch import Tensor

from torchcaps.data import ImageData
from torchcaps.errors import InputError
from torchcaps.explorer.bundle import bundle
from torchcaps.explorer.misfit import misfit_limit
from torchcaps.explorer.network import architecture, page_model, page_tensors
from torchcaps.explorer.routings import page_routing
from torchcaps.explorer.samples import Samples, choose_samples, no_samples
from torchcaps.models import Classifier
from torchcaps.models.summary import count_parameters
from torchcaps.plain_numbers import is_number
from torchcaps.storage import expand_user, write_text

__all__ = ["is_page", "page_data", "page_text", "write_explorer"]

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
    pairs: Classifier | None = None,
) -> None:
    """Write the page of a model: one file that needs no server and asks nobody for anything.

    Args:
        model: a `CapsNet` or an `ImageCapsNet`; the page has its weights in fp16.
        path: of the file, which is written atomically; its folder is made where there is none. An
            earlier page is replaced, but no other file.
        held_out: images that the model was not trained on, for the strip; default: none.
        predictions: [N], what the model said of all of them, where that is known.
        pairs: a network for the same images and classes that was trained on two at once; the page
            then has a choice between both.

    Raises:
        InputError: a model without capsules, or weights that the page cannot hold; a network of
            pairs for other images or classes; a file there that is no such page.
    """
    path = expand_user(path)
    if path.is_file() and not is_page(path):
        raise InputError(
            f"{path} is there already and not a page of the explorer: name another file, or "
            "remove it"
        )
    text = page_text(page_data(model, held_out, predictions, pairs))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def is_page(path: Path) -> bool:
    """Whether a file is empty or begins as the pages that are written here."""
    with path.open("rb") as file:
        start = file.read(4000)
    return not start or (start.startswith(b"<!doctype html>") and b"script-src 'sha256-" in start)


def page_data(
    model: Classifier,
    held_out: ImageData | None = None,
    predictions: Tensor | None = None,
    pairs: Classifier | None = None,
) -> dict[str, Any]:
    """What the page knows, as JSON values; arguments as in `write_explorer`."""
    shown = page_model(model)
    routing = page_routing(shown)
    left_out = shown.decoder is not None and count_parameters(shown.decoder) > LARGEST_DECODER
    if left_out:
        shown.decoder = None
    tensors = {name: packed(value) for name, value in page_tensors(shown).items()}
    samples = no_samples(shown)
    if held_out is not None:
        samples = choose_samples(shown, held_out, predictions)
    metadata = single_values(model.metadata)
    refused = threshold(metadata)
    rules = {
        "routing": routing,
        "threshold": refused,
        "misfit_limit": stated_limit(metadata) or misfit_limit(shown, held_out)
        if refused
        else None,
        "at_once": at_once(metadata),
    }
    second = {} if pairs is None else {"pairs": data_of_pairs(pairs, shown, samples)}
    return {
        "title": title(metadata),
        "subject": subject(model, metadata),
        "decoder_left_out": left_out,
        "config": {**architecture(shown), **rules},
        "metadata": metadata,
        "tensors": tensors,
        "samples": samples.as_json(),
        **second,
    }


def data_of_pairs(pairs: Classifier, model: Classifier, samples: Samples) -> dict[str, Any]:
    """What the page knows of a second network for the images of a first one."""
    for name in ("image_size", "channels", "class_names"):
        first, second = getattr(model, name), getattr(pairs, name)
        if first != second:
            raise InputError(
                f"the network of pairs has the {name} {second}, and the other one {first}: name "
                "one for the same images and classes"
            )
    data = page_data(pairs)
    data["config"]["network"] = "pairs"  # what the page's address says
    return {**data, "samples": samples.as_read_by(page_model(pairs)).as_json()}


def packed(tensor: Tensor) -> dict[str, Any]:
    """A tensor as base64 of little-endian fp16."""
    halves = tensor.contiguous().numpy().astype("<f2")
    return {"shape": list(tensor.shape), "data": base64.b64encode(halves.tobytes()).decode()}


def single_values(metadata: object) -> dict[str, str | int | float | bool]:
    """The entries of a model's metadata that are single values; they may be anybody's."""
    if not isinstance(metadata, Mapping):
        return {}
    return {
        str(key): value
        for key, value in metadata.items()
        if isinstance(value, str)
        or (isinstance(value, int | float) and abs(value) <= sys.float_info.max)  # false for NaN
    }


def threshold(metadata: Mapping[str, str | int | float | bool]) -> float:
    """The activation below which none of the classes is there; 0, which refuses nothing, if none.

    Example:
        >>> threshold({"threshold": 0.5}), threshold({"threshold": "high"})
        (0.5, 0.0)
    """
    share = number(metadata, "threshold")
    return share if 0 <= share <= 1 else 0.0


def stated_limit(metadata: Mapping[str, str | int | float | bool]) -> float | None:
    """The limit of the misfit that was measured where a network was trained."""
    limit = number(metadata, "misfit_limit")
    return limit if limit > 0 else None


def number(metadata: Mapping[str, str | int | float | bool], name: str) -> float:
    """An entry that is a number; 0 where there is none."""
    value = metadata.get(name, 0)
    return float(value) if is_number(value) else 0.0


def at_once(metadata: Mapping[str, str | int | float | bool]) -> int:
    """How many classes the images showed at once that the network was trained on."""
    value = metadata.get("classes_at_once", 1)
    return value if isinstance(value, int) and value > 1 else 1


def title(metadata: Mapping[str, str | int | float | bool]) -> str:
    """A line that says what the network was trained on, and what it reaches."""
    said = [str(metadata[key]) for key in ("data", "held_out_accuracy") if key in metadata]
    return ": ".join(said) or "a capsule network"


def subject(model: Classifier, metadata: Mapping[str, str | int | float | bool]) -> str:
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
