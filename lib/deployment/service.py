"""The demo service: users in a shared database, read and written at the schema version of this release.

    python -m lib.deployment.service PORT

with its settings in the variable LESSONS_SERVICE (`lib.deployment.replicas` starts it so). A release knows the history
of its records up to its own version. What it finds at an earlier version it upgrades; of what a later release wrote, it
takes the fields that it knows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import threading
import time
import uuid
from contextlib import suppress
from typing import Any, Final, LiteralString

import psycopg
import uvicorn
from prometheus_client import CollectorRegistry, Gauge, Histogram, Info, ProcessCollector, generate_latest
from psycopg.rows import scalar_row
from psycopg.types.json import Json
from psycopg_pool import ConnectionPool
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lib.versioning.bulk import Report
from lib.versioning.history import SchemaHistory
from lib.versioning.manager import DataVersionManager
from lib.versioning.schema import VERSION_KEY
from lib.versioning.users import USERS, in_all_forms

User = dict[str, Any]
FAULTS = ("slow", "crash", "unready", "wrong schema", "failing writes")
#: Upper ends, in seconds. An objective must be one of them, for between two ends nobody knows: compose/monitoring has 0.25.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

PATIENCE = 30  # seconds that requests under way get when the service ends
WAIT = 5  # seconds that a request waits for a connection to the database
TABLE_LOCK = 1819503731  # any number that nobody else uses
#: Creates the table if it is not there. The lock lets one replica do it at a time: several may start at once.
TABLE = f"""
    SELECT pg_advisory_xact_lock({TABLE_LOCK});
    CREATE TABLE IF NOT EXISTS service_users (id text PRIMARY KEY, record json NOT NULL, request_key text UNIQUE)
"""
SELECT: Final = "SELECT record FROM service_users WHERE"
INSERT: Final = """
    INSERT INTO service_users (id, record, request_key) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING RETURNING id
"""


def known_history(version: int) -> SchemaHistory:
    """The history of users as a release at this version knows it: nothing of what came later."""
    USERS.check_version(version)
    steps = {v: [step.operation for step in USERS.steps(v - 1, v)] for v in range(2, version + 1)}
    return SchemaHistory(USERS.name, first=USERS.schema(1), steps=steps)


class UnreadableError(RuntimeError):
    """A record in the database can't be read at this version; the message has every reason."""


class Users:
    """The users in the database, seen at one version."""

    def __init__(self, database: str, version: int) -> None:
        """Connect, and create the table if need be. Raises psycopg.OperationalError if there is no such database."""
        self.version, self._manager = version, DataVersionManager(known_history(version))
        self._names = self._manager.history.schema(version).names
        address = database.replace("+psycopg", "", 1)  # as SQLAlchemy names it
        with psycopg.connect(address) as connection:
            connection.execute(TABLE)
        # Each statement below is a transaction of its own: that saves two messages for each request.
        self._pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(
            address,
            kwargs={"autocommit": True, "row_factory": scalar_row},
            min_size=1,
            max_size=20,
            timeout=WAIT,
            check=ConnectionPool.check_connection,
            open=True,
        )

    def check(self) -> None:
        """Raise psycopg.OperationalError if the database does not answer."""
        self._query("SELECT 1")

    def _query(self, statement: LiteralString, *values: Any) -> list[Any]:
        """The first column of what a statement returns."""
        with self._pool.connection() as connection:
            return connection.execute(statement, values).fetchall()

    def create(self, user: User, key: str | None) -> tuple[User, bool]:
        """Store a valid user, once for each key, or without a key once for each id; return it, and whether it is new.

        Raises ValueError with every error, and KeyError if the key was used for another user, or the id is taken.
        """
        new = in_all_forms({"id": str(uuid.uuid4()), **user, VERSION_KEY: self.version})
        if errors := self._manager.validate_schema(new)["errors"]:
            raise ValueError(errors)
        if self._query(INSERT, new["id"], Json(new), key):
            return new, True
        column, value = ("id", new["id"]) if key is None else ("request_key", key)
        there = [self.read(record) for record in self._query(f"{SELECT} {column} = %s", value)]
        if not there or not user.items() <= there[0].items():
            raise KeyError("this idempotency key, or this id, belongs to another user")
        return there[0], False

    def get(self, identity: str) -> User | None:
        """The user with an id; None if there is none."""
        found = self._query(f"{SELECT} id = %s", identity)
        return self.read(found[0]) if found else None

    def remove(self, identity: str) -> bool:
        """Remove a user; return whether there was one."""
        return bool(self._query("DELETE FROM service_users WHERE id = %s RETURNING id", identity))

    def list(self, after: str, limit: int) -> list[User]:
        """Users in the order of their ids, from the first one above `after`."""
        found = self._query(f"{SELECT} id > %s ORDER BY id LIMIT %s", after, limit)
        return [self.read(record) for record in found]

    def read(self, record: User) -> User:
        """A record of any version, as this one sees it. Raises UnreadableError."""
        if record.get(VERSION_KEY, 1) > self.version:  # a later release wrote it: no migration is known here
            known = {name: record[name] for name in self._names if name in record}
            record = known | {VERSION_KEY: self.version}
        try:
            return in_all_forms(self._manager.upgrade_data(record, self.version, Report()))
        except ValueError as error:
            raise UnreadableError(str(error)) from error


# ── The application ──────────────────────────────────────────────────────────────────────────────────────────────


def application(*, database: str, version: int, release: str = "unnamed", faults: bool = False) -> Starlette:
    """The service as an application of ASGI. faults: whether it misbehaves on request, as lessons need it."""
    service = Service(database, version, release)
    routes = [
        Route("/health", service.health),
        Route("/ready", service.ready),
        Route("/version", service.version),
        Route("/metrics", service.metrics),
        Route("/users", service.create, methods=["POST"]),
        Route("/users", service.list, methods=["GET"]),
        Route("/users/{identity}", service.read, methods=["GET"]),
        Route("/users/{identity}", service.remove, methods=["DELETE"]),
    ]
    if faults:
        routes += [
            Route("/faults/{fault}", service.misbehave, methods=["PUT"]),
            Route("/faults/{fault}", service.behave, methods=["DELETE"]),
        ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=service.measure)],
        exception_handlers={HTTPException: _refused, UnreadableError: _unreadable},
    )


def _refused(_: Request, error: HTTPException) -> Response:
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


def _unreadable(_: Request, error: UnreadableError) -> Response:
    return JSONResponse({"detail": f"a record can't be read at this version: {error}"}, 500)


def _number(request: Request, name: str, default: float, low: float, high: float) -> float:
    """A number in the query, of the kind of its default. Raises HTTPException (422) if it is none, or out of its range."""
    text = request.query_params.get(name, str(default))
    with suppress(ValueError):
        if low <= (number := type(default)(text)) <= high:
            return number
    raise HTTPException(422, f"{name}: expected a number from {low:g} to {high:g} (got {text!r})")


class Service:
    """What a replica answers. `def` runs in a thread, as calls of the database need it, `async def` in the event loop."""

    def __init__(self, database: str, version: int, release: str) -> None:
        self.users, self.faults = Users(database, version), dict[str, float]()
        self._release = {"release": release, "schema_version": version}
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # processor time, memory, start
        this = {name: str(value) for name, value in self._release.items()}
        Info("service", "Which release this is", registry=registry).info(this)
        self._under_way = Gauge("http_requests_in_progress", "Requests under way", registry=registry)
        name, labels = "http_request_duration_seconds", ["method", "route", "code"]
        self._seconds = Histogram(name, "Time to answer", labels, registry=registry, buckets=BUCKETS)

    async def measure(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Count a request, by method, route, code and time; a fault makes those to users wait."""
        start, code = time.perf_counter(), 500  # what is answered when nobody catches an error
        with self._under_way.track_inprogress():
            try:
                if request.url.path.startswith("/users"):
                    await asyncio.sleep(self.faults.get("slow", 0.0))
                response = await call_next(request)
                code = response.status_code
                return response
            finally:
                route = getattr(request.scope.get("route"), "path", "none")  # not one series for each id
                self._seconds.labels(request.method, route, code).observe(time.perf_counter() - start)

    async def health(self, _: Request) -> Response:
        """Alive: the process answers."""
        return JSONResponse({"status": "alive"})

    def ready(self, _: Request) -> Response:
        """Ready for traffic: the database answers, too."""
        if "unready" in self.faults:
            raise HTTPException(503, "not ready")
        try:
            self.users.check()
        except psycopg.Error as error:
            raise HTTPException(503, "the database does not answer") from error
        return JSONResponse({"status": "ready"})

    async def version(self, _: Request) -> Response:
        """The release, and the schema version at which it reads and writes."""
        return JSONResponse(self._release)

    async def metrics(self, _: Request) -> Response:
        """For Prometheus."""
        return Response(generate_latest(self._registry), media_type="text/plain; version=0.0.4")

    async def create(self, request: Request) -> Response:
        """Create a user. With the same `Idempotency-Key` again the same user comes back, and none is created."""
        if "failing writes" in self.faults:
            raise HTTPException(500, "this fault was asked for")
        try:
            user, key = await request.json(), request.headers.get("idempotency-key")
            if not isinstance(user, dict):
                raise ValueError([f"expected a user as a JSON object (got {user!r})"])
            created, new = await run_in_threadpool(self.users.create, user, key)
        except ValueError as error:
            raise HTTPException(422, error.args[0]) from error
        except KeyError as error:
            raise HTTPException(409, error.args[0]) from error
        return JSONResponse(created, 201 if new else 200)

    def read(self, request: Request) -> Response:
        """One user, at the schema version of this release."""
        identity = request.path_params["identity"]
        user = self.users.get(identity)
        if user is None:
            raise HTTPException(404, f"no user {identity!r}")
        if "wrong schema" in self.faults:
            user.pop("name", None)
        return JSONResponse(user)

    def remove(self, request: Request) -> Response:
        """Remove a user."""
        identity = request.path_params["identity"]
        if not self.users.remove(identity):
            raise HTTPException(404, f"no user {identity!r}")
        return Response(status_code=204)

    def list(self, request: Request) -> Response:
        """Users in the order of their ids: give the last id as `after` for the next page."""
        limit = int(_number(request, "limit", 100, 1, 1000))
        return JSONResponse(self.users.list(request.query_params.get("after", ""), limit))

    async def misbehave(self, request: Request) -> Response:
        """Misbehave from now on: `slow` waits for some seconds before each answer, `crash` ends the process after them."""
        fault = request.path_params["fault"]
        if fault not in FAULTS:
            raise HTTPException(422, f"no such fault; choose one of {', '.join(FAULTS)}")
        self.faults[fault] = seconds = _number(request, "seconds", 0.0, 0.0, 60.0)
        if fault == "crash":
            threading.Timer(max(seconds, 0.1), os._exit, [1]).start()  # this request is answered yet
        return JSONResponse(self.faults)

    async def behave(self, request: Request) -> Response:
        """Behave again."""
        self.faults.pop(request.path_params["fault"], None)
        return JSONResponse(self.faults)


def main() -> None:
    """Serve on a port. SIGTERM ends it once the requests under way are answered."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 in a container with a private network")
    args = parser.parse_args()
    if "LESSONS_SERVICE" not in os.environ:
        parser.error("LESSONS_SERVICE is not set: start the service by lib.deployment.replicas")
    app = application(**json.loads(os.environ["LESSONS_SERVICE"]))
    with suppress(KeyboardInterrupt):
        uvicorn.run(
            app, host=args.host, port=args.port, log_level="warning", access_log=False,
            timeout_graceful_shutdown=PATIENCE, timeout_keep_alive=75,
        )  # fmt: skip


if __name__ == "__main__":
    main()
