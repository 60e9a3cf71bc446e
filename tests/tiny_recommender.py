"""A task without images: which item comes after those that a user has seen, by interest capsules.

A module of its own, so that the processes that tests start can import it. As a program it trains:
`python tiny_recommender.py FOLDER`.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.small_runs import tiny_config
from torchcaps import DenseCaps
from torchcaps.training.batch_sampler import BatchSampler
from torchcaps.training.config import TrainConfig
from torchcaps.training.loop import TaskResult, resume_task, train_task
from torchcaps.training.precision import Precision
from torchcaps.training.task import HeldOut, StepResult, Task

ITEMS, LENGTH, DIM = 30, 6, 8
Sequences = tuple[Tensor, Tensor, Tensor]  # items [n, I], how many of them count [n], next item [n]


def tiny_sequences(n: int = 96, seed: int = 0) -> Sequences:
    """Users who like two of ten kinds of items, of three items each, and go on with one of them."""
    draw = torch.Generator().manual_seed(seed)
    likes = torch.randint(10, (n, 2), generator=draw)
    kinds = likes.gather(1, torch.randint(2, (n, LENGTH + 1), generator=draw))
    items = 3 * kinds + torch.randint(3, kinds.shape, generator=draw)
    return items[:, :-1], torch.randint(2, LENGTH + 1, (n,), generator=draw), items[:, -1]


class Interests(nn.Module):
    """Items seen → K interest capsules; an item is scored by the interest that it fits best."""

    def __init__(self, interests: int = 3) -> None:
        super().__init__()
        self.items = nn.Embedding(ITEMS, DIM)
        # "scaled" counts on inputs of length ½; embeddings are longer.
        self.capsules = DenseCaps(LENGTH, DIM, interests, DIM, init="paper")
        self.dropout = nn.Dropout(0.1)

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """items `[b, I]`, lengths `[b]` → interests `[b, K, D]`."""
        mask = torch.arange(LENGTH, device=items.device) < lengths[:, None]
        pose: Tensor = self.capsules(self.dropout(self.items(items)), mask).pose
        return pose

    def scores(self, interests: Tensor) -> Tensor:
        """Of every item, `[b, items]`."""
        return (interests @ self.items.weight.T).amax(dim=1)


class NextItem(Task[Interests, Sequences]):
    """The item that a user goes on with, among all."""

    name = "clicks"
    examples = "users"
    measures: tuple[str, ...] = ("hit_rate", "margin")

    def __init__(self, data: Sequences, held_out: Sequences | None = None) -> None:
        self.data = data
        self.held_out = tiny_sequences(40, seed=1) if held_out is None else held_out
        self.examples_per_epoch = len(data[0])

    def describe_data(self) -> dict[str, Any]:
        digest = hashlib.sha256(b"".join(part.numpy().tobytes() for part in self.data))
        return {"name": self.name, "train": len(self.data[0]), "sha256": digest.hexdigest()}

    def batch(self, step: int, sampler: BatchSampler) -> Sequences:
        items, lengths, following = self.data
        chosen = sampler.indices(step)
        return items[chosen], lengths[chosen], following[chosen]

    def losses(self, model: Interests, batch: Sequences, precision: Precision) -> StepResult:
        items, lengths, following = batch
        with precision.autocast():
            interests = model(items, lengths)
        scores = model.scores(interests.float())
        hit = (scores.topk(5).indices == following[:, None]).any(dim=1)
        loss = nn.functional.cross_entropy(scores, following)
        margin = (scores.amax(dim=1) - scores.mean(dim=1)).mean()
        return StepResult(loss, {"hit_rate": hit, "margin": margin})

    def validate(self, model: Interests, precision: Precision) -> dict[str, float | None]:
        return {"validation_hit_rate": self.hit_rate(model)}

    def measure_held_out(self, model: Interests, config: TrainConfig) -> HeldOut:
        rate = self.hit_rate(model)
        return HeldOut(
            result={"held_out_hit_rate": rate},
            lines=[f"held-out hit rate: {rate:.2%} after {config.epochs} epochs"],
            answers=rate,
        )

    def draw(
        self,
        folder: Path,
        model: Interests,
        held_out: HeldOut,
        history: Sequence[Mapping[str, Any]],
    ) -> None:
        assert not model.training
        (folder / "interests.txt").write_text(f"{held_out.answers} {len(history)}")

    def hit_rate(self, model: Interests) -> float:
        assert not model.training
        assert not torch.is_grad_enabled()
        device = model.items.weight.device
        items, lengths, following = (part.to(device) for part in self.held_out)
        scores = model.scores(model(items, lengths))
        return float((scores.topk(5).indices == following[:, None]).any(dim=1).float().mean())


def recommender(data: Sequences | None = None) -> tuple[NextItem, Interests]:
    """A task and a model as every run of it begins with them."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return NextItem(tiny_sequences() if data is None else data), Interests()


def recommender_config(out: Path, **options: Any) -> TrainConfig:
    """Two epochs of six steps, with a checkpoint after every second step."""
    return tiny_config(out, **{"iterations": None, "learning_rate": 0.02, **options})


def train_or_resume_recommender(config: TrainConfig) -> TaskResult:
    """Begin the run of `config`, or go on with it."""
    assert config.out is not None
    if (config.out / "config.json").exists():
        return resume_task(config.out, *recommender())
    return train_task(config, *recommender())


if __name__ == "__main__":
    train_or_resume_recommender(recommender_config(Path(sys.argv[1]), precision="fp32"))
