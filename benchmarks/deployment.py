"""Switches under traffic: how many of 100,000 requests fail, and how soon the new colour answers.

    python benchmarks/deployment.py [--quick]

Before a bare endpoint, so that what is measured is the proxy. "A record" is a request; the time is that until the first answer of
the new colour, counted from the command; the speed-up is p99 before a switch against p99 in the half second after it.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pandas as pd

from benchmarks.rows import Row, on_all_cores, show
from lib.benchmark import environment
from lib.deployment.router import COLOURS, Colour, router
from lib.deployment.traffic import Traffic
from lib.ports import run_on_free_port
from lib.processes import Process

BARE = Path(__file__).parents[1] / "tests" / "deployment" / "bare.py"


def start(process: Process, colour: Colour) -> int:
    """Start the bare endpoint; return its port."""

    def ready(port: int) -> bool:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read() == colour.encode()
        return False

    return run_on_free_port(
        lambda port: process.run([sys.executable, BARE, str(port), colour]), ready, name=colour
    )


def switches(kind: Literal["haproxy", "nginx"], number: int, rate: float, every: float) -> Row:
    """Switch to and fro; the old colour is stopped as soon as nothing is in flight there, and started again before its turn."""
    told: list[tuple[Colour, float]] = []
    with Process() as blue, Process() as green:
        processes = dict(zip(COLOURS, (blue, green), strict=True))
        ports = {colour: [start(process, colour)] for colour, process in processes.items()}
        with router(ports, kind=kind) as proxy, Traffic(proxy.url, rate, long=20) as traffic:
            for turn in range(1, number + 1):
                time.sleep(every)
                new, old = COLOURS[turn % 2], COLOURS[1 - turn % 2]
                if not processes[new].alive:
                    proxy.serve(new, [start(processes[new], new)])
                    time.sleep(0.5)
                told.append((new, time.monotonic()))
                proxy.switch(new)
                while proxy.in_flight(old):
                    time.sleep(0.01)
                processes[old].kill()
            time.sleep(every)
        requests = traffic.requests()
    firsts, ratios = zip(*(_around(requests, *one) for one in told), strict=True)
    failed = int((requests["outcome"] != "ok").sum())
    text = f"{kind}: {number} switches, {failed} failed"
    return Row(
        "deployment", "switches under traffic", len(requests), text, statistics.median(firsts), max(firsts) - min(firsts), 0.0,
        number, statistics.median(ratios) if not failed else 0.0, None, 0.5, environment(),
    )  # fmt: skip


def _around(requests: pd.DataFrame, colour: Colour, told: float) -> tuple[float, float]:
    """Seconds until the first answer of the new colour, and p99 in the second before against the half second after."""
    short = requests[requests["kind"] == "get"]
    new = short[(short["sent"] > told) & short["served_by"].str.startswith(colour)]
    before = short.loc[short["due"].between(told - 1.0, told), "latency"].quantile(0.99)
    after = short.loc[short["due"].between(told, told + 0.5), "latency"].quantile(0.99)
    return new["ended"].min() - told, before / after


def rows(quick: bool = False) -> Iterator[Row]:
    """Both proxies; a quick run shows that it works, not how fast."""
    with on_all_cores():
        for kind in ("haproxy", "nginx"):
            yield switches(kind, *((4, 100, 0.7) if quick else (22, 1000, 3.5)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="4 switches at 100 requests a second")
    show(rows(parser.parse_args().quick))
