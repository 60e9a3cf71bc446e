"""How long capsules are before training, and what reaches the first layer of a stack.

    python benchmarks/initial_lengths.py [--depths 1 2 3 4 5 6] [--epochs 4]

Two tables in Markdown: the mean length of the output capsules of `DenseCaps` over I × J, for both
ways to start the weights; and for stacks of `DenseCaps` (16 capsules a layer) on the shipped
digits, the lengths of their layers, the norm of the first layer's gradient in the first step, and
the held-out accuracy after a short training.
"""

import argparse

import torch
from torch import Tensor, nn

from torchcaps.data import TrainTest, load_data
from torchcaps.layers import DenseCaps, PrimaryCaps
from torchcaps.losses import margin_loss
from torchcaps.training.optimizer import adam, set_learning_rate
from torchcaps.training.schedule import rate_factor
from torchcaps.types import Capsules

INPUTS = (32, 128, 288, 1152, 4608, 10_000)
OUTPUTS = (2, 10, 100, 1000)
MOST_PAIRS = 1_200_000  # I·J, for the memory
IN_DIM, OUT_DIM = 8, 16
BATCH, RATE, WARMUP = 64, 0.003, 10
WIDTH = 16


@torch.no_grad()
def initial_length(in_caps: int, out_caps: int, init: str) -> float:
    """The mean length of output capsules, for inputs of length ½ in random directions."""
    layer = DenseCaps(in_caps, IN_DIM, out_caps, OUT_DIM, init=init)
    pose = torch.nn.functional.normalize(torch.randn(4, in_caps, IN_DIM), dim=-1) / 2
    return float(layer(pose).activation.mean())


def table_of_lengths() -> str:
    """Rows J, columns I: the length with "scaled", and in brackets with "paper"."""
    lines = ["| J \\ I | " + " | ".join(f"{i:,}" for i in INPUTS) + " |"]
    lines.append("|---" * (len(INPUTS) + 1) + "|")
    for out_caps in OUTPUTS:
        cells = []
        for in_caps in INPUTS:
            cell = "–"
            if in_caps * out_caps <= MOST_PAIRS:
                scaled, paper = (initial_length(in_caps, out_caps, i) for i in ("scaled", "paper"))
                cell = f"{scaled:.2f} ({paper:.3f})"
            cells.append(cell)
        lines.append(f"| {out_caps} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def stack(depth: int, init: str) -> nn.Sequential:
    """A convolution, primary capsules (72), and so many layers of `DenseCaps`."""
    layers: list[nn.Module] = [
        nn.Conv2d(1, 32, 9, stride=2), nn.BatchNorm2d(32), nn.ReLU(),
        PrimaryCaps(32, types=8, dim=IN_DIM, kernel_size=6, stride=2),
    ]  # fmt: skip
    in_caps, in_dim = 8 * 9, IN_DIM
    for _ in range(depth - 1):
        layers.append(DenseCaps(in_caps, in_dim, WIDTH, OUT_DIM, init=init))
        in_caps, in_dim = WIDTH, OUT_DIM
    layers.append(DenseCaps(in_caps, in_dim, 10, OUT_DIM, init=init, initial_length=0.1))
    return nn.Sequential(*layers)


@torch.no_grad()
def lengths_of_layers(model: nn.Sequential, images: Tensor) -> list[float]:
    """The mean length of the capsules of every layer of `DenseCaps`."""
    found: list[float] = []
    here: Tensor | Capsules = images
    for layer in model:
        here = layer(here)
        if isinstance(layer, DenseCaps):
            assert isinstance(here, Capsules)
            found.append(float(here.activation.mean()))
    return found


def row_of_stack(depth: int, init: str, data: TrainTest, epochs: int) -> str:
    """Train a stack; a row of the second table."""
    torch.manual_seed(0)
    model = stack(depth, init)
    first = next(layer for layer in model if isinstance(layer, DenseCaps))
    lengths = lengths_of_layers(model, data.train.batch(torch.arange(BATCH))[0])
    optimizer = adam(model, RATE)
    steps = len(data.train) // BATCH * epochs
    gradient = float("nan")
    for step in range(steps):
        if step % (len(data.train) // BATCH) == 0:
            order = torch.randperm(len(data.train))
        position = step % (len(data.train) // BATCH) * BATCH
        images, labels = data.train.batch(order[position : position + BATCH])
        factor = rate_factor(step, steps, schedule="cosine", warmup_steps=WARMUP, final=0.01)
        set_learning_rate(optimizer, RATE * factor)
        optimizer.zero_grad()
        margin_loss(model(images).activation, labels).backward()
        if step == 0:
            assert first.weight.grad is not None
            gradient = float(first.weight.grad.norm())
        optimizer.step()
    model.eval()
    with torch.no_grad():
        images, labels = data.test.batch(torch.arange(len(data.test)))
        right = (model(images).activation.argmax(dim=1) == labels).float().mean()
    shown = " ".join(f"{length:.2f}" for length in lengths)
    return f"| {depth} | {init} | {gradient:.1e} | {shown} | {right:.1%} |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--depths", nargs="+", type=int, default=[1, 2, 3, 4, 5, 6])
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    torch.manual_seed(0)
    print(table_of_lengths())
    print("\n| layers | init | gradient | lengths | accuracy |\n|---|---|---|---|---|")
    data = load_data("mnist5k")
    for init in ("scaled", "paper"):
        for depth in args.depths:
            print(row_of_stack(depth, init, data, args.epochs), flush=True)


if __name__ == "__main__":
    main()
