"""Real workers: how waiting scales with their number, and what is lost while they are killed.

    python benchmarks/workers.py [--quick]

These run on all cores, for the workers are processes of their own. "A record" is a task.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections import Counter
from collections.abc import Iterator

from benchmarks.rows import Row, on_all_cores, rows_of, show
from lib.benchmark import Timing, compare, environment
from lib.scaling.tasks import EARLY, RESTORING, Delivery
from lib.scaling.workers import WorkerPool
from lib.servers import Server, valkey


def waiting(broker: Server, tasks: int, rounds: int) -> Iterator[Row]:
    """Tasks that wait a quarter of a second, on 1, 2 and 5 workers that stand ready; all say how many were done."""
    with contextlib.ExitStack() as stack:
        pools = {n: stack.enter_context(WorkerPool(n, broker=broker)) for n in (1, 2, 5)}

        def done(pool: WorkerPool) -> int:
            return len(ids := pool.send("pause", [(0.25,)] * tasks)) - pool.wait(600, ids=ids)

        candidates = {f"{n} workers": lambda pool=pool: done(pool) for n, pool in pools.items()}
        compared = compare(candidates, baseline="1 workers", rounds=rounds, min_seconds=0.0)
    yield from rows_of("workers", "waiting", tasks, compared, goals={"2 workers": 1.9, "5 workers": 4.5})


def killed(broker: Server, delivery: Delivery, name: str, tasks: int, every: float) -> Row:
    """Tasks that book payments on 4 workers, of which one is killed at work and replaced again and again."""
    with WorkerPool(4, broker=broker, delivery=delivery) as pool:
        start, sent, kills = time.perf_counter(), pool.send("book_once", [(0.25,)] * tasks), 0
        while pool.queue_length():
            time.sleep(every)
            at_work = [worker for worker in pool.workers if worker.name in pool.busy()]
            if at_work:
                pool.kill(at_work[0])
                pool.scale(4)
                kills += 1
        left = pool.wait(60 if delivery.restore_interval else 5)
        seconds, booked = time.perf_counter() - start, Counter(pool.ledger().values())
    assert set(booked) <= {1}, f"booked more than once: {booked}"
    assert sum(booked.values()) + left >= len(sent)
    text = f"{name}: {kills} killed, {left} of {tasks} not done, {tasks - booked[1]} not booked"
    timing = Timing(text, 1, (seconds,) * 2, (0.0,) * 2)
    return Row(
        "workers", "a worker killed again and again", tasks, text, timing.median, 0.0, 0.0, 1,
        1.0 if left == 0 else 0.0, None, 1.0 if delivery is RESTORING else None, environment(),
    )  # fmt: skip


def rows(quick: bool = False) -> Iterator[Row]:
    """All cases; a quick run shows that it works, not how fast."""
    with on_all_cores(), valkey() as broker:
        yield from waiting(broker, *((5, 3) if quick else (40, 10)))
        for delivery, name in ((RESTORING, "late, restored"), (EARLY, "early")):
            yield killed(broker, delivery, name, *((40, 0.5) if quick else (200, 2.0)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few tasks and rounds")
    show(rows(parser.parse_args().quick))
