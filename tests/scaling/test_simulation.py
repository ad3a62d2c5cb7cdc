"""The simulated cluster: exact where it can be, against M/M/c within its own confidence interval, and failures counted."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit

from lib.scaling.laws import mean_wait, waiting
from lib.scaling.simulation import Cluster, simulate

COLUMNS = ["task", "arrived", "started", "ended", "worker", "tries"]
SLOW = {"straggler_share": 0.05, "straggler_factor": 4.0, "failure_s": 10.0, "restart_s": 2.0}
UNUSUAL = Cluster(5, 1.0, broker_limit=20.0, **SLOW)


def busy_workers_do_one_thing_at_a_time(frame: pd.DataFrame) -> bool:
    """No worker begins a task before it has ended the one before."""
    frame = frame.sort_values(["worker", "started", "ended"])
    same = frame["worker"].to_numpy()[1:] == frame["worker"].to_numpy()[:-1]
    return bool((frame["started"].to_numpy()[1:] >= frame["ended"].to_numpy()[:-1] - 1e-9)[same].all())


# ── Exact ────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(1, 20), st.sampled_from([None, 0.9]), st.integers(0, 1000))
@settings(max_examples=25)
def test_starts_are_those_of_a_queue_first_in_first_out(workers, busy, seed):
    """The oracle is Kiefer and Wolfowitz's recursion: a task starts when it is there and the first worker is free."""
    frame = simulate(Cluster(workers, 1.0), tasks=200, rate=busy and workers * busy, seed=seed)
    assert list(frame.columns) == COLUMNS and list(frame["task"]) == list(range(200))
    free = [0.0] * workers
    for row in frame.itertuples():
        expected = max(row.arrived, free[0])
        assert row.started == pytest.approx(expected, abs=1e-9)
        heapq.heapreplace(free, expected + row.ended - row.started)


@given(st.integers(0, 50), st.sampled_from([None, 4.0]))
@settings(max_examples=10)
def test_every_task_is_done_once_by_a_worker_that_has_nothing_else_to_do(seed, rate):
    frame = simulate(UNUSUAL, tasks=150, rate=rate, seed=seed)
    assert list(frame["task"]) == list(range(150)) and not frame.isna().any(axis=None)
    assert (frame["arrived"] <= frame["started"]).all() and (frame["started"] < frame["ended"]).all()
    assert set(frame["worker"]) <= set(range(5)) and (frame["tries"] >= 1).all()
    assert busy_workers_do_one_thing_at_a_time(frame)


def test_the_same_seed_gives_the_same_run():
    once, again, other = (simulate(UNUSUAL, tasks=100, rate=4, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(once, again)
    assert not once.equals(other)


def test_service_times_are_the_same_with_and_without_the_possibility_of_failures():
    calm = simulate(Cluster(3, 1.0), tasks=100, rate=2, seed=3)
    hardly = simulate(Cluster(3, 1.0, failure_s=1e12), tasks=100, rate=2, seed=3)
    pd.testing.assert_frame_equal(calm, hardly)


# ── Against theory ───────────────────────────────────────────────────────────────────────────────────────────────


def batch_interval(values: np.ndarray, batches: int, level: float) -> tuple[float, float]:
    """The mean with the half width of its interval by batch means: means of long enough batches are nearly independent."""
    means = np.array([part.mean() for part in np.array_split(values, batches)])
    return means.mean(), stdtrit(batches - 1, (1 + level) / 2) * means.std(ddof=1) / batches**0.5


@pytest.mark.parametrize(
    ("servers", "busy"), [(1, 0.3), (1, 0.85), (8, 0.7), (8, 0.95), (50, 0.3), (50, 0.85)]
)
def test_mean_waits_agree_with_m_m_c(servers, busy):
    """Within the simulation's own interval, by the method of batch means.

    A queue forgets its past within about busy / (1 - sqrt(busy))² tasks (its relaxation time). A batch is three of these
    long, the first is left out, and the level is 99.9 %, so that six cases together fail once in 160 fresh seeds. Where
    no task waited at all, so few must have been expected to (7) that this happens once in a thousand runs.
    """
    batch = max(500, math.ceil(3 * busy / (1 - busy**0.5) ** 2))
    frame = simulate(Cluster(servers, 1.0), tasks=9 * batch, rate=servers * busy, seed=11)
    waits = (frame["started"] - frame["arrived"]).to_numpy()[batch:]
    expected, _ = waiting(servers * busy, 1.0, servers)
    if not waits.any():
        assert expected * len(waits) < 7
        return
    mean, half = batch_interval(waits, 8, 0.999)
    assert abs(mean - mean_wait(servers * busy, 1.0, servers)) <= half
    share, half = batch_interval(waits > 1e-9, 8, 0.999)
    assert abs(share - expected) <= half


def test_stragglers_are_as_many_and_as_slow_as_they_should_be():
    calm, slowed = (
        simulate(Cluster(2000, 1.0, straggler_share=share, straggler_factor=7), tasks=2000, seed=4)
        for share in (0.0, 0.2)
    )
    # The same seed, the same service times, all from the start.
    factors = (slowed["ended"] / calm["ended"]).round(9)
    assert set(factors) == {1.0, 7.0}
    assert (factors == 7).mean() == pytest.approx(0.2, abs=0.03)


# ── Failures ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_try_is_tried_again_and_counted():
    """A task of 1 s in the mean ends before a failure after 2 s in the mean in two of three tries: 1.5 tries a task."""
    frame = simulate(Cluster(20, 1.0, failure_s=2.0), tasks=2000, seed=6)
    assert frame["tries"].mean() == pytest.approx(1.5, abs=0.08)


def test_a_failed_worker_is_away_until_it_has_restarted():
    frame = simulate(Cluster(1, 1.0, failure_s=4.0, restart_s=10.0), tasks=300, seed=6)
    failures, worked = (frame["tries"] - 1).sum(), (frame["ended"] - frame["started"]).sum()
    assert failures > 30
    assert worked + 10 * failures <= frame["ended"].max() <= worked + 15 * failures


# ── Refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────
