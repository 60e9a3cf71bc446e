import pytest
import torch
from torch import nn

from tests.small_models import small
from tests.small_runs import tiny_config, tiny_data
from torchcaps.training import precision
from torchcaps.training.image_classification import ImageClassification
from torchcaps.training.precision import choose_precision
from torchcaps.training.run import Run

CPU = torch.device("cpu")


def test_fp32_asked_for():
    chosen = choose_precision("fp32", CPU)
    assert chosen.dtype is None
    assert (chosen.name, chosen.memory_format) == ("fp32", torch.contiguous_format)


@pytest.mark.parametrize("asked", ["fp32", "auto"])
def test_float32_has_the_layout_of_the_network_on_a_cpu_alone(monkeypatch, asked):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    chosen = choose_precision(asked, CPU, channels_last=True)
    assert (chosen.name, chosen.memory_format) == ("fp32", torch.channels_last)
    other = choose_precision(asked, torch.device("mps"), channels_last=True)
    assert other.memory_format == torch.contiguous_format
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert choose_precision(asked, CPU, channels_last=True).channels_last is False


@pytest.mark.parametrize("name", ["image_capsnet", "capsnet"])
def test_a_network_is_trained_in_its_layout(name, tmp_path):
    model = small(name, reconstruct=False)
    task = ImageClassification(tiny_data(), name)
    Run(tiny_config(tmp_path / "run", precision="fp32", iterations=None), task, model)
    wanted = torch.backends.mkldnn.is_available() and name == "image_capsnet"
    (*_, last) = (layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    assert last.weight.is_contiguous(memory_format=torch.channels_last) == wanted


def test_bf16_asked_for():
    chosen = choose_precision("bf16", CPU)
    assert chosen.dtype is torch.bfloat16
    assert (chosen.name, chosen.memory_format) == ("bf16", torch.channels_last)


@pytest.mark.parametrize(
    ("able", "name", "reason"),
    [
        ({}, "fp32", "no bf16 hardware on cpu"),
        ({"avx512_bf16": False, "avx512_f": True}, "fp32", "no bf16 hardware on cpu"),
        ({"avx512_bf16": True}, "bf16", "AVX512-BF16"),
        ({"avx512_bf16": True, "amx_bf16": True}, "bf16", "AMX-BF16"),
    ],
)
def test_auto_takes_bf16_where_the_cpu_has_it(monkeypatch, able, name, reason):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    chosen = choose_precision("auto", CPU)
    assert (chosen.name, chosen.reason) == (name, reason)


@pytest.mark.parametrize(("capability", "name"), [((7, 5), "fp32"), ((8, 0), "bf16")])
def test_auto_takes_bf16_where_the_gpu_has_it(monkeypatch, capability, name):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_precision("auto", torch.device("cuda")).name == name


def test_other_devices_take_fp32():
    assert precision.bf16_hardware(torch.device("mps")) is None
