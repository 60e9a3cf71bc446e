import pytest
import torch

from torchcaps.training import precision
from torchcaps.training.precision import choose_precision

CPU = torch.device("cpu")


def test_fp32_asked_for():
    chosen = choose_precision("fp32", CPU)
    assert chosen.dtype is None
    assert (chosen.name, chosen.memory_format) == ("fp32", torch.contiguous_format)


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
