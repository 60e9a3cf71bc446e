"""The 9×9 convolution of the paper's primary capsules beside the products of matrices that it is.

    python benchmarks/convolution.py [--batch 128] [--threads 1] [--rounds 5]

256 to 256 channels, stride 2, 20×20 to 6×6 pixels: forward, gradient of the input, gradient of the
weights. As convolution: float32, float32 with channels last, bf16 with channels last (what training
takes where the hardware has bf16). As product of matrices: the patches of all windows, [B·36,
20736], copied out once and multiplied, and its products alone. Contenders take turns; the share is
that of the rate of the machine's own large product in the same format. Rows are appended to
benchmarks/results/convolution.csv.
"""

import argparse
import datetime
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from torchcaps.benchmark.measure import seconds
from torchcaps.benchmark.rows import append_rows
from torchcaps.training.run_folder import describe_machine

RESULTS = Path(__file__).parent / "results" / "convolution.csv"
CHANNELS, SIDE, KERNEL, STRIDE, OUT = 256, 20, 9, 2, 6
TERMS = CHANNELS * KERNEL**2
FORMATS = {"float32": torch.float32, "bf16": torch.bfloat16}
Calls = dict[tuple[str, str], Callable[[], object]]


def convolution_calls(x: Tensor, w: Tensor) -> Calls:
    """Forward and both gradients, as torch runs them."""
    out = conv2d(x, w, stride=STRIDE)
    upstream = torch.randn_like(out)

    def gradient(*wanted: bool) -> object:
        return torch.ops.aten.convolution_backward(
            upstream, x, w, None, [STRIDE] * 2, [0, 0], [1, 1], False, [0, 0], 1, wanted
        )

    kind = name_of(x.dtype) + (
        ", channels last" if x.is_contiguous(memory_format=torch.channels_last) else ""
    )
    return {
        (f"convolution, {kind}", "forward"): lambda: conv2d(x, w, stride=STRIDE),
        (f"convolution, {kind}", "gradient of x"): lambda: gradient(True, False, False),
        (f"convolution, {kind}", "gradient of w"): lambda: gradient(False, True, False),
    }


def patches_of(x: Tensor) -> Tensor:
    """The windows of an input whose channels are last, [B·36, 81·C]."""
    rows, columns, pixel = x.stride(0), SIDE * CHANNELS, CHANNELS
    shape = (len(x), OUT, OUT, KERNEL, KERNEL * CHANNELS)
    strides = (rows, STRIDE * columns, STRIDE * pixel, columns, 1)
    return x.as_strided(shape, strides).reshape(-1, TERMS)


def product_calls(x: Tensor, w: Tensor) -> Calls:
    """The same three as products, of an input and weights whose channels are last."""
    flat = w.permute(0, 2, 3, 1).reshape(len(w), TERMS)
    assert torch.allclose(  # the patches are those of the convolution
        (patches_of(x[:1]) @ flat.T).float(),
        conv2d(x[:1], w, stride=STRIDE).permute(0, 2, 3, 1).reshape(-1, len(w)).float(),
        rtol=0.02,
        atol=0.05,
    )
    patches = patches_of(x)
    upstream = torch.randn(len(patches), len(w)).to(x.dtype)
    kind = name_of(x.dtype)
    return {
        (f"product, {kind}, with its patches", "forward"): lambda: patches_of(x) @ flat.T,
        (f"product, {kind}", "forward"): lambda: patches @ flat.T,
        (f"product, {kind}", "gradient of x"): lambda: upstream @ flat,  # of patches, not yet added
        (f"product, {kind}", "gradient of w"): lambda: upstream.T @ patches,
    }


def name_of(dtype: torch.dtype) -> str:
    """As in `FORMATS`."""
    return next(name for name, one in FORMATS.items() if one == dtype)


def rates() -> dict[str, float]:
    """Operations a second of a large product, by format."""
    found = {}
    for name, dtype in FORMATS.items():
        a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
        found[name] = 2 * 2048**3 / min(seconds(partial(torch.mm, a, b), "cpu") for _ in range(8))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    x = torch.rand(options.batch, CHANNELS, SIDE, SIDE)
    w = torch.randn(CHANNELS, CHANNELS, KERNEL, KERNEL) / TERMS**0.5
    last = [tensor.to(memory_format=torch.channels_last) for tensor in (x, w)]
    narrow = [tensor.to(torch.bfloat16, memory_format=torch.channels_last) for tensor in (x, w)]
    calls: Calls = {
        **convolution_calls(x, w),
        **convolution_calls(*last),
        **convolution_calls(*narrow),
        **product_calls(*last),
        **product_calls(*narrow),
    }
    best = rates()
    times: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for round_ in range(options.rounds + 1):  # the first is not counted
        for key, call in calls.items():
            time.sleep(0.02)  # in which the last call's threads stop spinning
            took = seconds(call, "cpu")
            if round_:
                times[key].append(took)
    operations = 2 * options.batch * OUT**2 * CHANNELS * TERMS
    rows = []
    for (how, what), found in times.items():
        median = statistics.median(found)
        rate = next(rate for name, rate in best.items() if name in how)
        row = {
            "date": datetime.date.today().isoformat(),
            "how": how,
            "what": what,
            "batch": options.batch,
            "median_ms": round(1e3 * median, 1),
            "gflops": round(operations / median / 1e9),
            "of_product_rate": round(operations / median / rate, 3),
            "product_gflops": round(rate / 1e9),
            "rounds": options.rounds,
        }
        rows.append(row | describe_machine())
        print(
            f"{how}, {what}: {row['median_ms']} ms, {row['gflops']} GFLOP/s, "
            f"{row['of_product_rate']:.0%} of the rate of a product"
        )
    append_rows(RESULTS, rows)


if __name__ == "__main__":
    main()
