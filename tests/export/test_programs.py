"""Networks as torch's own tools take them: torch.export, AOTInductor, torch.jit."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.small_models import CASES, small
from torchcaps import Capsules, RoutingTrace
from torchcaps.export import export_program
from torchcaps.models import Losses, ModelOutput


def all_close(found: Any, expected: Any) -> None:
    for one, other in zip(found, (part for part in expected if part is not None), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def batches(model: Any) -> list[Tensor]:
    return [torch.rand(count, model.channels, *model.image_size) for count in (1, 2, 7, 64)]


@pytest.mark.parametrize("strict", [False, True])
def test_a_network_with_its_decoder_for_any_batch_saved_and_loaded(
    strict: bool, tmp_path: Path
) -> None:
    model = small("capsnet")
    images, labels = torch.rand(3, 1, 17, 17), torch.tensor([0, 2, 1])
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(
        model, (images, labels), dynamic_shapes=({0: batch}, {0: batch}), strict=strict
    )
    torch.export.save(program, tmp_path / "m.pt2")
    again = torch.export.load(tmp_path / "m.pt2").module()
    for some in batches(model):
        drawn = torch.randint(3, (len(some),))
        output = again(some, drawn)
        assert type(output) is ModelOutput
        all_close(output, model(some, drawn))


@pytest.mark.parametrize("kind", [Capsules, Losses, ModelOutput, RoutingTrace])
def test_every_named_tuple_of_tensors_can_be_saved(kind: Any, tmp_path: Path) -> None:
    class Doubles(torch.nn.Module):
        def forward(self, given: Any) -> Any:
            return kind(*(2 * part for part in given))

    given = kind(*(torch.rand(2) for _ in kind._fields))
    torch.export.save(torch.export.export(Doubles(), (given,)), tmp_path / "m.pt2")
    found = torch.export.load(tmp_path / "m.pt2").module()(given)
    assert type(found) is kind
    all_close(found, [2 * part for part in given])


@pytest.mark.filterwarnings("ignore")  # torch's own, of what it takes for constants
@pytest.mark.parametrize(("name", "routing"), CASES)
def test_traced_by_torch_jit_for_any_batch(name: str, routing: str | None, tmp_path: Path) -> None:
    for reconstruct in (True, False) if routing is None else (False,):
        model = small(name, routing, reconstruct=reconstruct)
        torch.jit.trace(model, (batches(model)[1],)).save(tmp_path / "m.pt")
        traced = torch.jit.load(tmp_path / "m.pt")
        for some in batches(model):
            all_close(traced(some), model(some))
        assert len(model(some)) == 3


@pytest.mark.skipif(shutil.which("g++") is None, reason="AOTInductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # torch's own
def test_compiled_ahead_of_time(tmp_path: Path) -> None:
    model = small("capsnet", "dynamic", reconstruct=False)
    program = export_program(model)
    path = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "m.pt2"))
    run = torch._inductor.aoti_load_package(path)
    for some in batches(model):
        all_close(run(some).values(), model(some))
