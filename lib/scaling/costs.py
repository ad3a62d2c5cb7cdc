"""What a throughput costs on many small machines and on one big one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from lib.scaling.laws import Numbers, checked, usl

if TYPE_CHECKING:
    import pandas as pd

    from lib.scaling.fitting import UslFit

#: The biggest machine that can be bought, in units of the small one.
LARGEST = 64.0


def workers_needed(demand: ArrayLike, gamma: ArrayLike, alpha: ArrayLike, beta: ArrayLike) -> Numbers:
    """The fewest workers whose throughput by `usl` is at least `demand`; infinite where no number of them gets there."""
    d = checked("demand", demand, 0, above=True)
    g, a, b = checked("gamma", gamma, 0, above=True), checked("alpha", alpha, 0, 1), checked("beta", beta, 0)
    # usl(n) >= d is b d n² - half n + (1 - a) d <= 0, of which the smaller root is taken, in a form that allows b = 0
    half = g + d * (b - a)
    inside = half**2 - 4 * b * d * d * (1 - a)
    with np.errstate(divide="ignore", invalid="ignore"):
        root = 2 * d * (1 - a) / (half + np.sqrt(np.maximum(inside, 0)))
    possible = (inside >= 0) & (half > 0) & np.isfinite(root) & (d > g)
    n = np.maximum(np.ceil(np.where(possible, root, 1) * (1 - 1e-12)), 1)
    return np.where(usl(n, g, a, b) >= d * (1 - 1e-9), n, np.inf)


def compare_costs(demand: ArrayLike, *, fit: UslFit, returns: float = 0.8) -> pd.DataFrame:
    """What a throughput costs on many small machines (horizontal) and on one big machine (vertical).

    Assumptions, to be replaced by your own prices and measurements: n small machines do what `fit` says, and cost n.
    A machine of s times the size costs s times as much, as sizes of one family do at the large cloud providers, and does
    `fit.gamma` s^`returns`: with `returns` below 1 each further processor adds less. Sizes go up to `LARGEST`.

    Args:
        demand: tasks a second, one or several.
        fit: throughput by number of small machines.
        returns: the exponent, above 0 and at most 1.

    Returns:
        One row a demand: `demand`, `workers`, `horizontal`, `size`, `vertical` (prices in units of a small machine's), `cheaper`
        ("horizontal", "vertical", "equal", or "neither"). What can't reach the demand is infinite.
    """
    import pandas as pd

    wanted = np.atleast_1d(checked("demand", demand, 0, above=True))
    power = checked("returns", returns, 0, 1, above=True)
    workers = workers_needed(wanted, fit.gamma, fit.alpha, fit.beta)
    size = np.maximum((wanted / fit.gamma) ** (1 / power), 1.0)
    size = np.where(size <= LARGEST, size, np.inf)
    cases = [np.isinf(workers) & np.isinf(size), workers < size, workers > size]
    names = np.select(cases, ["neither", "horizontal", "vertical"], "equal")
    columns = {"demand": wanted, "workers": workers, "horizontal": workers}
    return pd.DataFrame({**columns, "size": size, "vertical": size, "cheaper": names})
