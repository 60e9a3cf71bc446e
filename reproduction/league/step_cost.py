"""What a training step costs, on a machine that does other things too."""

import torch

from torchcaps.benchmark.measure import extra_memory, processor_seconds
from torchcaps.data import ImageData
from torchcaps.models import Classifier

__all__ = ["step_cost"]

TIMES = 5


def step_cost(model: Classifier, data: ImageData, batch_size: int) -> tuple[float, int | None]:
    """Processor seconds of a loss and its gradients, and the bytes that they take at the peak.

    Processor time does not count what other programs take; of several steps the quickest counts,
    and of memory the median.

    Args:
        model: is put into training mode, and left without gradients.
        data: the first of these images make the batch.
        batch_size: how many.

    Returns:
        Seconds of all threads together; bytes beyond what is held before, gradients included, or
        None where the system does not say.
    """
    device = next(model.parameters()).device
    images, labels = data.batch(torch.arange(min(batch_size, len(data))))
    images, labels = images.to(device), labels.to(device)

    def step() -> None:
        model.loss(model(images, labels), images, labels).total.backward()

    model.train()
    step()  # what is compiled or allocated once
    seconds, peaks = [], []
    for _ in range(TIMES):
        model.zero_grad(set_to_none=True)
        seconds.append(processor_seconds(step))
        model.zero_grad(set_to_none=True)
        peaks.append(extra_memory(step, device.type))
    model.zero_grad(set_to_none=True)
    known = sorted(peak for peak in peaks if peak is not None)
    return min(seconds), known[len(known) // 2] if known else None
