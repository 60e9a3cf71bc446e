"""A page that holds the engine alone, and a way to call it from Python with arrays."""

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import torch

import torchcaps.explorer.export
from torchcaps.explorer.bundle import bundle
from torchcaps.models import ImageCapsNet

PAGE = Path(torchcaps.explorer.export.__file__).parent / "page"
ENTRY = """
import { bytesFromBase64, floatsFromBase64 } from "./engine/float16.js";
import { squash } from "./engine/math.js";
import { addProducts } from "./engine/matrix.js";
import {
  allVotes, evaluate, primaryCapsules, readModel, reconstruct, votesOf
} from "./engine/network.js";
import { route } from "./engine/route.js";
import { ROUTINGS } from "./engine/routings/table.js";
import { startEngine } from "./engine/worker_client.js";
import { entropies, meanChange } from "./state/convergence.js";

globalThis.engine = {
  addProducts, allVotes, bytesFromBase64, entropies, evaluate, floatsFromBase64, meanChange,
  primaryCapsules, readModel, reconstruct, route, ROUTINGS, squash, startEngine, votesOf,
  // A promise that is never kept fails the test instead of stopping it.
  within: (promise) => Promise.race([promise, new Promise((_, reject) => {
    setTimeout(() => reject(new Error("no answer within 60 s")), 60000);
  })]),
  // Arrays travel as base64 of float32.
  floats: (text) => new Float32Array(bytesFromBase64(text).buffer),
  text: (array) => {
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    let letters = "";
    for (let k = 0; k < bytes.length; k += 4096) {
      letters += String.fromCharCode(...bytes.subarray(k, k + 4096));
    }
    return btoa(letters);
  },
};
"""


def write_engine_page(folder: Path) -> Path:
    """The modules as the explorer has them, under an entry of our own."""
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    (folder / "entry.js").write_text(ENTRY)
    worker = json.dumps(bundle(folder, "worker.js")).replace("<", "\\u003c")
    script = f"globalThis.torchcapsWorkerSource = {worker};\n{bundle(folder, 'entry.js')}"
    path = folder / "engine.html"
    path.write_text(f'<!doctype html><meta charset="utf-8"><script>{script}</script>')
    return path


def to_text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()


def from_text(text: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(shape)


@torch.no_grad()
def with_statistics(model: ImageCapsNet) -> ImageCapsNet:
    """The model as if trained: its normalisation has scales, shifts, and statistics of images."""
    for layer in model.stem:
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.weight)
            torch.nn.init.normal_(layer.bias)
            layer.momentum = None  # the mean over all images
    model.train()
    for _ in range(3):
        model(torch.rand(20, model.channels, *model.image_size))
    return model.eval()
