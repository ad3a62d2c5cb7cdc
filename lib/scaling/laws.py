"""What theory says before anything runs: how fast work on n workers can get, and how long tasks wait.

amdahl(workers=[1, 2, 4, 8], serial=0.1)
mean_wait(arrivals=3.5, service_s=1.0, servers=4)

All functions take numbers or NumPy arrays, which are broadcast against each other. Rates are tasks a second, times seconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]


class UnstableQueueError(ValueError):
    """More work arrives than the servers can do: the queue grows without end, and there is no mean waiting time."""


def checked(name: str, values: ArrayLike, low: float, high: float = np.inf, above: bool = False) -> Numbers:
    """`values` as an array of finite numbers from `low` to `high`; with `above`, `low` itself is refused.

    Raises:
        ValueError: one of them is not; the message names it and what is allowed.
    """
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: {values!r} is no number and no array of numbers.") from None
    fine = np.isfinite(array) & (array <= high) & ((array > low) if above else (array >= low))
    if not fine.all():
        bad, limit = array[~fine].flat[0], "" if high == np.inf else f", at most {high:g}"
        raise ValueError(
            f"{name}: {bad:g} is not allowed. Give finite numbers, {'above' if above else 'at least'} {low:g}{limit}."
        )
    return array


# ── Speed-up ─────────────────────────────────────────────────────────────────────────────────────────────────────


def amdahl(workers: ArrayLike, serial: ArrayLike) -> Numbers:
    """How many times as fast n workers do a *fixed* amount of work, of which the share `serial` can't be divided.

    1 / (serial + (1 - serial) / n), which never exceeds 1 / serial. Source: G. M. Amdahl, "Validity of the single
    processor approach to achieving large scale computing capabilities", AFIPS 1967.
    """
    n, s = checked("workers", workers, 1), checked("serial", serial, 0, 1)
    return 1 / (s + (1 - s) / n)


def gustafson(workers: ArrayLike, serial: ArrayLike) -> Numbers:
    """How many times as much n workers do in a *fixed* time, of which the share `serial` is not divided work.

    n - serial (n - 1). Source: J. L. Gustafson, "Reevaluating Amdahl's law", Communications of the ACM 31(5), 1988.
    """
    n, s = checked("workers", workers, 1), checked("serial", serial, 0, 1)
    return n - s * (n - 1)


def usl(workers: ArrayLike, gamma: ArrayLike, alpha: ArrayLike, beta: ArrayLike) -> Numbers:
    """Tasks a second that n workers do together, by the Universal Scalability Law.

    gamma n / (1 + alpha (n - 1) + beta n (n - 1)): gamma is what one worker does alone, alpha the share of work that
    waits for something shared (contention), beta the cost of each pair of workers that must agree (coherency). With
    beta = 0 it is gamma times Amdahl's law. Source: N. J. Gunther, "Guerrilla Capacity Planning", Springer 2007.
    """
    n, a, b = checked("workers", workers, 1), checked("alpha", alpha, 0, 1), checked("beta", beta, 0)
    return checked("gamma", gamma, 0, above=True) * n / (1 + a * (n - 1) + b * n * (n - 1))


# ── Waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────


def little(
    *, number: ArrayLike | None = None, rate: ArrayLike | None = None, time_s: ArrayLike | None = None
) -> Numbers:
    """The third of three means of which two are given: number of tasks in a system = rate of arrivals x time in it.

    It holds for the queue alone, for the servers alone and for both together, whatever the distributions, as long as the
    system is stable. Source: J. D. C. Little, "A proof for the queuing formula: L = λW", Operations Research 9(3), 1961.
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
    """The share of tasks that find all servers busy, and how many seconds these wait in the mean, in a queue M/M/c.

    Arrivals are independent of each other (Poisson), service times exponential with mean `service_s`, the queue is first
    in, first out. The share is Erlang's C formula, by the recurrence of Erlang's B over the number of servers, which neither
    overflows nor loses digits; the time it takes grows with their number. Source: A. K. Erlang, "Solution of some problems in
    the theory of probabilities of significance in automatic telephone exchanges", 1917.

    Raises:
        UnstableQueueError: the servers can't do the work.
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
    """Mean seconds in the queue of an M/M/c (see `waiting`), tasks that do not wait included."""
    share, wait = waiting(arrivals, service_s, servers)
    return share * wait


def wait_percentile(
    share: ArrayLike, arrivals: ArrayLike, service_s: ArrayLike, servers: ArrayLike
) -> Numbers:
    """Seconds in the queue of an M/M/c that the given share of tasks (0.99, say) does not exceed.

    A task waits longer than t with probability C exp(-t servers (1 - utilisation) / service_s), where C is Erlang's.
    """
    part = checked("share", share, 0, 0.999999)
    waits, wait = waiting(arrivals, service_s, servers)
    beyond = np.log(np.maximum(waits, 1e-300) / (1 - part))
    return np.maximum(beyond, 0) * wait
