"""Numbers of any library as Python's own: what NumPy's are to checks and to JSON."""

from numbers import Integral, Real

__all__ = ["MOST_ITERATIONS", "is_number", "is_whole", "plain_number"]

MOST_ITERATIONS = 10_000  # couplings have settled long before, and a file may ask for any number


def is_whole(value: object) -> bool:
    """Whether a value is a whole number by its type; True and False are none.

    Example:
        >>> import numpy as np
        >>> is_whole(np.int64(3)), is_whole(3.0), is_whole(True)
        (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether a value is a real number by its type; True and False are none.

    Example:
        >>> import numpy as np
        >>> is_number(np.float32(0.5)), is_number("0.5")
        (True, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool)


def plain_number(value: object) -> int | float:
    """A number as Python's own; what `json.dumps(default=…)` takes for NumPy's.

    Example:
        >>> import json
        >>> import numpy as np
        >>> json.dumps({"epochs": np.int64(3)}, default=plain_number)
        '{"epochs": 3}'
    """
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"JSON cannot hold {type(value).__name__}")
