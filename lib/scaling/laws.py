"""What theory predicts before anything runs: the speed-up with n workers, and how long tasks wait.

amdahl(workers=[1, 2, 4, 8], serial=0.1)
mean_wait(arrivals=3.5, service_s=1.0, servers=4)

All functions take numbers or NumPy arrays, which they broadcast against each other. Rates are tasks a second, times seconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]


class UnstableQueueError(ValueError):
    """More work arrives than the servers can handle: the queue grows without limit, and there is no mean waiting time."""


def checked(name: str, values: ArrayLike, low: float, high: float = np.inf, above: bool = False) -> Numbers:
    """Return `values` as an array of finite numbers from `low` to `high`; with `above`, `low` itself is refused.

    Raises:
        ValueError: a value is not in the range; the message names the value and the range.
    """
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: {values!r} is neither a number nor an array of numbers.") from None
    fine = np.isfinite(array) & (array <= high) & ((array > low) if above else (array >= low))
    if not fine.all():
        bad, limit = array[~fine].flat[0], "" if high == np.inf else f", at most {high:g}"
        raise ValueError(
            f"{name}: {bad:g} is not allowed. Give finite numbers, {'above' if above else 'at least'} {low:g}{limit}."
        )
    return array


# ── Speed-up ─────────────────────────────────────────────────────────────────────────────────────────────────────


def amdahl(workers: ArrayLike, serial: ArrayLike) -> Numbers:
    """Return the speed-up of n workers on a *fixed* amount of work, of which the share `serial` can't be divided.

    1 / (serial + (1 - serial) / n), which never exceeds 1 / serial. Source: G. M. Amdahl, "Validity of the single
    processor approach to achieving large scale computing capabilities", AFIPS 1967.
    """
    n, s = checked("workers", workers, 1), checked("serial", serial, 0, 1)
    return 1 / (s + (1 - s) / n)


def gustafson(workers: ArrayLike, serial: ArrayLike) -> Numbers:
    """Return how many times as much work n workers do in a *fixed* time, of which the share `serial` is undivided work.

    n - serial (n - 1). Source: J. L. Gustafson, "Reevaluating Amdahl's law", Communications of the ACM 31(5), 1988.
    """
    n, s = checked("workers", workers, 1), checked("serial", serial, 0, 1)
    return n - s * (n - 1)


def usl(workers: ArrayLike, gamma: ArrayLike, alpha: ArrayLike, beta: ArrayLike) -> Numbers:
    """Return the throughput of n workers, in tasks a second, by the Universal Scalability Law.

    gamma n / (1 + alpha (n - 1) + beta n (n - 1)): gamma is the throughput of a single worker, alpha the share of work that
    waits for a shared resource (contention), beta the cost for each pair of workers that must agree (coherency). If beta is 0,
    it is gamma times Amdahl's law. Source: N. J. Gunther, "Guerrilla Capacity Planning", Springer 2007.
    """
    n, a, b = checked("workers", workers, 1), checked("alpha", alpha, 0, 1), checked("beta", beta, 0)
    return checked("gamma", gamma, 0, above=True) * n / (1 + a * (n - 1) + b * n * (n - 1))


# ── Waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────


def little(
    *, number: ArrayLike | None = None, rate: ArrayLike | None = None, time_s: ArrayLike | None = None
) -> Numbers:
    """Return the missing one of three means: number of tasks in a system = rate of arrivals x time in the system.

    The law holds for the queue, for the servers and for both together, with any distributions, as long as the system is stable.
    Source: J. D. C. Little, "A proof for the queuing formula: L = λW", Operations Research 9(3), 1961.
    """
    names = {"number": number, "rate": rate, "time_s": time_s}
    given = {name: value for name, value in names.items() if value is not None}
    if len(given) != 2:
        raise ValueError(
            f"Give two of number, rate and time_s to get the third; given: {', '.join(given) or 'none'}."
        )
    one, other = (
        checked(*item, 0, above=item[0] != "number" and "number" in given) for item in given.items()
    )
    return one / other if "number" in given else one * other


def waiting(arrivals: ArrayLike, service_s: ArrayLike, servers: ArrayLike) -> tuple[Numbers, Numbers]:
    """Return the share of tasks that find all servers busy, and the mean seconds that these tasks wait, in an M/M/c queue.

    Arrivals are independent (Poisson), service times are exponential with mean `service_s`, and the queue is first in, first
    out. The share is Erlang's C formula, computed by the recurrence of Erlang's B over the number of servers. This neither
    overflows nor loses digits; its running time grows with the number of servers. Source: A. K. Erlang, "Solution of some
    problems in the theory of probabilities of significance in automatic telephone exchanges", 1917.

    Raises:
        UnstableQueueError: more work arrives than the servers can handle.
    """
    rate = checked("arrivals", arrivals, 0, above=True)
    time_s, number = checked("service_s", service_s, 0, above=True), checked("servers", servers, 1)
    if (number != np.floor(number)).any():
        raise ValueError(
            f"servers: {number[number != np.floor(number)].flat[0]:g} is not allowed. Give whole numbers."
        )
    load, number = np.broadcast_arrays(rate * time_s, number)
    if (load >= number).any():
        most = load[load >= number].max()
        raise UnstableQueueError(
            f"{most:g} seconds of work arrive a second: with fewer than {np.floor(most) + 1:g} servers, the queue grows without end."
        )
    blocked = np.ones_like(load)
    for k in range(1, int(number.max()) + 1):
        blocked = np.where(k <= number, load * blocked / (k + load * blocked), blocked)
    return blocked * number / (number - load * (1 - blocked)), time_s / (number - load)


def mean_wait(arrivals: ArrayLike, service_s: ArrayLike, servers: ArrayLike) -> Numbers:
    """Return the mean seconds in the queue of an M/M/c (see `waiting`), including tasks that do not wait."""
    share, wait = waiting(arrivals, service_s, servers)
    return share * wait


def wait_percentile(
    share: ArrayLike, arrivals: ArrayLike, service_s: ArrayLike, servers: ArrayLike
) -> Numbers:
    """Return the waiting time in an M/M/c queue, in seconds, that the given share of tasks (such as 0.99) does not exceed.

    A task waits longer than t with probability C exp(-t servers (1 - utilisation) / service_s), where C is Erlang's.
    """
    part = checked("share", share, 0, 0.999999)
    waits, wait = waiting(arrivals, service_s, servers)
    beyond = np.log(np.maximum(waits, 1e-300) / (1 - part))
    return np.maximum(beyond, 0) * wait
