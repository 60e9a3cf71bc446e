"""Train the network of the package that reads two digits: src/torchcaps/explorer/shipped_pairs.

    python scripts/train_pairs_model.py [FOLDER]

`capsnet_small` with fewer channels and a smaller decoder, trained on images of one digit or two
(`digit_pairs.py`) that are made of the 4,000 training digits of the package, and measured, once, on
those of its 1,000 others; saved in fp16, which keeps it small. On one thread: the same machine
gives the same weights again. FOLDER holds the run (default: runs/digit-pairs); one that was
interrupted goes on. About 20 minutes on one core.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

import torch

from digit_pairs import HELD_OUT_SEED, LONG, DigitPairs, report
from torchcaps.data import ImageData, PairBatch, load_data
from torchcaps.explorer.misfit import misfit_limit
from torchcaps.losses import margin_loss, reconstruction_loss
from torchcaps.models import CapsNet, create_model
from torchcaps.seeding import mix_seed
from torchcaps.training.batch_sampler import BatchSampler
from torchcaps.training.config import TrainConfig
from torchcaps.training.loop import resume_task, train_task
from torchcaps.training.precision import Precision
from torchcaps.training.task import StepResult, Task

SHIPPED_PAIRS = Path(__file__).parents[1] / "src/torchcaps/explorer/shipped_pairs"
EPOCHS, BATCH, SEED = 180, 64, 0


class PairTask(Task[CapsNet, PairBatch]):
    """Find the digits of an image of one or two, and draw each from its own capsule.

    An epoch has as many images as there are digits to make them from; every step has new ones.
    """

    name = "digit-pairs"
    examples = "images"
    measures = ("classification_loss", "reconstruction_loss", "train_accuracy")

    def __init__(self) -> None:
        data = load_data("mnist5k").train
        self.pairs = DigitPairs(data, mix_seed("pairs", SEED), deformed=True)
        self.examples_per_epoch = len(data)

    def describe_data(self) -> dict[str, Any]:
        return {"name": "pairs of mnist5k", "train": self.examples_per_epoch}

    def batch(self, step: int, sampler: BatchSampler) -> PairBatch:
        return self.pairs.batch(step, sampler.batch_size)

    def losses(self, model: CapsNet, batch: PairBatch, precision: Precision) -> StepResult:
        """Margin loss (Eq 4) of all that is there, and the error of each digit, drawn alone."""
        assert model.decoder is not None
        targets = batch.targets(model.num_classes)
        images = batch.images.to(memory_format=precision.memory_format)
        with precision.autocast():
            pose, activation = model.classes(model.primary_capsules(images))
            drawn = model.decoder(pose.repeat_interleave(2, dim=0), batch.labels.flatten())
        margin = margin_loss(activation, targets)
        error = reconstruction_loss(drawn, batch.digits.flatten(0, 1))
        drawing = model.loss_scale.reconstruction * 2 * error  # the mean of two, twice
        right = ((activation >= LONG) == targets.bool()).all(dim=1)
        return StepResult(margin + drawing, dict(zip(self.measures, (margin, drawing, right))))


def held_out_images() -> ImageData:
    """A thousand images of one held-out digit or two, for the limit of the misfit."""
    test = load_data("mnist5k").test
    batch = DigitPairs(test, HELD_OUT_SEED, deformed=False).batch(0, 1000)
    labels = batch.targets(test.num_classes).long()
    return ImageData(batch.images, labels, test.class_names, "pairs")


def main() -> None:
    """Train, or go on; measure, and save."""
    run = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/digit-pairs")
    torch.manual_seed(mix_seed("weights", SEED))
    model = create_model("capsnet_small", conv_channels=48, decoder_hidden=(64, 96))
    assert isinstance(model, CapsNet)
    if run.exists():
        resume_task(run, PairTask(), model)
    else:
        config = TrainConfig(epochs=EPOCHS, batch_size=BATCH, seed=SEED, threads=1, out=run)
        train_task(config, PairTask(), model)
    model = model.eval().half().float()  # what is measured is what is saved
    answers = report(model)
    one, over, beside = (f"{found.exact / found.images:.1%}" for found in answers.values())
    model.metadata = {
        "data": "images of one or two digits of mnist5k",
        "held_out_accuracy": f"all digits found, and no other, in {one} of images of one, "
        f"{over} of two over each other, {beside} of two side by side",
        "training_images": EPOCHS * len(load_data("mnist5k").train),
        "seed": SEED,
        "weights": "fp16",
        "made_by": "scripts/train_pairs_model.py",
        "border_brightness": 0.0,
        "threshold": 0.5,
        "classes_at_once": 2,
        "misfit_limit": misfit_limit(model, held_out_images()),
    }
    model.half().save_pretrained(SHIPPED_PAIRS)
    weights = (SHIPPED_PAIRS / "model.safetensors").read_bytes()
    print(SHIPPED_PAIRS, *(f"{kind}: {found}" for kind, found in answers.items()), sep="\n")
    print(f"sha256 {hashlib.sha256(weights).hexdigest()}, {len(weights):,} bytes")


if __name__ == "__main__":
    main()
