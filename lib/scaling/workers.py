"""A pool of real Celery workers, which can be watched, scaled, drained and killed.

    with WorkerPool(4) as pool:
        pool.send("pause", [(0.25,)] * 40)
        pool.wait(30)
        print(pool.events())

Each worker is a process of its own, or a container of its own, and dies with the owner of the pool. The broker is the one
of LESSONS_BROKER_URL, or a Valkey server that the pool starts and stops.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import redis

from lib.scaling import tasks
from lib.scaling.tasks import METRICS_VARIABLE, QUEUE, RESTORING, Delivery, Settings
from lib.stage.containers import Backend, docker_network
from lib.stage.images import image
from lib.stage.processes import Process, ProcessError
from lib.stage.programs import Program
from lib.stage.servers import Server, valkey

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[2]
#: How a worker does several tasks at a time. `solo` does one, in its main process.
Kind = Literal["prefork", "threads", "solo"]
PAUSE = 0.02  # seconds between two looks at the broker
COLUMNS = ["task", "worker", "pid", "queued", "start", "end", "cpu", "try", "outcome", "error"]


@dataclass(frozen=True)
class Worker:
    """A worker that was started. `pid` is its main process, which leads a session of its own; in a container it is 1."""

    name: str
    process: Program

    @property
    def pid(self) -> int | None:
        return self.process.pid


class WorkerPool:
    """Workers that take tasks off one queue, until `stop()`, the end of the `with` block, or the end of the owner."""

    def __init__(
        self,
        workers: int = 1,
        *,
        concurrency: int = 1,
        kind: Kind = "prefork",
        delivery: Delivery = RESTORING,
        broker: Server | None = None,
        metrics: bool = False,
        backend: Backend = "process",
        tree: Path = ROOT,
        timeout: float = 60.0,
    ) -> None:
        """Start workers and wait until they are ready.

        concurrency: tasks that each of them does at a time. delivery: what happens to a task when its worker dies.
        broker: a server that is shared with other pools, which see nothing of this one; it isn't stopped with the pool.
        metrics: whether each worker, if it is a process, serves its metrics to Prometheus (`lib.scaling.metrics`), at `metrics_urls`.
        backend: "docker" for workers in containers (see `lib.stage.containers`), which see no files of this machine.
        tree: the folder with the files of the release whose code they run.
        timeout: seconds that a start, or a stop that waits for tasks under way, may take.
        Raises ProcessError, with the end of the log, when a worker is not ready in time.
        """
        if concurrency < 1 or (kind == "solo" and concurrency > 1):
            raise ValueError(f"concurrency={concurrency}, kind={kind!r}: at least 1, and for solo just 1")
        if metrics and backend == "docker":
            raise ValueError(
                "metrics=True: a worker in a container serves none; leave out backend, or metrics"
            )
        self.concurrency, self.kind, self.metrics, self.timeout = concurrency, kind, metrics, timeout
        self._numbers, self._workers, self._events = count(1), list[Worker](), list[dict[str, Any]]()
        with contextlib.ExitStack() as undo:
            self._network, self.tree = docker_network(backend), tree
            self._image = image(tree) if self._network else ""
            server = broker or undo.enter_context(valkey(backend=backend))
            self.settings = Settings(server.url, f"lessons-{os.urandom(8).hex()}", delivery)
            self.store = undo.enter_context(redis.Redis.from_url(server.url, decode_responses=True))
            self._app = undo.enter_context(tasks.celery_app(self.settings))
            undo.callback(self._remove_keys)
            undo.callback(self._end_workers)
            self.scale(workers)
            self._undo = undo.pop_all()

    # ── Workers ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def workers(self) -> list[Worker]:
        """Those that are alive, the oldest first."""
        return [worker for worker in self._workers if worker.process.alive]

    @property
    def metrics_urls(self) -> dict[str, str]:
        """Where the workers that are alive serve their metrics, by name; empty unless the pool was made with `metrics`."""
        ports = self.store.hgetall(self.settings.key("metrics"))
        alive = [worker.name for worker in self.workers]
        return {name: f"http://127.0.0.1:{ports[name]}/metrics" for name in alive if name in ports}

    def scale(self, workers: int) -> None:
        """Start or stop workers until there are so many.

        The youngest go. They take nothing new, and end what they have taken.
        """
        if workers < 0:
            raise ValueError(f"workers={workers}: there can't be fewer than 0")
        alive = self.workers
        for gone in set(self._workers) - set(alive):
            gone.process.stop()
        self._workers = alive
        started = [self._start() for _ in range(workers - len(alive))]
        for worker in started:
            worker.process.wait_until(
                lambda name=worker.name: self.store.sismember(self.settings.key("ready"), name),
                name=f"Worker {worker.name}",
                timeout=self.timeout,
            )
        going = alive[workers:]
        for worker in going:
            worker.process.signal(signal.SIGTERM)  # Celery: a warm shutdown
        deadline = time.monotonic() + self.timeout
        for worker in going:
            if worker.process.wait(max(0.0, deadline - time.monotonic())) is None:
                raise TimeoutError(
                    f"Worker {worker.name} still has a task under way after {self.timeout:g} s; `kill` ends it at once"
                )
            worker.process.stop()
        self._workers = [worker for worker in self._workers if worker not in going]

    def _start(self) -> Worker:
        name = f"w{next(self._numbers)}"
        command = ["-m", "celery", "--quiet", "--app", "lib.scaling.tasks", "worker"]
        command += ["--queues", QUEUE, "--hostname", f"{name}@localhost", "--loglevel", "WARNING"]
        command += ["--pool", self.kind, "--concurrency", str(self.concurrency)]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]  # they slow the start
        if self._network:
            inside = replace(self.settings, broker=self._network.inside(self.settings.broker))
            container = self._network.run(
                f"worker-{name}",
                self._image,
                ["python", *command],
                env=inside.to_environment(),
                healthcheck={"test": ["NONE"]},  # that of the image is the service's
            )
            self._workers.append(Worker(name, container))
            return self._workers[-1]
        process = Process()
        self._workers.append(Worker(name, process))
        # Its pool of processes leaves a folder behind: in the directory that goes with the process.
        environment = {**self.settings.to_environment(), "TMPDIR": str(process.directory)}
        if self.metrics:
            environment[METRICS_VARIABLE] = str(process.directory)
        process.run(
            [sys.executable, *command],
            env=environment | {"PYTHONPATH": str(self.tree)},
            cwd=self.tree,
            orphan_grace=0.0,
        )
        return self._workers[-1]

    def kill(
        self, worker: Worker | None = None, number: int = signal.SIGKILL, *, whole_worker: bool = True
    ) -> int:
        """Send a signal to a worker (None: the oldest) with all its processes, or just to its child at work.

        Returns the process id. Nothing replaces a whole worker but `scale`; a child is replaced by its worker.
        Raises ProcessError when there is no such worker, or it has no child at work.
        """
        alive = self.workers
        if not alive or worker not in (None, *alive):
            raise ProcessError(
                f"There is no worker {worker.name if worker else ''} to kill: `scale` starts new ones"
            )
        worker = worker or alive[0]
        if not whole_worker:
            pid = self._child_at_work(worker)
            worker.process.signal(number, pid=pid)
            return pid
        pid = worker.process.pid
        if number == signal.SIGKILL:
            worker.process.kill()
        else:
            worker.process.signal(number, group=True)
        return pid

    def _child_at_work(self, worker: Worker) -> int:
        under_way = {}
        for event in self._read():
            if event.get("worker") == worker.name:
                key = (event["task"], event["pid"])
                under_way |= {key: event["pid"]} if "start" in event else {}
                under_way.pop(key if "end" in event else None, None)
        for pid in reversed(under_way.values()):
            if pid != worker.pid and worker.process.owns(pid):
                return pid
        raise ProcessError(
            f"Worker {worker.name} has no child at work: wait until `busy()` names it, or kill the whole worker"
        )

    def drain(self) -> int:
        """Let all workers end what they have taken, take nothing new, and go; return how many tasks are still queued."""
        self.scale(0)
        return self.queue_length()

    # ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, task: str, arguments: Iterable[Sequence[Any]]) -> list[str]:
        """Put a task of `lib.scaling.tasks` into the queue once for each tuple of arguments; return their ids."""
        if not callable(getattr(tasks, task, None)) or f"{tasks.__name__}.{task}" not in self._app.tasks:
            known = sorted(n.rpartition(".")[2] for n in self._app.tasks if n.startswith(tasks.__name__))
            raise ValueError(f"task {task!r}: choose one of {', '.join(known)}")
        ids = []
        with self._app.producer_pool.acquire(block=True) as producer:
            for values in arguments:
                queued = time.time()
                sent = self._app.send_task(
                    f"{tasks.__name__}.{task}",
                    values,
                    producer=producer,
                    retry=False,
                    headers={"queued": queued},
                )
                self._events.append({"task": sent.id, "queued": queued})
                ids.append(sent.id)
        return ids

    def queue_length(self) -> int:
        """How many tasks no worker has taken yet."""
        return self.store.llen(self.settings.key(QUEUE))

    def unacknowledged(self) -> set[str]:
        """The ids of tasks that were delivered to a worker, dead ones included, and not acknowledged."""
        messages = self.store.hvals(self.settings.key("unacked"))
        return {json.loads(message)[0]["headers"]["id"] for message in messages}

    def wait(
        self,
        timeout: float = 60.0,
        *,
        ids: Iterable[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """Wait until the tasks with these ids (None: all that were sent) have ended, or `timeout` seconds; return how many have not.

        progress: called now and then with the number of tasks that have ended, and of all.
        """
        deadline, mine = time.monotonic() + timeout, set(ids or ())
        while True:
            events = self._read()
            sent = mine if ids is not None else {event["task"] for event in events if "queued" in event}
            ended = sent & {event["task"] for event in events if "end" in event or "given up" in event}
            if progress:
                progress(len(ended), len(sent))
            if ended == sent or time.monotonic() > deadline:
                return len(sent) - len(ended)
            time.sleep(PAUSE)

    def busy(self) -> set[str]:
        """The names of the workers that have a task under way."""
        frame = self.events()
        return set(frame["worker"][frame["outcome"] == "under way"]) & {
            worker.name for worker in self.workers
        }

    def ledger(self) -> dict[str, int]:
        """How many times each task has booked its payment (tasks `book` and `book_once`)."""
        return {task: int(times) for task, times in self.store.hgetall(self.settings.key("ledger")).items()}

    def events(self) -> pd.DataFrame:
        """What has happened to each task: a row for each try, and one for a task that nobody has begun.

        Columns: task, worker, pid, queued, start, end (seconds since 1970), cpu (seconds of processor time), try (from 1; 0: not
        begun), error, and outcome: `done`, `failure`, `under way`, `waiting` (in the queue, or taken and not begun), or `cut off`, when its
        process has died. In the order of their start.
        """
        import pandas as pd

        alive = {worker.name: worker.process for worker in self.workers}
        rows = _tries(self._read())
        for row in rows:
            if row["outcome"] == "under way":
                process = alive.get(row["worker"])
                row["outcome"] = "under way" if process and process.owns(row["pid"]) else "cut off"
        texts, seconds = ["task", "worker", "outcome", "error"], ["queued", "start", "end", "cpu"]
        types = dict.fromkeys(texts, str) | dict.fromkeys(seconds, float) | {"pid": "Int64", "try": int}
        frame = pd.DataFrame(rows, columns=COLUMNS).astype(types)
        return frame.sort_values(["start", "queued"], ignore_index=True)

    def _read(self) -> list[dict[str, Any]]:
        """All events so far, those on the broker that are new included."""
        key = self.settings.key("events")
        new = self.store.lrange(key, 0, 9999)
        if new:
            self.store.ltrim(key, len(new), -1)
            self._events += map(json.loads, new)
        return self._events

    # ── The end ──────────────────────────────────────────────────────────────────────────────────────────────────

    def stop(self) -> None:
        """End all workers at once, whatever they do, and remove what the pool has on the broker. May be repeated."""
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _end_workers(self) -> None:
        for worker in self._workers:
            worker.process.stop(grace=0.0)
        self._workers = []

    def _remove_keys(self) -> None:
        with contextlib.suppress(redis.ConnectionError):  # the broker has gone, and its keys with it
            for key in self.store.scan_iter(self.settings.key("*"), count=1000):
                self.store.delete(key)


def _tries(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each try of each task, and one for a task that nobody has begun."""
    tasks: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
    for event in events:
        sent, tries = tasks.setdefault(event["task"], ({}, []))
        if "queued" in event:
            sent |= event
        elif "start" in event:
            tries.append(event | {"try": len(tries) + 1, "outcome": "under way"})
        elif "given up" in event:
            tries[-1:] = [one | {"error": event["error"]} for one in tries[-1:]]
        else:
            # In containers, processes of two workers may have the same id. An event that tells of a failure names no worker.
            worker = event.get("worker")
            same = [one for one in tries if one["pid"] == event["pid"] and worker in (None, one["worker"])]
            same[-1].update(event)
    waiting = {"try": 0, "outcome": "waiting"}
    return [sent | row for sent, tries in tasks.values() for row in tries or [waiting]]
