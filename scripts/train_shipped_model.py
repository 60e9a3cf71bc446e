"""Train the network that comes with the package: src/torchcaps/explorer/shipped.

    python scripts/train_shipped_model.py [FOLDER]

`capsnet_small` with a smaller decoder, trained on the 4,000 training digits of the package and
measured, once, on its 1,000 others; saved in fp16, which keeps it small. One thread and float32:
the same machine gives the same weights again.
"""

import sys
from pathlib import Path

import torch

from torchcaps.data import ImageData, load_data, random_shift
from torchcaps.explorer import SHIPPED
from torchcaps.models import Classifier, create_model, load_model
from torchcaps.seeding import mix_seed
from torchcaps.training.metrics import evaluate
from torchcaps.training.threshold import choose_threshold

EPOCHS, BATCH, SEED = 40, 64, 0
LEARNING_RATE, LEFT_AT_THE_END = 0.003, 0.02  # decays exponentially
MAX_SHIFT = 2  # pixels, as in the paper


def train(model: Classifier, data: ImageData) -> None:
    """Every epoch a new order and new shifts, all functions of the seed."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    steps = EPOCHS * -(-len(data) // BATCH)
    step = 0
    for epoch in range(EPOCHS):
        order = torch.Generator().manual_seed(mix_seed("order", SEED, epoch))
        total = 0.0
        for indices in torch.randperm(len(data), generator=order).split(BATCH):
            images, labels = data.batch(indices)
            images = random_shift(images, MAX_SHIFT, seed=SEED, step=step)
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * LEFT_AT_THE_END ** (step / steps)
            loss = model.loss(model(images, labels), images, labels).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(indices)
            step += 1
        print(f"epoch {epoch + 1}/{EPOCHS}: loss {total / len(data):.4f}", flush=True)


def main() -> None:
    """Train, save, and say what the saved network reaches."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED
    torch.set_num_threads(1)
    torch.manual_seed(mix_seed("weights", SEED))
    digits = load_data("mnist5k")
    model = create_model("capsnet_small", decoder_hidden=(256, 512))
    train(model, digits.train)
    rounded = model.eval().half().float()  # what is measured is what is saved
    held_out = evaluate(rounded, digits.test)
    low, high = held_out.interval
    rounded.metadata = {
        "data": "mnist5k",
        "held_out_accuracy": f"{held_out.accuracy:.2%} of {len(digits.test)} digits "
        f"(95 % interval {low:.2%} to {high:.2%}), after the last of {EPOCHS} epochs",
        "training_images": len(digits.train),
        "seed": SEED,
        "weights": "fp16",
        "made_by": "scripts/train_shipped_model.py",
        "border_brightness": 0.0,
        "threshold": choose_threshold(rounded, digits.train),
    }
    rounded.half().save_pretrained(folder)
    print(f"{folder}: {rounded.metadata['held_out_accuracy']}")
    again = evaluate(load_model(folder), digits.test)
    assert again.accuracy == held_out.accuracy, "what was saved is not what was measured"


if __name__ == "__main__":
    main()
