"""Switches under traffic: how many of 100,000 requests fail, and how soon the new colour answers.

    python benchmarks/run.py --only deployment [--quick]

Before a bare endpoint, so that what is measured is the proxy. "A record" is a request; the time is that until the first answer of
the new colour, counted from the command; the speed-up is p99 before a switch against p99 in the half second after it, and A/A
the same where nothing was switched.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.rows import Row, on_all_cores
from lib.benchmark import environment
from lib.stage.ports import run_on_free_port
from lib.stage.processes import Process
from lib.stage.router import COLOURS, Colour, Router
from lib.stage.traffic import Traffic

BARE = Path(__file__).parents[1] / "tests" / "bare.py"


def start(process: Process, colour: Colour) -> int:
    """Start the bare endpoint; return its port."""

    def ready(port: int) -> bool:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read() == colour.encode()
        return False

    return run_on_free_port(
        lambda port: process.run([sys.executable, BARE, str(port), colour]), ready, name=colour
    )


def switches(number: int, rate: float, every: float) -> Row:
    """Switch to and fro; the old colour is stopped as soon as nothing is in flight there, and started again before its turn."""
    commands: list[tuple[Colour, float]] = []
    with Process() as blue, Process() as green:
        processes = dict(zip(COLOURS, (blue, green), strict=True))
        ports = {colour: [start(process, colour)] for colour, process in processes.items()}
        with Router(ports) as router, Traffic(router.url, rate, long=20) as traffic:
            for turn in range(1, number + 1):
                time.sleep(every)
                new, old = COLOURS[turn % 2], COLOURS[1 - turn % 2]
                if not processes[new].alive:
                    router.set_replicas(new, [start(processes[new], new)])
                    time.sleep(0.5)
                commands.append((new, time.monotonic()))
                router.switch(new)
                while router.in_flight(old):
                    time.sleep(0.01)
                processes[old].kill()
            time.sleep(every)
        requests = traffic.requests()
    first = statistics.median(_first(requests, *one) for one in commands)
    ratios = [_p99_before_and_after(requests, at) for _, at in commands]
    same = sorted(_p99_before_and_after(requests, at - 1.5) for _, at in commands)  # nothing happens there
    failed = int((requests["outcome"] != "ok").sum())
    text = f"haproxy: {number} switches, {failed} failed, new colour after {first * 1e3:.1f} ms, A/A {same[1]:.2f} to {same[-2]:.2f}×"
    return Row(
        "deployment", "switches under traffic", len(requests), text, first, 0.0, 0.0,
        number, statistics.median(ratios) if not failed else 0.0, None, 0.5, environment(),
    )  # fmt: skip


def stopped_and_started(number: int, rate: float, every: float) -> Row:
    """No proxy: the old process is stopped, and the new one started on the same port. What fails is what users would see.

    The speed-up is the share of requests that did not fail.
    """
    stopped: list[float] = []
    with Process() as process:
        port = start(process, COLOURS[0])
        with Traffic(f"http://127.0.0.1:{port}", rate, long=20) as traffic:
            for turn in range(1, number + 1):
                time.sleep(every)
                process.kill()
                stopped.append(time.monotonic())
                process.run([sys.executable, BARE, str(port), COLOURS[turn % 2]])
            time.sleep(every)
        requests = traffic.requests()
    requests = requests[
        requests["kind"] == "get"
    ]  # of the others, twenty are always under way: refused, they ask again at once
    answers = requests[requests["outcome"] == "ok"]
    first = statistics.median(answers.loc[answers["sent"] > at, "ended"].min() - at for at in stopped)
    failed = int((requests["outcome"] != "ok").sum())
    text = f"stop and start: {number} switches, {failed} failed, new colour after {first * 1e3:.1f} ms"
    return Row(
        "deployment", "switches under traffic", len(requests), text, first, 0.0, 0.0,
        number, 1 - failed / len(requests), None, None, environment(),
    )  # fmt: skip


def _first(requests: pd.DataFrame, colour: Colour, at: float) -> float:
    """Seconds from the command until the first answer of the new colour."""
    new = requests[(requests["sent"] > at) & requests["served_by"].str.startswith(colour)]
    return new["ended"].min() - at


def _p99_before_and_after(requests: pd.DataFrame, at: float) -> float:
    """How many times longer p99 was in the second before a moment than in the half second after it."""
    short = requests[requests["kind"] == "get"]
    before = short.loc[short["due"].between(at - 1.0, at), "latency"].quantile(0.99)
    return before / short.loc[short["due"].between(at, at + 0.5), "latency"].quantile(0.99)


def rows(quick: bool = False) -> Iterator[Row]:
    """With a proxy, and without; a quick run shows that it works, not how fast."""
    with on_all_cores():
        yield switches(*((4, 100, 0.7) if quick else (22, 1000, 4.6)))
        yield stopped_and_started(*((2, 100, 1.0) if quick else (6, 1000, 2.5)))
