"""What a training was given is counted, and counting changes nothing."""

from typing import Any

import torch

from reproduction.harness.budget import budget_of, budget_part, multiply_adds
from reproduction.harness.scale import Scale
from tests.small_runs import tiny_config, tiny_data
from torchcaps.models import BaselineCNN
from torchcaps.models.summary import count_parameters
from torchcaps.routing.base import Routing
from torchcaps.training.build import build_model
from torchcaps.training.config import TrainConfig
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.run import Run


def test_the_budget_of_a_run(tmp_path):
    """Of a network without routing: three products a layer, the first without its input's."""
    config = tiny_config(tmp_path / "run", precision="fp32", batch_size=8, epochs=2)
    task = ImageClassification.from_config(config, tiny_data())
    model = BaselineCNN(17, 1, 3, conv_channels=(2, 3, 4), hidden=(5, 6))
    run = Run(config, task, model)
    run.history = [{"seconds": 1.25}, {"seconds": 2.0}]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    found = budget_of(run)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
    pixels = 17 * 17
    layers = [(25 * 1 * 2 * pixels, 2), (25 * 2 * 3 * pixels, 3), (25 * 3 * 4 * pixels, 3)]
    layers += [(4 * pixels * 5, 3), (5 * 6, 3), (6 * 3, 3)]
    assert found == {
        "images_seen": 2 * 80 // 8 * 8,  # two epochs; a tenth of the 96 images follows them
        "parameters": count_parameters(model),
        "multiply_adds": 8 * sum(size * times for size, times in layers),
        "counted_backend": "reference",
        "training_seconds": 3.2,
    }


def test_all_routings_are_counted_in_one_way(tmp_path):
    """Routing does more with three iterations than with one, and EM has more statistics; the fused
    kernel would count what torch does not see of EM."""
    counts = []
    kinds: list[dict[str, Any]] = [{"iterations": 1}, {"iterations": 3}, {"routing": "em"}]
    for k, options in enumerate(kinds):
        config = tiny_config(tmp_path / str(k), precision="fp32", batch_size=8, **options)
        task = ImageClassification.from_config(config, tiny_data())
        run = Run(config, task, build_model(config, task.training))
        counts.append(multiply_adds(run))
        backends = {m.backend for m in run.model.modules() if isinstance(m, Routing)}
        assert backends == {"auto"}  # of what is trained
    assert counts == sorted(set(counts))


def test_the_table_of_budgets():
    full: dict[str, Any] = {
        "learning_rate": 0.003, "images_seen": 12000, "parameters": 5, "multiply_adds": 1234567,
        "training_seconds": 1.0,
    }  # fmt: skip
    scale = Scale(1, training=TrainConfig(batch_size=32))
    rows: dict[str, list[dict[str, Any]]] = {
        "a": [full, full | {"training_seconds": 4.0}],
        "older": [{"parameters": 7}, {"images_seen": 9}],
    }
    heading, table, words = budget_part(rows, scale)
    assert heading == "## Budgets"
    assert table.splitlines()[2:] == [
        "| a | 0.003 | 12,000 | 5 | 1,234,567 | 2 |", "| older | – | 9 | 7 | – | – |"
    ]  # fmt: skip
    assert "gradients of 32 images" in words
    assert "differ in the routing they cannot be compared" in words
    new = [row | {"counted_backend": "reference"} for row in rows["a"]]
    (*_, words) = budget_part({"a": new, "older": rows["older"]}, scale)
    assert "by torch's count, of routings as their reference computes them. Seconds" in words
