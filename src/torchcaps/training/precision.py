"""Which number format trains fastest here without a person having to know."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

__all__ = ["Precision", "choose_precision"]


@dataclass(frozen=True)
class Precision:
    """The format of the convolutions (autocast), the memory layout, and why.

    Routing always accumulates in float32.
    """

    device_type: str
    dtype: torch.dtype | None  # None is float32, without autocast
    channels_last: bool
    reason: str

    @property
    def memory_format(self) -> torch.memory_format:
        """Of images and convolution weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def name(self) -> str:
        """ "bf16" or "fp32"."""
        return "fp32" if self.dtype is None else "bf16"

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)


def choose_precision(asked: str, device: torch.device, *, channels_last: bool = False) -> Precision:
    """Resolve "auto", "fp32" or "bf16" for a device.

    "auto" takes bf16 (with channels_last, which made the two convolutions of CapsNet 2.2 times
    faster on a CPU with AVX512-BF16) only where it is in the hardware: emulated, it is slower.
    `channels_last` asks for that layout in float32 on a CPU, too.

    Example:
        >>> choose_precision("fp32", torch.device("cpu")).name
        'fp32'
    """
    channels_last = channels_last and device.type == "cpu" and torch.backends.mkldnn.is_available()
    if asked == "fp32":
        return Precision(device.type, None, channels_last, reason="asked for")
    if asked == "bf16":
        return Precision(device.type, torch.bfloat16, channels_last=True, reason="asked for")
    hardware = bf16_hardware(device)
    if hardware is None:
        why = f"no bf16 hardware on {device.type}"
        return Precision(device.type, None, channels_last, reason=why)
    return Precision(device.type, torch.bfloat16, channels_last=True, reason=hardware)


def bf16_hardware(device: torch.device) -> str | None:
    """What computes in bf16 on this device, or None where nothing does."""
    if device.type == "cuda":
        return "bf16 tensor cores" if torch.cuda.get_device_capability(device) >= (8, 0) else None
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        names = {"amx_bf16": "AMX-BF16", "avx512_bf16": "AVX512-BF16"}
        return next((name for key, name in names.items() if able.get(key)), None)
    return None
