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
#: A coefficient counts as at its bound if it changes no throughput by more than this share.
NEGLIGIBLE: Final = 1e-5


def gradient(n: Numbers, gamma: float, alpha: float, beta: float) -> Numbers:
    """Return the derivatives of `usl` by gamma, alpha and beta: one row for each n."""
    below = 1 + alpha * (n - 1) + beta * n * (n - 1)
    by_alpha = -gamma * n * (n - 1) / below**2
    return np.stack([n / below, by_alpha, by_alpha * n], axis=-1)


@dataclass(frozen=True)
class UslFit:
    """The Universal Scalability Law fitted to measurements.

    covariance: of the three estimates, from the slopes at the fit and the scatter around it.
    degrees: degrees of freedom, the number of measurements minus three.
    """

    gamma: float
    alpha: float
    beta: float
    covariance: tuple[tuple[float, ...], ...] = field(repr=False)
    degrees: int

    @property
    def standard_errors(self) -> dict[str, float]:
        """Standard errors by coefficient. For an estimate at a bound, see `band`."""
        return {name: float(self.covariance[i][i] ** 0.5) for i, name in enumerate(NAMES)}

    @property
    def peak_workers(self) -> float:
        """The number of workers with the highest throughput: sqrt((1 - alpha) / beta), at least 1; infinite if beta is 0."""
        return max(1.0, ((1 - self.alpha) / self.beta) ** 0.5) if self.beta > 0 else np.inf

    def predict(self, workers: ArrayLike) -> Numbers:
        """Return the throughput of n workers."""
        return usl(workers, self.gamma, self.alpha, self.beta)

    def band(self, workers: ArrayLike) -> tuple[Numbers, Numbers]:
        """Return the lower and the upper end of the 95 % confidence band of the *curve*, by the delta method; never below 0.

        The band shows how precisely the curve is known, if the law holds and the scatter is the same at all worker counts.
        Single measurements scatter more widely, and the band does not reveal that the law is wrong. With four measurements it
        is very wide. The usual theory does not hold for an estimate at a bound. There, the covariance is still computed for all
        three coefficients as if there were no bound. The band is then too wide rather than too narrow, because an estimate that
        cannot cross a bound scatters less.
        """
        from scipy.special import stdtrit  # scipy.stats has it too, but takes a second to import

        middle = self.predict(workers)
        slopes = gradient(np.asarray(workers, dtype=float), self.gamma, self.alpha, self.beta)
        variance = np.einsum("...i,ij,...j->...", slopes, np.array(self.covariance), slopes)
        reach = stdtrit(self.degrees, 0.975) * np.sqrt(np.maximum(variance, 0))
        return np.maximum(middle - reach, 0), middle + reach


def fit_usl(workers: ArrayLike, throughput: ArrayLike) -> UslFit:
    """Fit `usl` to the throughputs of at least four different worker counts, by least squares of throughput.

    The estimates satisfy 0 <= alpha <= 1 and beta >= 0, so a speed-up of more than n counts as noise. The search starts at the
    solution for n / throughput, which is linear in the coefficients.

    Raises:
        ValueError: fewer than four worker counts, or a different number of throughputs; a worker count below 1; a throughput
            that is not above 0, or not finite.
        RuntimeError: the search did not converge.
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
    # The search gets near a bound but does not reach it.
    small = np.abs(found * [1, most, most**2]) < NEGLIGIBLE
    gamma, alpha, beta = np.where(small, 0, found).tolist()
    units = np.array([top, 1, 1])
    rows = tuple(map(tuple, (covariance * np.outer(units, units)).tolist()))
    return UslFit(gamma * top, alpha, beta, rows, len(n) - 3)
