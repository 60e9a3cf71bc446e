"""The runner: correctness first, then every contender in turn, then a row each."""

import datetime
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed

from torchcaps.benchmark.contenders import CONTENDERS, bytes_needed, route, routing_of
from torchcaps.benchmark.measure import (
    Machine,
    available_memory,
    extra_memory,
    machine_rates,
    seconds,
)
from torchcaps.benchmark.shapes import Problem, Shape
from torchcaps.errors import RunStopped
from torchcaps.kernels.dispatch import choose_backend

__all__ = ["call_contender", "check", "columns_of_rows", "measure"]

Rows = list[dict[str, Any]]
SAMPLES_CHECKED = 20  # of a large batch; every sample is routed by itself
REST = 0.02  # seconds before a call, in which the last one's threads stop spinning
SHORT = 0.02  # seconds; a shorter call is timed as the mean of as many in a row as take so long
SLOW = 5.0  # seconds of a call beyond which the first one counts, compilation or not
DIRECTIONS = ("forward", "forward+backward")


def measure(
    shape: Shape,
    *,
    device: str = "cpu",
    budget: float = 20.0,
    contenders: Sequence[str] = tuple(CONTENDERS),
    say: Callable[[str], None] = print,
    watch: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Rows:
    """Measure the contenders on a shape: a row for every contender and direction.

    Args:
        shape: the layer.
        device: "cpu" or "cuda".
        budget: seconds for the rounds, in each of which every contender runs in both directions,
            in turn: once, or on the CPU where that takes less than 20 ms, some times in a row.
            Never fewer than 3 rounds, nor more than 50.
        contenders: names among `CONTENDERS`.
        say, watch: where words go, and what shows the rounds going by.

    Raises:
        RunStopped: our result is wrong; nothing is timed then.
    """
    check(shape, device)
    torch.compiler.reset()  # or it falls back to eager after too many shapes
    rates = machine_rates(device)
    problem = shape.draw(device, torch.float32)
    calls: dict[tuple[str, str], Callable[[], object]] = {}
    once: dict[tuple[str, str], float] = {}
    rows = []
    for name in contenders:
        if lacking := _lacking(name, shape, device):
            say(f"{shape.name}: {name} is left out: {lacking}")
            continue
        both: dict[tuple[str, str], Callable[[], object]] = {
            (name, direction): partial(call_contender, name, problem, direction != "forward")
            for direction in DIRECTIONS
        }
        try:
            for key, call in both.items():
                once[key] = seconds(call, device)  # compiles what has to be compiled
                if once[key] < SLOW:
                    once[key] = seconds(call, device)
        except BackendCompilerFailed as error:
            say(f"{shape.name}: {name} is left out: {str(error).splitlines()[0]}")
            continue
        calls |= both
    # On a GPU calls in a row would overlap.
    in_a_row = {key: math.ceil(SHORT / once[key]) if device == "cpu" else 1 for key in calls}
    rounds = int(min(50, max(3, budget / sum(once[key] * in_a_row[key] for key in calls))))
    times: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for _ in watch(range(rounds)):
        for key, call in calls.items():
            time.sleep(REST)
            times[key].append(seconds(call, device, in_a_row[key]))
    asked = routing_of(shape, "auto", problem.pose).call(problem.votes)
    backend = choose_backend("auto", asked)
    for (name, direction), call in calls.items():
        memory = extra_memory(call, device)
        row = _row(shape, direction, times[name, direction], rates)
        rows.append(
            {
                **row,
                "calls": in_a_row[name, direction],
                "contender": name,
                "backend": backend if name == "torchcaps" else "",
                "extra_mib": None if memory is None else round(memory / 2**20, 2),
            }
        )
    return list(_with_ratios(rows))


def check(shape: Shape, device: str) -> None:
    """Compare ours with the float64 reference on some samples of the shape.

    Raises:
        RunStopped: an error is more than twice that of eager float32 einsum.
    """
    samples = min(shape.B, SAMPLES_CHECKED if shape.votes < 10**9 else 2)
    problem = shape.draw(device, torch.float32, samples)
    exact = _results(_reference, _in_double(problem))
    usual = _results(CONTENDERS["einsum"], problem)
    found = _results(CONTENDERS["torchcaps"], problem)
    for what, true, theirs, ours in zip(("pose", "du", "dW"), exact, usual, found):
        error, allowed = (_rms(x.double() - true) for x in (ours, theirs))
        if not error <= 2 * allowed + 1e-7 * _rms(true):
            raise RunStopped(
                f"{shape.name}: {what} is off by {error:.2e} (root mean square), eager float32 by "
                f"{allowed:.2e}: routing is broken here and was not timed; please report it",
                exit_code=1,
            )


def call_contender(name: str, problem: Problem, backward: bool) -> object:
    """Its poses, and with `backward` the gradients of input poses and weights too."""
    if backward:
        return _results(CONTENDERS[name], problem)
    with torch.no_grad():
        return CONTENDERS[name](problem)


def _results(route: Callable[[Problem], Tensor], problem: Problem) -> tuple[Tensor, ...]:
    """The poses, and the gradients of input poses and weights."""
    pose, weight = (x.detach().requires_grad_() for x in (problem.pose, problem.weight))
    out = route(replace(problem, pose=pose, weight=weight))
    return out, *torch.autograd.grad(out, (pose, weight), problem.upstream)


def _reference(problem: Problem) -> Tensor:
    return route(problem, problem.votes, "reference")


def _in_double(problem: Problem) -> Problem:
    names = ("pose", "weight", "upstream", "activation", "logits")
    tensors = {name: getattr(problem, name) for name in names}
    doubles = {name: x.double() for name, x in tensors.items() if x is not None}
    return replace(problem, **doubles)


def _rms(x: Tensor) -> float:
    return x.detach().square().mean().sqrt().item()


def _lacking(name: str, shape: Shape, device: str) -> str | None:
    """Why a contender cannot run on a shape."""
    if name == "broadcast" and shape.routing == "self_routing":
        return "its couplings depend on poses, which votes that are formed do not have"
    there, needed = available_memory(device), bytes_needed(name, shape)
    if there is not None and needed > 0.9 * there:
        return f"it needs some {needed / 2**30:.0f} GiB, of {there / 2**30:.0f} that are free"
    return None


def _row(shape: Shape, direction: str, times: list[float], rates: Machine) -> dict[str, Any]:
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    backward = direction != "forward"
    floor = rates.floor(shape.operations(backward), shape.traffic(backward))
    return {
        "date": datetime.date.today().isoformat(),
        "shape": shape.name,
        **{axis: getattr(shape, axis) for axis in ("B", "I", "J", "D", "P", "iterations")},
        "direction": direction,
        "contender": "",
        "backend": "",
        "median_ms": round(1e3 * median, 4),
        "q25_ms": round(1e3 * low, 4),
        "q75_ms": round(1e3 * high, 4),
        "rounds": len(times),
        "calls": 1,
        "extra_mib": None,
        "times_torchcaps": None,
        "memory_times_torchcaps": None,
        "floor_ms": round(1e3 * floor, 4),
        "times_floor": round(median / floor, 2),
        "gflops_matmul": round(rates.operations / 1e9, 1),
        "gbytes_copy": round(rates.bytes / 1e9, 1),
    }


def columns_of_rows() -> list[str]:
    """The columns of what `measure` gives, in order, before anything is measured.

    Example:
        >>> columns_of_rows()[:4]
        ['date', 'shape', 'B', 'I']
    """
    some = Shape("none", "none", 1, 1, 1, 1, 1)
    return list(_row(some, "forward", [1.0, 1.0], Machine(1, 1)))


def _with_ratios(rows: Rows) -> Iterator[dict[str, Any]]:
    """How many times the time and memory of ours every contender takes."""
    ours = {row["direction"]: row for row in rows if row["contender"] == "torchcaps"}
    for row in rows:
        own, ratios = ours.get(row["direction"]), {}
        if own is not None:
            ratios["times_torchcaps"] = round(row["median_ms"] / own["median_ms"], 2)
            if row["extra_mib"] is not None and own["extra_mib"]:
                ratios["memory_times_torchcaps"] = round(row["extra_mib"] / own["extra_mib"], 1)
        yield row | ratios
