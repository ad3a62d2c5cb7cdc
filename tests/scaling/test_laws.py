"""Laws of scaling: against published numbers, exact arithmetic, each other, and everything that they should refuse."""

from __future__ import annotations

from fractions import Fraction
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.scaling import laws
from lib.scaling.costs import MOST, compare_costs
from lib.scaling.fitting import UslFit, fit_usl
from lib.scaling.laws import amdahl, gustafson, little, mean_wait, usl, wait_percentile, waiting

# Published data and published coefficients: README and vignette of the R package `usl` (N. J. Gunther, S. Möding), version
# 3.0. The first is SPEC SDM91 on a SPARCcenter 2000, the second a ray tracer (Guerrilla Capacity Planning, table 5.1).
SPEC = ([1, 18, 36, 72, 108, 144, 216], [64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2])
RAYTRACER = ([1, 4, 8, 12, 16, 20, 24, 28, 32, 48, 64], [20, 78, 130, 170, 190, 200, 210, 230, 260, 280, 310])

shares = st.floats(0, 1)
worker_counts = st.integers(1, 10_000)


# ── Speed-up ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_amdahl_and_gustafson_by_hand():
    assert amdahl(10, 0.1) == pytest.approx(1 / 0.19)
    assert gustafson(10, 0.1) == pytest.approx(9.1)
    assert list(amdahl([1, 2, 4], 0)) == list(gustafson([1, 2, 4], 0)) == [1, 2, 4]
    assert list(amdahl([1, 2, 4], 1)) == list(gustafson([1, 2, 4], 1)) == [1, 1, 1]


@given(worker_counts, shares)
@settings(max_examples=30)
def test_the_usl_without_coherency_is_amdahl(n, serial):
    assert usl(n, 3.0, serial, 0) == pytest.approx(3.0 * amdahl(n, serial))


# ── Fit ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_fit_agrees_with_the_published_one_of_specsdm91():
    """Published: coefficients and errors to seven digits after the point; ours agree to one in 10,000."""
    fit = fit_usl(*SPEC)
    assert (fit.gamma, fit.alpha) == pytest.approx((89.9952330, 0.0277285), rel=1e-4)
    assert fit.beta == pytest.approx(0.0001044, abs=5e-8)
    assert fit.standard_errors["gamma"] == pytest.approx(14.2134894, rel=1e-4)
    assert fit.standard_errors["alpha"] == pytest.approx(0.0091217, rel=1e-4)
    assert fit.standard_errors["beta"] == pytest.approx(0.0000199, abs=5e-8)
    residuals = np.array(SPEC[1]) - fit.predict(SPEC[0])
    assert (residuals.min(), residuals.max()) == pytest.approx((-81.7, 111.1), abs=0.05)
    assert np.sqrt((residuals**2).sum() / fit.degrees) == pytest.approx(82.8, abs=0.05)
    assert fit.peak_workers == pytest.approx(96.5, abs=0.05)
    assert fit.predict(np.arange(1, 400)).max() <= fit.predict(fit.peak_workers)


def test_a_published_fit_at_the_bound():
    fit = fit_usl(*RAYTRACER)
    assert (fit.gamma, fit.alpha) == pytest.approx((21.848843, 0.057771), rel=1e-4)
    assert fit.beta == 0
    assert fit.peak_workers == np.inf


@given(st.floats(1e-3, 1e6), shares, st.floats(0, 1))
@settings(max_examples=50)
def test_coefficients_are_recovered_from_generated_data(gamma, alpha, beta):
    workers = [1, 2, 3, 5, 8, 16]
    fit = fit_usl(workers, usl(workers, gamma, alpha, beta))
    assert (fit.gamma, fit.alpha, fit.beta) == pytest.approx((gamma, alpha, beta), rel=1e-5, abs=1e-5)
    assert 0 <= fit.alpha <= 1 and fit.beta >= 0


@given(st.lists(st.floats(0.1, 100), min_size=5, max_size=5), st.floats(1e-4, 1e4))
@settings(max_examples=50)
def test_whatever_was_measured_the_estimates_keep_their_bounds_and_units_do_not_matter(throughput, unit):
    workers = [1, 2, 4, 8, 16]
    fit, scaled = fit_usl(workers, throughput), fit_usl(workers, np.array(throughput) * unit)
    assert fit.gamma > 0 and 0 <= fit.alpha <= 1 and fit.beta >= 0
    low, high = fit.band([1, 4, 16, 100])
    assert (low >= 0).all() and (low <= fit.predict([1, 4, 16, 100])).all() and np.isfinite(high).all()
    assert scaled.predict(workers) == pytest.approx(fit.predict(workers) * unit, rel=1e-3)


@pytest.mark.parametrize(("alpha", "beta", "peak"), [(0.5, 0.9, 1), (0, 0, np.inf)])
def test_the_peak_at_the_edges(alpha, beta, peak):
    fit = fit_usl([1, 2, 4, 8], usl([1, 2, 4, 8], 10, alpha, beta))
    assert fit.peak_workers == peak


@pytest.mark.parametrize("true", [(10.0, 0.05, 0.004), (10.0, 0.05, 0.0)], ids=["inside", "at the bound"])
def test_the_band_covers_the_true_curve_as_often_as_it_says(true):
    """150 generated sets of measurements: of 95 % bands at three points, 92 % or more hold the truth, at a bound too."""
    rng, workers, probes = np.random.default_rng(5), np.array([1, 2, 4, 8, 16, 32]), np.array([2, 12, 32])
    curve, truth, held = usl(workers, *true), usl(probes, *true), []
    for _ in range(150):
        low, high = fit_usl(workers, curve + rng.normal(0, 1.0, 6)).band(probes)
        held.append((low <= truth) & (truth <= high))
    assert (np.mean(held, axis=0) >= 0.92).all()
    assert np.mean(held) <= 0.99, "A band that always holds says nothing."


@pytest.mark.parametrize(
    ("workers", "throughput", "message"),
    [
        ([1, 2, 4], [1, 2, 3], "3 worker counts can't tell three coefficients from noise: measure at least four"),
        ([1, 2, 4, 4, 4], [1, 2, 3, 3, 4], "3 worker counts can't tell"),
        ([0, 2, 4, 8], [1, 2, 3, 4], "workers: 0 is not allowed"),
        ([1, 2, 4, 8], [1, 2, 3], r"shapes \(3,\) \(4,\)"),
        ([1, 2, 4, 8], ["a", 1, 2, 3], "throughput: .* is neither a number"),
    ],
)  # fmt: skip
def test_measurements_that_cannot_be_fitted_are_refused(workers, throughput, message):
    with pytest.raises(ValueError, match=message):
        fit_usl(workers, throughput)


# ── Waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────


def erlang_c(servers: int, load: Fraction) -> Fraction:
    """Erlang's C formula as it stands in textbooks, in exact arithmetic."""
    last = load**servers / factorial(servers) * servers / (servers - load)
    return last / (sum(load**k / factorial(k) for k in range(servers)) + last)


@given(st.integers(1, 30), st.fractions("1/100", "99/100", max_denominator=100))
@settings(max_examples=50)
def test_erlang_c_agrees_with_exact_arithmetic(servers, busy):
    exact = erlang_c(servers, busy * servers)
    assert waiting(float(busy * servers), 1.0, servers)[0] == pytest.approx(float(exact), rel=1e-9)


def test_erlang_c_for_many_servers():
    """100 and 1,000 servers against exact arithmetic (no overflow), and the limit of many servers at a heavy load."""
    for servers in (100, 1000):
        exact = float(erlang_c(servers, Fraction(servers * 99, 100)))
        assert waiting(servers * 0.99, 1.0, servers)[0] == pytest.approx(exact, rel=1e-9)
    assert 0.87 < waiting(9990.0, 1.0, 10_000)[0] < 0.89  # Halfin and Whitt's limit for 0.1: 0.88
    assert waiting(1.0, 1.0, 10_000)[0] == 0


def test_percentiles_of_waiting():
    """For M/M/1 at 0.9: 90 % wait at all, and P(wait > t) = 0.9 exp(-0.1 t)."""
    assert wait_percentile([0.0, 0.1], 0.9, 1.0, 1) == pytest.approx([0, 0], abs=1e-12)
    assert wait_percentile(0.99, 0.9, 1.0, 1) == pytest.approx(10 * np.log(90))
    assert wait_percentile(0.5, 1.0, 1.0, 50) == 0
    shares = np.linspace(0, 1, 200_001)[:-1]
    assert wait_percentile(shares, 3.6, 1.0, 4).mean() == pytest.approx(mean_wait(3.6, 1.0, 4), rel=1e-3)


def test_little():
    assert little(rate=4, time_s=0.5) == 2
    assert little(number=2, time_s=0.5) == 4
    assert list(little(number=[2, 4], rate=4)) == [0.5, 1]
    assert little(number=0, rate=4) == 0
    assert little(rate=4, time_s=0) == 0


@pytest.mark.parametrize("function", [waiting, mean_wait])
def test_unstable_systems_are_refused_with_what_would_do(function):
    with pytest.raises(
        laws.UnstableQueueError, match="10 seconds of work arrive .* with fewer than 11 servers"
    ):
        function(5, 2, 10)
    with pytest.raises(laws.UnstableQueueError, match="with fewer than 3 servers"):
        function([1, 2.5], 1, 2)
    function(5, 2, 11)


# ── Cost ─────────────────────────────────────────────────────────────────────────────────────────────────────────


NONE = ((0.0,) * 3,) * 3


@given(st.floats(1, 100), st.floats(0, 0.5), st.floats(0, 0.1), st.floats(0.1, 500))
@settings(max_examples=50)
def test_no_fewer_workers_would_do(gamma, alpha, beta, demand):
    needed = compare_costs(demand, fit=UslFit(gamma, alpha, beta, NONE, 3))["workers"].iloc[0]
    if needed < np.inf:
        assert usl(needed, gamma, alpha, beta) >= demand * (1 - 1e-9)
    fewer = np.arange(1, min(needed, MOST))
    assert (usl(fewer, gamma, alpha, beta) < demand).all()


@pytest.mark.parametrize(
    ("alpha", "demand", "needed"),
    [(0, 5, 1), (0, 10, 1), (0, 20, 2), (0, 21, 3), (0.1, 100, np.inf), (1, 10, 1), (1, 10.5, np.inf)],
)
def test_workers_at_the_edges(alpha, demand, needed):
    """Amdahl's limit itself, 100 with a share of 0.1, is never reached."""
    assert list(compare_costs(demand, fit=UslFit(10.0, alpha, 0.0, NONE, 3))["workers"]) == [needed]


SMALL = UslFit(10.0, 0.05, 0.002, NONE, 3)


def test_costs():
    frame = compare_costs([10, 40, 60, 75, 500], fit=SMALL, returns=0.8)
    assert list(frame["cheaper"]) == ["equal", "horizontal", "vertical", "vertical", "neither"]
    assert list(frame["horizontal"]) == list(frame["workers"]) == [1, 5, 10, np.inf, np.inf]
    assert list(frame["vertical"]) == list(frame["size"]) and frame["size"][4] == np.inf
    assert frame["size"][1] == pytest.approx(4 ** (1 / 0.8))
    assert list(compare_costs(2, fit=SMALL)["size"]) == [1], "no machine has a size below one"


# ── Refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: amdahl(0, 0.1), "workers: 0 is not allowed. Give finite numbers, at least 1."),
        (lambda: amdahl(2, 1.5), "serial: 1.5 is not allowed. Give finite numbers, at least 0, at most 1."),
        (lambda: usl(2, 0, 0.1, 0.1), "gamma: 0 is not allowed. Give finite numbers, above 0."),
        (lambda: usl("two", 1, 0, 0), "workers: 'two' is neither a number"),
        (lambda: mean_wait(1, 0.1, [2, 1.5]), "servers: 1.5 is not allowed. Give whole numbers."),
        (lambda: wait_percentile(1, 1, 0.1, 1), "share: 1 is not allowed. Give finite numbers, at least 0, at most 0.999999."),
        (lambda: little(rate=4), "Give two of number, rate and time_s to get the third; given: rate"),
        (lambda: compare_costs(10, fit=SMALL, returns=1.2), "returns: 1.2 is not allowed. Give finite numbers, above 0, at most 1."),
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        call()
