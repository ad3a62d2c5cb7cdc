"""Start a migration again and again, and kill each with SIGKILL at a random moment; then let one run to its end.

Usage: killed_runner.py DIALECT ADDRESS FROM TO TIMES BATCH_SIZE SEED. Prints, as JSON, how many runs were killed at work,
the batches that these had done, and the rows and batches of the last backfill. The runs are forked, so that they take no time to import.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial

from databases import calling_after_batches, engine_for

from lib.versioning.migrate import PhaseResult, run_migration
from lib.versioning.plan import migration_plan
from lib.versioning.sessions import Session
from lib.versioning.users import USERS

SPARE = 2  # batches that a run may do beyond those that are waited for


def migrate(dialect: str, address: str, versions: tuple[int, int], batch: int) -> tuple[PhaseResult, ...]:
    """Run expand and backfill."""
    with engine_for(dialect, address) as database:
        return run_migration(database.target, USERS, *versions, batch_size=batch, wait=30)


def report(pipe: int, left: Iterator[int]) -> None:
    """Tell that a batch is done; after the last that there may be, wait to be killed, however late that happens."""
    os.write(pipe, b".")
    if next(left, None) is None:
        signal.pause()


def main(
    dialect: str, address: str, start: int, end: int, times: int, batch: int, rng: random.Random
) -> None:
    """Kill each run a random time after a random number of batches, so that every machine kills at work."""
    migration_plan(USERS, start, end, dialect)  # imports what the runs need
    killed = done = 0
    for _ in range(times):
        after, (read_end, write_end) = rng.randint(0, 4), os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read_end)
            tell = partial(report, write_end, iter(range(after + SPARE - 1)))
            Session.transact = calling_after_batches(tell)  # type: ignore[method-assign]
            migrate(dialect, address, (start, end), batch)
            os._exit(0)
        os.close(write_end)
        while after and os.read(read_end, 1):
            after, done = after - 1, done + 1
        time.sleep(rng.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        os.close(read_end)
    last = migrate(dialect, address, (start, end), batch)[1]
    print(json.dumps({"killed": killed, "done": done, "rows": last.rows, "batches": last.batches}))


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[3:8]]
    main(sys.argv[1], sys.argv[2], *numbers[:3], numbers[3], random.Random(numbers[4]))
