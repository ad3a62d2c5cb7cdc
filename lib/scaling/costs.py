"""The cost of a throughput on many small machines and on one big machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from lib.scaling.laws import checked

if TYPE_CHECKING:
    import pandas as pd

    from lib.scaling.fitting import UslFit

#: The biggest machine on sale, in units of the small one, and the largest number of small ones.
LARGEST, MOST = 64.0, 100_000


def compare_costs(demand: ArrayLike, *, fit: UslFit, returns: float = 0.8) -> pd.DataFrame:
    """Compare the cost of a throughput on many small machines (horizontal) and on one big machine (vertical).

    Replace these assumptions by your own prices and measurements: n small machines have the throughput that `fit` predicts, and
    cost n. A machine of s times the size costs s times as much, as within one family of the large cloud providers. Its
    throughput is `fit.gamma` s^`returns`: if `returns` is below 1, each further processor adds less. Sizes go up to `LARGEST`,
    numbers to `MOST`.

    Args:
        demand: tasks a second, one or several.
        fit: throughput by number of small machines.
        returns: the exponent, above 0 and at most 1.

    Returns:
        One row a demand: `demand`, `workers`, `horizontal`, `size`, `vertical` (prices in units of a small machine's), `cheaper`
        ("horizontal", "vertical", "equal", or "neither"). A price is infinite if that side cannot reach the demand.
    """
    import pandas as pd

    wanted = np.atleast_1d(checked("demand", demand, 0, above=True))
    power = checked("returns", returns, 0, 1, above=True)
    reached = np.maximum.accumulate(fit.predict(np.arange(1, MOST + 1)))  # by n workers, or fewer
    workers = 1.0 + np.searchsorted(reached, wanted * (1 - 1e-9))
    workers[workers > MOST] = np.inf
    size = np.maximum((wanted / fit.gamma) ** (1 / power), 1.0)
    size = np.where(size <= LARGEST, size, np.inf)
    cases = [np.isinf(workers) & np.isinf(size), workers < size, workers > size]
    names = np.select(cases, ["neither", "horizontal", "vertical"], "equal")
    columns = {"demand": wanted, "workers": workers, "horizontal": workers}
    return pd.DataFrame({**columns, "size": size, "vertical": size, "cheaper": names})
