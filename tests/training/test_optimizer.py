import pytest
import torch
from torch import nn

from torchcaps.layers import DenseCaps
from torchcaps.training.optimizer import adam, set_learning_rate


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), DenseCaps(600, 8, 2, 16))


def test_wide_capsules_learn_at_their_own_rate():
    model = network()
    optimizer = adam(model, 0.01)
    set_learning_rate(optimizer, 0.02)
    rates = {p: g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert len(rates) == len(list(model.parameters()))
    capsules = model[2]
    assert isinstance(capsules, DenseCaps)
    factor = capsules.learning_rates["weight"]
    assert factor < 0.2
    assert rates.pop(capsules.weight) == pytest.approx(0.02 * factor)
    assert set(rates.values()) == {0.02}


def test_only_matrices_and_kernels_decay():
    model = network()
    optimizer = adam(model, 0.01, weight_decay=0.1)
    decays = {p: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert {p.dim() > 1: decay for p, decay in decays.items()} == {True: 0.1, False: 0.0}


def test_without_decay_a_step_is_adams():
    """Against torch's Adam, of which a fused AdamW is another code path."""
    torch.manual_seed(0)
    weights = [torch.randn(3, 3) for _ in range(2)]
    ours, theirs = (nn.Linear(3, 3) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    one = adam(ours, 0.01)
    other = torch.optim.Adam(theirs.parameters(), 0.01, foreach=False)
    for x in weights:
        for model, optimizer in ((ours, one), (theirs, other)):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_a_shared_weight_is_in_one_group():
    layer = nn.Linear(2, 2)
    optimizer = adam(nn.Sequential(layer, layer), 0.1)
    assert sum(len(g["params"]) for g in optimizer.param_groups) == 2
