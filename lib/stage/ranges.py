"""Check numbers before anything starts."""

from __future__ import annotations

import math
from numbers import Integral


def check_range(low: float, high: float = math.inf, **values: float | None) -> None:
    """Raise ValueError, with the name, for a value that is not from `low` to `high`, is infinite, or is not a number.

    None means that a value was not given, and passes.
    """
    for name, value in values.items():
        if value is not None and (not low <= value <= high or math.isinf(value)):
            allowed = f"at least {low:g}" if math.isinf(high) else f"choose one from {low:g} to {high:g}"
            raise ValueError(f"{name}={value}: {allowed}")


def check_whole(low: int, **values: int | None) -> None:
    """Raise ValueError, with the name, for a value that is not a whole number or is less than `low`. None passes."""
    for name, value in values.items():
        if value is not None and (not isinstance(value, Integral) or isinstance(value, bool)):
            raise ValueError(f"{name}={value!r}: give a whole number")
    check_range(low, **values)
