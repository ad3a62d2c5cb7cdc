"""A pool of real Celery workers that you can watch, scale, drain and kill.

    with WorkerPool(4) as pool:
        pool.send("pause", [(0.25,)] * 40)
        pool.wait(30)
        print(pool.events())

Each worker is its own process or container, and ends with the owner of the pool. The broker is a Valkey server that the pool
starts and stops, or one that several pools share.
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
from typing import TYPE_CHECKING, Any, Literal

import redis
from celery import uuid

from lib.scaling import tasks
from lib.scaling.settings import METRICS_VARIABLE, QUEUE, RESTORING, Delivery, WorkerSettings, celery_app
from lib.stage.containers import Backend, Container, docker_network, image
from lib.stage.processes import Process
from lib.stage.programs import Running
from lib.stage.ranges import check_range, check_whole
from lib.stage.servers import Server, valkey
from lib.stage.waiting import wait_for

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[2]
RELEASE = "release"  # the module with the tasks of a release
#: How a worker runs several tasks at a time. `solo` runs one, in its main process.
Kind = Literal["prefork", "threads", "solo"]
PAUSE = 0.02  # seconds between two queries of the broker
HEARD = 0.05  # seconds until a main process most likely knows that its child has started a task; otherwise it notices a kill seconds later
#: Of `WorkerPool.events`, with their types.
COLUMNS: dict[str, Any] = {"task": str, "worker": str, "pid": "Int64"}
COLUMNS |= dict.fromkeys(("queued", "start", "end", "cpu"), float)
COLUMNS |= {"try": int, "outcome": str, "error": str}


@dataclass(frozen=True)
class Worker:
    """A started worker. Its main process leads its own session."""

    name: str
    process: Process


class WorkerPool(Running):
    """Workers that take tasks off one queue, until `stop()`, the end of the `with` block, or the end of the owner."""

    timeout = 120.0
    """Timeout in seconds for a start, a kill, or draining."""

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
    ) -> None:
        """Start workers and wait until they are ready.

        concurrency: tasks that each worker runs at a time. delivery: what happens to a task when its worker dies.
        broker: a server shared with other pools, which are isolated from this one; it is not stopped with the pool.
        metrics: whether each worker process serves its metrics for Prometheus (`lib.scaling.metrics`) at `metrics_urls`.
        backend: "docker" for workers in containers (see `lib.stage.containers`), which cannot see this machine's files.
        tree: the folder with the files of the release whose code they run.
        Raises ProcessError, with the end of the log, if a worker is not ready in time, and ValueError for an argument outside its range.
        """
        check_whole(0, workers=workers)
        check_whole(1, concurrency=concurrency)
        self.concurrency, self.kind, self.metrics = concurrency, kind, metrics
        self._numbers, self._workers, self._sent = count(1), list[Worker](), dict[str, float]()
        with contextlib.ExitStack() as undo:
            self._network, self.tree = docker_network(backend), tree
            self._image = image(tree) if self._network else ""
            server = broker or undo.enter_context(valkey(backend=backend))
            self.settings = WorkerSettings(server.url, f"lessons-{os.urandom(8).hex()}", delivery)
            self.store = undo.enter_context(redis.Redis.from_url(server.url, decode_responses=True))
            self._app = undo.enter_context(celery_app(self.settings))
            undo.callback(self._remove_keys)
            undo.callback(self._end_workers)
            self.scale(workers)
            self._undo = undo.pop_all()

    # ── Workers ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def workers(self) -> list[Worker]:
        """The workers that are alive, the oldest first."""
        return [worker for worker in self._workers if worker.process.alive]

    @property
    def metrics_urls(self) -> dict[str, str]:
        """The addresses of the live workers' metrics, by name; empty unless the pool was created with `metrics`."""
        ports = self.store.hgetall(self.settings.key("metrics"))
        alive = [worker.name for worker in self.workers]
        return {name: f"http://127.0.0.1:{ports[name]}/metrics" for name in alive if name in ports}

    def scale(self, workers: int) -> None:
        """Start or drain workers until the pool has this number.

        The youngest are drained: they take no new tasks and finish those they have. Raises TimeoutError if that takes longer
        than `timeout`.
        """
        check_whole(0, workers=workers)
        alive = self.workers
        for gone in set(self._workers) - set(alive):
            gone.process.stop()
        self._workers = alive
        self.add(workers - len(alive))
        self.drain(alive[workers:])

    def add(
        self, workers: int, *, release: str = "w", code: str = "", queues: Sequence[str] = (QUEUE,)
    ) -> list[Worker]:
        """Start workers of a release beside the others, wait until they are ready, and return them.

        release: the prefix of their names.
        code: the source of a module with the Celery tasks of that release, which are called `release.NAME`.
        queues: the workers take tasks from these queues in turn.
        Raises ProcessError as the constructor does, and ValueError for `code` if workers run in containers.
        """
        if code and self._network:
            raise ValueError("code: workers in containers run the code of their image; use backend='process'")
        ready = self.settings.key("ready")
        started = [self._start(release, code, queues) for _ in range(workers)]
        for worker in started:
            worker.process.wait_until(
                lambda name=worker.name: self.store.sismember(ready, name),
                name=f"Worker {worker.name}",
                timeout=self.timeout,
            )
        return started

    def drain(self, workers: Sequence[Worker]) -> None:
        """Stop workers after they have finished the tasks they have taken. Raises TimeoutError if that takes longer than `timeout`."""
        for worker in workers:
            worker.process.signal(signal.SIGTERM)  # Celery: a warm shutdown
        deadline = time.monotonic() + self.timeout
        for worker in workers:
            if worker.process.wait(max(0.0, deadline - time.monotonic())) is None:
                raise TimeoutError(
                    f"Worker {worker.name} still has a task under way after {self.timeout:g} s; `stop` kills it"
                )
            worker.process.stop()
            self._workers.remove(worker)

    def _start(self, release: str, code: str, queues: Sequence[str]) -> Worker:
        name = f"{release}{next(self._numbers)}"
        command = ["-m", "celery", "--quiet", "--app", tasks.__name__, "worker"]
        command += ["--queues", ",".join(queues), "--hostname", f"{name}@localhost", "--loglevel", "WARNING"]
        command += ["--pool", self.kind, "--concurrency", str(self.concurrency)]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]  # they slow the start
        if self._network:
            inside = replace(self.settings, broker=self._network.inside(self.settings.broker))
            options = ["--stop-signal=KILL", "--no-healthcheck"]  # the image's check is for the service
            program: Process = Container(self._network, f"worker-{name}", self._image, *options).start(
                0, ["python", *command], env=inside.to_environment()
            )
        else:
            program = Process()
            # Its pool of processes leaves a folder behind, here in the directory that is removed with the process.
            environment = {"TMPDIR": str(program.directory), "PYTHONPATH": str(self.tree)}
            if code:
                environment["PYTHONPATH"] += f"{os.pathsep}{program.directory}"
                (program.directory / f"{RELEASE}.py").write_text(code, encoding="utf-8")
                command += ["--include", RELEASE]
            if self.metrics:
                environment[METRICS_VARIABLE] = str(program.directory)
            environment |= self.settings.to_environment()
            program.run(
                [sys.executable, *command], env=environment, cwd=self.tree, stop_signal=signal.SIGKILL
            )
        self._workers.append(Worker(name, program))
        return self._workers[-1]

    def kill(
        self,
        *,
        whole_worker: bool = True,
        once: Callable[[set[str]], object] = bool,
        among: Sequence[Worker] = (),
    ) -> set[str]:
        """Kill a worker while it runs as many tasks as it can at a time; return their ids. Only `scale` replaces it.

        The processes that run the tasks are stopped first (SIGSTOP); they continue if a task has ended in the meantime. So the
        kill can't come too late, however busy the machine is.

        whole_worker: False: kill only the child that runs the task, if each worker has one; the worker then replaces it.
        once: receives the ids of the tasks in progress in a worker; returns whether to kill now.
        among: kill one of these workers.
        Raises TimeoutError if no worker met these conditions within `timeout`.
        """
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            for worker in among or self.workers:
                if killed := self._kill_if(worker, whole_worker, once):
                    return killed
            time.sleep(PAUSE)
        raise TimeoutError(
            f"No worker was in the middle of its tasks within {self.timeout:g} s: have you sent any?"
        )

    def _kill_if(self, worker: Worker, whole_worker: bool, once: Callable[[set[str]], object]) -> set[str]:
        found = self._under_way(worker)
        if len(found) < self.concurrency or not once(set(found)):
            return set()
        if not whole_worker:
            time.sleep(HEARD)
        try:
            self._signal(worker, found, signal.SIGSTOP, states="TZ")
            self.store.ping()  # everything they had sent has arrived
            if self._under_way(worker) != found or not once(set(found)):
                return set()
            if whole_worker:
                worker.process.kill()
            # Celery checks for a dead child when its pipe closes, which is before the kernel lets the child be reaped. A main
            # process that checks too early, or does not know yet who runs the task, checks again after five seconds. So we stop
            # it in the meantime.
            worker.process.signal(signal.SIGSTOP)
            self._signal(worker, found, signal.SIGKILL, states="Z")
        finally:
            worker.process.signal(signal.SIGCONT)
            self._signal(worker, found, signal.SIGCONT)
        # Until the main process has seen its child die.
        if not wait_for(lambda: self._under_way(worker) != found, self.timeout, PAUSE):
            raise TimeoutError(f"Worker {worker.name} has not noticed the kill within {self.timeout:g} s")
        return set(found)

    def _signal(self, worker: Worker, found: dict[str, int], number: int, states: str = "") -> None:
        """Send a signal to the processes that run tasks. states: wait until each is in one of these (letters of proc(5)) or has ended."""
        for pid in found.values():
            worker.process.signal(number, pid=pid)
        if states:  # takes up to a tenth of a second on a busy machine
            wait_for(
                lambda: all(worker.process.state(pid) in states for pid in found.values()),
                self.timeout,
                PAUSE,
            )

    def _under_way(self, worker: Worker) -> dict[str, int]:
        """Return the tasks that a worker is running and the ids of the processes that run them."""
        tries = [one for one in self._tries() if one["worker"] == worker.name]
        return {one["task"]: one["pid"] for one in tries if one["outcome"] == "under way"}

    # ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, task: str, arguments: Iterable[Sequence[Any]], *, queue: str = QUEUE) -> list[str]:
        """Put a task of `lib.scaling.tasks` into a queue once for each tuple of arguments; return their ids.

        A task `release.NAME` is sent unchecked, because it depends on the workers' code whether they know it.
        Raises celery.exceptions.NotRegistered if there is no such task in `lib.scaling.tasks`.
        """
        of_release = task.startswith(f"{RELEASE}.")
        name, ids = task if of_release else self._app.tasks[f"{tasks.__name__}.{task}"].name, list[str]()
        with self._app.producer_pool.acquire(block=True) as producer:
            for values in arguments:
                ids.append(uuid())
                queued = time.time()
                headers, way = {"queued": queued}, {"producer": producer, "retry": False, "queue": queue}
                self._app.send_task(name, values, task_id=ids[-1], headers=headers, **way)
                self._sent[ids[-1]] = queued  # last, so that nobody waits for a task that could not be sent
        return ids

    def queue_length(self, queue: str = QUEUE) -> int:
        """Count the tasks in a queue that no worker has taken yet."""
        return self.store.llen(self.settings.key(queue))

    def unacknowledged(self) -> set[str]:
        """Return the ids of unacknowledged tasks: delivered to a worker, which may have died since."""
        messages = self.store.hvals(self.settings.key("unacked"))
        return {json.loads(message)[0]["headers"]["id"] for message in messages}

    def wait(self, timeout: float = 60.0, *, ids: Iterable[str] | None = None) -> int:
        """Wait until the tasks with these ids (None: all sent tasks) have ended, or `timeout` seconds; return how many have not."""
        check_range(0, timeout=timeout)
        awaited, ended = set(self._sent if ids is None else ids), self.settings.key("ended")
        wait_for(lambda: awaited <= self.store.smembers(ended), timeout, PAUSE)
        return len(awaited - self.store.smembers(ended))

    def ledger(self) -> dict[str, int]:
        """Return how many times each task has booked its payment (tasks `book` and `book_once`)."""
        return {task: int(times) for task, times in self.store.hgetall(self.settings.key("ledger")).items()}

    def events(self) -> pd.DataFrame:
        """Return what happened to each task: one row for each try, and one for each task that has not started.

        Columns: task, worker, pid, queued, start, end (seconds since 1970), cpu (CPU seconds), try (from 1; 0: not started),
        error, and outcome: `done`, `failure`, `under way`, `waiting` (in the queue, or taken but not started), or `cut off`
        (its process has died). Ordered by start.
        """
        import pandas as pd

        tries = self._tries()
        last = {one["task"]: one for one in tries}
        for task, error in self.store.hgetall(self.settings.key("given up")).items():
            last.get(task, {})["error"] = error
        waiting = [
            {"task": task, "queued": queued, "outcome": "waiting"}
            for task, queued in list(self._sent.items())
            if task not in last
        ]
        events = pd.DataFrame(tries + waiting, columns=list(COLUMNS))
        events["try"] = (events.groupby("task").cumcount() + 1).where(events["start"].notna(), 0)
        return events.astype(COLUMNS)

    def _tries(self) -> list[dict[str, Any]]:
        """Return every try of every task with its outcome, ordered by start."""
        alive = {worker.name: worker.process for worker in self.workers}
        tries = [json.loads(entry) for entry in self.store.hvals(self.settings.key("tries"))]
        for one in tries:
            if "end" not in one:
                process = alive.get(one["worker"])
                one["outcome"] = "under way" if process and process.owns(one["pid"]) else "cut off"
        return sorted(tries, key=lambda one: one["start"])

    # ── The end ──────────────────────────────────────────────────────────────────────────────────────────────────

    def stop(self) -> None:
        """Stop all workers immediately, even in the middle of tasks, and remove the pool's keys from the broker. May be repeated."""
        self._undo.close()

    def _end_workers(self) -> None:
        for worker in self._workers:
            worker.process.stop()
        self._workers = []

    def _remove_keys(self) -> None:
        with contextlib.suppress(redis.ConnectionError):  # the broker has ended, and its keys with it
            for key in self.store.scan_iter(self.settings.key("*"), count=1000):
                self.store.delete(key)
