"""The Universal Scalability Law fitted to measurements: coefficients, their uncertainty, and where throughput peaks.

fit = fit_usl(workers=[1, 2, 4, 8, 16], throughput=[10.0, 18.5, 31.0, 40.2, 36.1])
fit.predict(12), fit.band(12), fit.peak_workers
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from lib.scaling.laws import Numbers, checked, usl

NAMES: Final = ("gamma", "alpha", "beta")
#: A coefficient that changes no throughput by more than this share is taken to be at its bound.
NEGLIGIBLE: Final = 1e-5


def gradient(n: Numbers, gamma: float, alpha: float, beta: float) -> Numbers:
    """The derivatives of `usl` by gamma, alpha and beta: one row for each n."""
    below = 1 + alpha * (n - 1) + beta * n * (n - 1)
    by_alpha = -gamma * n * (n - 1) / below**2
    return np.stack([n / below, by_alpha, by_alpha * n], axis=-1)


@dataclass(frozen=True)
class UslFit:
    """The Universal Scalability Law fitted to measurements.

    covariance: of the three estimates, from the slopes at the fit and the scatter round it. degrees: of freedom, which are
    measurements minus three.
    """

    gamma: float
    alpha: float
    beta: float
    covariance: tuple[tuple[float, ...], ...] = field(repr=False)
    degrees: int

    @property
    def standard_errors(self) -> dict[str, float]:
        """By the name of the coefficient. For an estimate at a bound: see `band`."""
        return {name: float(self.covariance[i][i] ** 0.5) for i, name in enumerate(NAMES)}

    @property
    def peak_workers(self) -> float:
        """With how many workers throughput is highest, sqrt((1 - alpha) / beta) and at least 1; infinite if beta is 0."""
        return max(1.0, ((1 - self.alpha) / self.beta) ** 0.5) if self.beta > 0 else np.inf

    def predict(self, workers: ArrayLike) -> Numbers:
        """Throughput of n workers."""
        return usl(workers, self.gamma, self.alpha, self.beta)

    def band(self, workers: ArrayLike) -> tuple[Numbers, Numbers]:
        """The lower and the upper end of the 95 % confidence band of the *curve*, by the delta method; never below 0.

        It says how well the curve is known if the law holds and the scatter is alike at all worker counts; single
        measurements scatter more widely, and a law that does not hold is not found out by its band. With four
        measurements it is very wide. At a bound the usual theory does not hold. There the covariance is still that of all
        three coefficients, as if the bound were not known: this errs on the wide side, since an estimate that is kept
        from crossing a bound scatters less than one that is not.
        """
        from scipy.special import stdtrit  # scipy.stats has it too, and takes a second to import

        middle = self.predict(workers)
        slopes = gradient(np.asarray(workers, dtype=float), self.gamma, self.alpha, self.beta)
        variance = np.einsum("...i,ij,...j->...", slopes, np.array(self.covariance), slopes)
        reach = stdtrit(self.degrees, 0.975) * np.sqrt(np.maximum(variance, 0))
        return np.maximum(middle - reach, 0), middle + reach


def fit_usl(workers: ArrayLike, throughput: ArrayLike) -> UslFit:
    """Fit `usl` to the throughputs of at least four different worker counts, by least squares of throughput.

    0 <= alpha <= 1 and beta >= 0 hold for the estimates; a speed-up of more than n is therefore taken for noise. The
    search starts at the solution for n / throughput, which is linear in the coefficients.

    Raises:
        ValueError: fewer than four worker counts, or not as many as throughputs; a worker count below 1; a throughput
            that is not above 0, or not finite.
        RuntimeError: the search found no end.
    """
    from scipy import optimize  # slow to import

    n, x = checked("workers", workers, 1), checked("throughput", throughput, 0, above=True)
    if (counts := len(np.unique(n))) < 4:
        raise ValueError(
            f"{counts} worker counts can't tell three coefficients from noise: measure at least four."
        )
    top, most = float(x.max()), float(n.max())
    start, limits = [float((x / top / n).max()), 1 / most, 1 / most**2], ([1e-9, 0, 0], [np.inf, 1, np.inf])
    precise = dict.fromkeys(("ftol", "xtol", "gtol"), 1e-12) | {"max_nfev": 1000, "x_scale": start}
    found, covariance = optimize.curve_fit(usl, n, x / top, start, bounds=limits, jac=gradient, **precise)
    # The search comes near a bound, but not to it.
    small = np.abs(found * [1, most, most**2]) < NEGLIGIBLE
    gamma, alpha, beta = np.where(small, 0, found).tolist()
    units = np.array([top, 1, 1])
    rows = tuple(map(tuple, (covariance * np.outer(units, units)).tolist()))
    return UslFit(gamma * top, alpha, beta, rows, len(n) - 3)
