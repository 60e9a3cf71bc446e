"""The learning rate of a step, as a fraction of the one that a run is given."""

import math

__all__ = ["SCHEDULES", "rate_factor"]

SCHEDULES = ("cosine", "exponential", "constant")


def rate_factor(
    step: int, total_steps: int, *, schedule: str, warmup_steps: int = 0, final: float = 0.0
) -> float:
    """The factor of a step, counted from 0, of so many.

    It rises linearly over the warm-up, to 1; then, with x from 0 to 1 over the steps that are left,
    it is final + (1 − final)(1 + cos πx) / 2 ("cosine"), finalˣ ("exponential"), or 1 ("constant").

    Args:
        step: from 0 to total_steps − 1.
        total_steps: of the run, at least 1.
        schedule: one of `SCHEDULES`.
        warmup_steps: the first of them has 1 / (warmup_steps + 1).
        final: what is left at the end, in [0, 1]; above 0 for "exponential".

    Reference: Loshchilov and Hutter (2017), SGDR, Eq 5, for the cosine.

    Example:
        >>> [round(rate_factor(s, 6, schedule="cosine", warmup_steps=1), 2) for s in range(6)]
        [0.5, 1.0, 0.9, 0.65, 0.35, 0.1]
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    x = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    if schedule == "cosine":
        return final + (1 - final) * (1 + math.cos(math.pi * x)) / 2
    if schedule == "exponential":
        return float(final**x)
    return 1.0
