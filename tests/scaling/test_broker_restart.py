"""A broker that is killed in the middle of tasks and comes back, with what it had written to its disk."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import pytest
from waiting import until

from lib.scaling.settings import EARLY, LATE, REJECTING, RESTORING
from lib.scaling.workers import WorkerPool
from lib.stage.ports import run_on_free_port
from lib.stage.processes import Process
from lib.stage.servers import VALKEY_BINARY, VALKEY_SCRIPT, Server, valkey_answers, wheel_binary

TASKS = 12
#: By default a change may wait for seconds to be written, when the disk is busy.
ALWAYS = "appendonly yes\nappendfsync always"
#: What was taken and not begun comes back after seconds, and not after an hour.
SOON = {"visibility_timeout": 5.0, "restore_interval": 1.0}
DELIVERIES = {"early": EARLY, "late": LATE, "rejecting": REJECTING, "restoring": RESTORING}


@pytest.fixture
def durable() -> Iterator[tuple[Server, Callable[[], None]]]:
    """A broker that writes each change to its disk, and what starts it again after a kill."""
    password, script = os.urandom(16).hex(), VALKEY_SCRIPT.replace("appendonly no", ALWAYS)
    ready = partial(valkey_answers, password=password)
    with Process() as process:

        def start(port: int) -> Process:
            command = ["sh", "-c", script, "sh", wheel_binary(*VALKEY_BINARY), "127.0.0.1", str(port)]
            return process.run(command, env={"PASSWORD": password}, cwd=process.directory)

        port = run_on_free_port(start, ready, name="Valkey")

        def restart() -> None:
            start(port).wait_until(lambda: ready(port), name="Valkey")

        url = f"redis://:{password}@127.0.0.1:{port}/0"
        yield Server("Valkey", url, url, process), restart


def killed_while_none_is_on_its_way(broker: Server, pools: list[WorkerPool]) -> bool:
    """Kill the broker, unless a task is off the list and not yet kept as taken: it would be lost, as `RESTORING` says."""
    mains = [worker.process for pool in pools for worker in pool.workers]
    try:
        for main in mains:
            main.signal(signal.SIGSTOP)
        for pool in pools:
            pool.store.ping()  # what they had sent has arrived
            events = pool.events()
            known = set(events.loc[events["try"] > 0, "task"]) | pool.unacknowledged()
            if len(known) + pool.queue_length() < TASKS:
                return False
        broker.process.kill()
        return True
    finally:
        for main in mains:
            main.signal(signal.SIGCONT)


def test_workers_use_a_broker_that_came_back(durable: tuple[Server, Callable[[], None]]) -> None:
    """All ways of delivery at once, since the workers' start takes longest. Each has one worker, which is busy at the kill."""
    (broker, restart), pools = durable, dict[str, WorkerPool]()
    with ExitStack() as stack:
        for name, delivery in DELIVERIES.items():
            pool = WorkerPool(1, broker=broker, delivery=replace(delivery, **SOON))
            pools[name] = stack.enter_context(pool)
        sent = {name: set(pool.send("pause", [(0.5,)] * TASKS)) for name, pool in pools.items()}
        until(lambda: all(pool.events()["try"].max() for pool in pools.values()))  # all have begun
        until(lambda: killed_while_none_is_on_its_way(broker, list(pools.values())))
        time.sleep(3)  # longer than a task, whose end must be noted later then
        restart()
        assert {name: pool.wait(120) for name, pool in pools.items()} == dict.fromkeys(pools, 0)
        for name, pool in pools.items():
            events = pool.events()
            done = set(events.loc[events["outcome"] == "done", "task"])
            assert (done, len(pool.workers)) == (sent[name], 1), f"{name}:\n{events}"
        until(lambda: not any(pool.unacknowledged() for pool in pools.values()))

        broker.process.kill()
        for pool in pools.values():
            pool.scale(0)  # asked to stop while there is no broker, a worker does not wait for it
