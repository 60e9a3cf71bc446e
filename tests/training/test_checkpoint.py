import json

import pytest
import torch
from torch import nn

from torchcaps import storage
from torchcaps.errors import InputError
from torchcaps.training import checkpoint
from torchcaps.training.best_weights import load_best, save_best
from torchcaps.training.checkpoint import (
    find_checkpoint,
    restore,
    run_of,
    save_checkpoint,
    snapshot,
)
from torchcaps.training.optimizer import adam

COUNTERS = {"history": [{"epoch": 1, "loss": 0.1 + 0.2, "validation": None}], "sums": [1.0, 1e-300]}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


def save(folder, step):
    save_checkpoint(folder, step, {"a": torch.full((3,), float(step))}, COUNTERS)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def network(seed) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, adam(model, 0.001)


def train(model, optimizer, steps):
    for step in steps:
        torch.manual_seed(step)
        optimizer.zero_grad()
        model(torch.rand(5, 2, 4, 4)).square().sum().backward()
        optimizer.step()


def test_model_and_optimiser_go_on_with_the_same_bits(folder):
    straight = network(0)
    train(*straight, range(6))
    interrupted = network(0)
    train(*interrupted, range(3))
    save_checkpoint(folder, 3, snapshot(*interrupted), {})
    resumed = network(1)
    restore(*resumed, find_checkpoint(folder.parent).tensors)
    train(*resumed, range(3, 6))
    expected, got = snapshot(*straight), snapshot(*resumed)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_the_optimiser_is_part_of_it():
    """Adam without its moments would go elsewhere: the test above would then mean little."""
    model, optimizer = network(0)
    train(model, optimizer, range(3))
    assert {name.split(".")[-1] for name in snapshot(model, optimizer) if "optimizer" in name} == {
        "exp_avg",
        "exp_avg_sq",
        "step",
    }


def test_counters_keep_every_bit(folder):
    save(folder, 7)
    found = find_checkpoint(folder.parent)
    assert (found.step, found.counters) == (7, COUNTERS)


def test_only_the_newest_two_stay(folder):
    for step in (2, 4, 6):
        save(folder, step)
    assert names(folder) == [
        f"step-0000000{step}.{suffix}" for step in (4, 6) for suffix in ("json", "safetensors")
    ]


def test_later_ones_are_dropped_after_going_back(folder):
    """Else a damaged one would be found as the newest again."""
    for step in (4, 6):
        save(folder, step)
    save(folder, 5)
    assert find_checkpoint(folder.parent).step == 5
    assert {name[:13] for name in names(folder)} == {"step-00000004", "step-00000005"}


def test_a_named_one_is_taken(folder):
    save(folder, 2)
    save(folder, 4)
    assert find_checkpoint(folder / "step-00000002.safetensors").step == 2
    assert find_checkpoint(folder / "step-00000002.json").step == 2


def test_there_is_none(tmp_path):
    assert find_checkpoint(tmp_path) is None


def test_files_of_other_names_are_left_alone(folder):
    folder.mkdir()
    for name in ("step-00000002 copy.json", "step-best.safetensors", "notes.txt"):
        (folder / name).write_text("mine")
    for step in (2, 4, 6):
        save(folder, step)
    assert find_checkpoint(folder.parent).step == 6
    assert {"step-00000002 copy.json", "step-best.safetensors", "notes.txt"} <= {*names(folder)}


def test_tensors_without_a_record_are_no_checkpoint(folder, monkeypatch):
    """As after a kill between the two files."""
    save(folder, 2)
    monkeypatch.setattr(checkpoint, "write_json", lambda path, record: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(folder, 4)
    monkeypatch.undo()
    assert find_checkpoint(folder.parent).step == 2
    for step in (4, 6):
        save(folder, step)
    assert not [name for name in names(folder) if "00002" in name]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_refuses_leaves_the_one_before_whole(folder, monkeypatch, call):
    save(folder, 2)

    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, call, refuse)
    with pytest.raises(OSError, match="No space left"):
        save(folder, 4)
    monkeypatch.undo()
    assert find_checkpoint(folder.parent).step == 2
    assert names(folder) == ["step-00000002.json", "step-00000002.safetensors"]


def flip_bit(path, byte):
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


def other_counters(path):
    path.write_text(path.read_text().replace('"epoch": 1', '"epoch": 2'))


DAMAGES = {
    "bit flipped in the tensors": ("safetensors", lambda path: flip_bit(path, -1)),
    "bit flipped in the header": ("safetensors", lambda path: flip_bit(path, 12)),
    "tensors cut": ("safetensors", lambda path: path.write_bytes(path.read_bytes()[:-1])),
    "tensors empty": ("safetensors", lambda path: path.write_bytes(b"")),
    "tensors gone": ("safetensors", lambda path: path.unlink()),
    "record cut": ("json", lambda path: path.write_bytes(path.read_bytes()[:40])),
    "record garbage": ("json", lambda path: path.write_bytes(b"\xff\x00garbage")),
    "record of nothing": ("json", lambda path: path.write_text("{}")),
    "record a list": ("json", lambda path: path.write_text("[]")),
    "a counter changed": ("json", other_counters),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_named_and_the_one_before_offered(folder, damage):
    suffix, act = damage
    save(folder, 2)
    save(folder, 4)
    act(folder / f"step-00000004.{suffix}")
    with pytest.raises(InputError) as caught:
        find_checkpoint(folder.parent)
    message = str(caught.value)
    assert f"{folder}/step-00000004.{suffix}" in message
    advised = message.rsplit("--resume ", 1)[1]
    assert advised == f"{folder}/step-00000002.safetensors"
    assert find_checkpoint(folder / advised).step == 2


def test_one_renamed_to_a_later_step_is_named(folder):
    save(folder, 2)
    save(folder, 4)
    for suffix in ("json", "safetensors"):
        (folder / f"step-00000004.{suffix}").rename(folder / f"step-00000009.{suffix}")
    with pytest.raises(InputError, match=r"00000009\.json is damaged .*it is of step 4.*00000002"):
        find_checkpoint(folder.parent)


def test_no_whole_one_is_left(folder):
    for step in (2, 4):
        save(folder, step)
        (folder / f"step-0000000{step}.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="and no earlier one is whole: start the run anew"):
        find_checkpoint(folder.parent)


def test_the_record_is_json_that_a_person_can_read(folder):
    save(folder, 2)
    record = json.loads((folder / "step-00000002.json").read_text())
    assert record["step"] == 2
    assert record["counters"] == COUNTERS


@pytest.mark.parametrize("name", ["config.json", "step-2x.json", "step-00000002.txt"])
def test_a_file_that_is_no_checkpoint_is_refused(folder, name):
    folder.mkdir()
    (folder / name).write_text("{}")
    with pytest.raises(InputError, match=f"{name} is not a checkpoint: name a run folder, or"):
        run_of(folder / name)


def test_the_run_of_a_path(folder):
    save(folder, 2)
    assert run_of(folder.parent) == folder.parent
    assert run_of(folder / "step-00000002.safetensors") == folder.parent
    with pytest.raises(InputError, match="does not exist"):
        run_of(folder / "step-00000004.safetensors")


class Tied(nn.Module):
    """One weight under two names, and a buffer that looks at a part of it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.register_buffer("row", self.first.weight.detach()[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(self.first(x).tanh())
        return y


def test_tied_weights_are_kept_and_stay_tied(folder):
    model = Tied(0)
    optimizer = adam(model, 0.01)
    model(torch.rand(3, 4)).square().sum().backward()
    optimizer.step()
    save_checkpoint(folder, 1, snapshot(model, optimizer), {})
    save_best(folder, model, 1)
    other, best = Tied(1), Tied(2)
    restore(other, adam(other, 0.01), find_checkpoint(folder.parent).tensors)
    load_best(folder, best, 1)
    for found in (other, best):
        assert found.first.weight is found.second.weight
        assert all(torch.equal(t, found.state_dict()[n]) for n, t in model.state_dict().items())
