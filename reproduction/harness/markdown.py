"""Numbers, intervals and tables as Markdown."""

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

from reproduction.harness.statistics import Summary

__all__ = ["Interval", "interval", "number", "p_value", "percent", "plus_minus", "table"]


class Interval(Protocol):
    """What has two ends, infinite where nothing is known."""

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose first column is text and whose others are numbers.

    Example:
        >>> print(table(["r", "error"], [[1, "2 %"]]))
        | r | error |
        |---|--:|
        | 1 | 2 % |
    """
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    text = [
        "| " + " | ".join("" if cell is None else str(cell) for cell in line) + " |"
        for line in lines
    ]
    text[1] = text[1].replace(" ", "")
    return "\n".join(text)


def number(value: float | None, digits: int = 3) -> str:
    """So many significant digits; a dash for what is not there."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}g}"


def percent(value: float, digits: int = 2) -> str:
    """A fraction in percent, without the sign."""
    return f"{100 * value:.{digits}f}"


def plus_minus(spread: Summary, digits: int = 2, scale: float = 100.0) -> str:
    """Mean ± standard deviation; in percent unless `scale` says otherwise."""
    mean = f"{scale * spread.mean:.{digits}f}"
    return mean if spread.deviation is None else f"{mean} ± {scale * spread.deviation:.{digits}f}"


def interval(
    spread: Interval, digits: int = 2, scale: float = 100.0, least: float = -math.inf
) -> str:
    """The interval of a mean, of which nothing is below `least`; a dash where none is known.

    None is where all values are 0, or all are 1: no error at all on some images does not tell how
    rare one is.

    Example:
        >>> from reproduction.harness.crossed import Estimate
        >>> interval(Estimate(0.02, 0.01, 9, 5)), interval(Estimate(0.0, 0.0, 4, 5))
        ('-0.26 to 4.26', '–')
    """
    if not math.isfinite(spread.high) or spread.low == spread.high in (0, 1):
        return "–"
    return f"{scale * max(least, spread.low):.{digits}f} to {scale * spread.high:.{digits}f}"


def p_value(p: float | None) -> str:
    """Two digits, three beside 0.05, or below what; a dash where there is none.

    Example:
        >>> p_value(0.0312), p_value(0.0497), p_value(1e-9)
        ('0.031', '0.0497', '< 0.0001')
    """
    if p is None:
        return "–"
    digits = 3 if f"{p:.2g}" == "0.05" else 2
    return "< 0.0001" if p < 1e-4 else f"{p:.{digits}g}"
