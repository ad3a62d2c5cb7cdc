"""The demo service: it reads and writes users in a shared database at the schema version of this release.

    python -m lib.deployment.service PORT [ADDRESS]

Its settings are in the environment variable LESSONS_SERVICE (`lib.deployment.replicas` starts it this way). A release upgrades
records of earlier versions to its own when it reads them, and ignores unknown fields in newer records.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Sequence
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
from lib.versioning.manager import DataVersionManager
from lib.versioning.schema import VERSION_KEY
from lib.versioning.users import USERS, in_all_forms

User = dict[str, Any]
FAULTS = ("slow", "crash", "unready", "wrong schema", "failing writes")
#: Upper bounds, in seconds. An objective must be one of them, because a histogram is not exact between bounds: compose/monitoring has 0.25.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

WAIT = 5  # seconds that a request waits for a connection to the database
PAGE = 1000  # maximum number of users in a response
TABLE_LOCK = 1819503731  # any number that no other program uses
#: Creates the table if it does not exist. The lock lets one replica do it at a time, because several may start together.
TABLE = f"""
    SELECT pg_advisory_xact_lock({TABLE_LOCK});
    CREATE TABLE IF NOT EXISTS service_users (id text PRIMARY KEY, record json NOT NULL, request_key text UNIQUE)
"""
INSERT: Final = """
    INSERT INTO service_users (id, record, request_key) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING RETURNING id
"""


# ── The application ──────────────────────────────────────────────────────────────────────────────────────────────


def application(*, database: str, version: int, release: str = "unnamed", faults: bool = False) -> Starlette:
    """Return the service as an ASGI application. faults: whether it misbehaves on request, for lessons."""
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
        routes.append(Route("/faults/{fault}", service.misbehave, methods=["PUT", "DELETE"]))
    return Starlette(
        routes=routes,
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=service.measure)],
        exception_handlers={HTTPException: _refused},
    )


def _refused(_: Request, error: HTTPException) -> Response:
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


class Service:
    """The endpoints of a replica. `def` runs in a thread, because it calls the database; `async def` runs in the event loop."""

    def __init__(self, database: str, version: int, release: str) -> None:
        """Connect, and create the table if it does not exist. Raises psycopg.OperationalError if the database can't be reached."""
        self._at, self._names = version, USERS.schema(version).names
        self._manager = DataVersionManager(USERS)
        self._release, self.faults = {"release": release, "schema_version": version}, dict[str, float]()
        address = database.replace("+psycopg", "", 1)  # SQLAlchemy's form of the address
        with psycopg.connect(address) as connection:
            connection.execute(TABLE)
        # Each statement below is its own transaction, which saves two messages per request.
        self._pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(
            address,
            kwargs={"autocommit": True, "row_factory": scalar_row},
            min_size=1,
            max_size=20,
            timeout=WAIT,
            check=ConnectionPool.check_connection,
            open=True,
        )
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # processor time, memory, start
        this = {name: str(value) for name, value in self._release.items()}
        Info("service", "Which release this is", registry=registry).info(this)
        self._under_way = Gauge("http_requests_in_progress", "Requests under way", registry=registry)
        name, labels = "http_request_duration_seconds", ["method", "route", "code"]
        self._seconds = Histogram(name, "Time to answer", labels, registry=registry, buckets=BUCKETS)

    # ── About itself ─────────────────────────────────────────────────────────────────────────────────────────────

    async def measure(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Count a request, by method, route, code and time; the fault `slow` delays requests for users."""
        start, code = time.perf_counter(), 500  # the status if an error is not caught
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
        """Liveness: the process answers."""
        return JSONResponse({"status": "alive"})

    def ready(self, _: Request) -> Response:
        """Readiness for traffic: the database answers as well."""
        if "unready" in self.faults:
            raise HTTPException(503, "not ready")
        try:
            self._query("SELECT 1")
        except psycopg.Error as error:
            raise HTTPException(503, "the database does not answer") from error
        return JSONResponse({"status": "ready"})

    async def version(self, _: Request) -> Response:
        """Return the release, and the schema version at which it reads and writes."""
        return JSONResponse(self._release)

    async def metrics(self, _: Request) -> Response:
        """Return the metrics, for Prometheus."""
        return Response(generate_latest(self._registry), media_type="text/plain; version=0.0.4")

    # ── Users ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def create(self, request: Request) -> Response:
        """Create a valid user, once for each `Idempotency-Key`, or, without a key, once for each id.

        A repeated request returns the same user. Errors: 422 with every reason; 409 if the key was used for another user or the
        id is taken.
        """
        if "failing writes" in self.faults:
            raise HTTPException(500, "this fault was requested")
        try:
            user, key = await request.json(), request.headers.get("idempotency-key")
            return await run_in_threadpool(self._create, user, key)
        except ValueError as error:
            raise HTTPException(422, error.args[0]) from error

    def _create(self, user: Any, key: str | None) -> Response:
        if not isinstance(user, dict):
            raise ValueError([f"expected a user as a JSON object (got {user!r})"])
        new = in_all_forms({"id": str(uuid.uuid4()), **user, VERSION_KEY: self._at})
        if errors := self._manager.validate_schema(new)["errors"]:
            raise ValueError(errors)
        if self._query(INSERT, new["id"], Json(new), key):
            return JSONResponse(new, 201)
        column, value = ("id", new["id"]) if key is None else ("request_key", key)
        there = self._users(f"{column} = %s", value)
        if not there or not user.items() <= there[0].items():
            raise HTTPException(409, "this idempotency key, or this id, belongs to another user")
        return JSONResponse(there[0])

    def read(self, request: Request) -> Response:
        """Return one user, at the schema version of this release."""
        found = self._users("id = %s", request.path_params["identity"])
        if not found:
            raise HTTPException(404, f"no user {request.path_params['identity']!r}")
        if "wrong schema" in self.faults:
            found[0].pop("name", None)
        return JSONResponse(found[0])

    def remove(self, request: Request) -> Response:
        """Remove a user."""
        identity = request.path_params["identity"]
        if not self._query("DELETE FROM service_users WHERE id = %s RETURNING id", identity):
            raise HTTPException(404, f"no user {identity!r}")
        return Response(status_code=204)

    def list(self, request: Request) -> Response:
        """Return a page of users, ordered by id: pass the last id as `after` to get the next page."""
        after = request.query_params.get("after", "")
        return JSONResponse(self._users(f"id > %s ORDER BY id LIMIT {PAGE}", after))

    def _query(self, statement: LiteralString, *values: Any) -> Sequence[Any]:
        """Run a statement; return the first column of its result."""
        with self._pool.connection() as connection:
            return connection.execute(statement, values).fetchall()

    def _users(self, condition: LiteralString, value: str) -> Sequence[User]:
        """Return users of any version at this version. Answers 500 if one of them can't be read."""
        records = self._query(f"SELECT record FROM service_users WHERE {condition}", value)
        try:
            return [
                in_all_forms(self._manager.upgrade_data(self._known(one), self._at, Report()))
                for one in records
            ]
        except ValueError as error:
            raise HTTPException(500, f"a record can't be read at this version: {error}") from error

    def _known(self, record: User) -> User:
        """Keep only the fields that this version knows, if a later release wrote the record: this release has no migration for it."""
        if record.get(VERSION_KEY, 1) <= self._at:
            return record
        known = {name: record[name] for name in self._names if name in record}
        return known | {VERSION_KEY: self._at}

    # ── Faults ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def misbehave(self, request: Request) -> Response:
        """Start (PUT) or end (DELETE) a fault.

        `slow` waits for some seconds before each response, `crash` ends the process after them."""
        fault = request.path_params["fault"]
        if fault not in FAULTS:
            raise HTTPException(422, f"no such fault; choose one of {', '.join(FAULTS)}")
        if request.method == "DELETE":
            self.faults.pop(fault, None)
        else:
            self.faults[fault] = seconds = float(request.query_params.get("seconds", 0))
            if fault == "crash":
                threading.Timer(max(seconds, 0.1), os._exit, [1]).start()  # after this request is answered
        return JSONResponse(self.faults)


def main() -> None:
    """Serve on a port, at 127.0.0.1 or another address. After SIGTERM it answers the requests in progress, then ends."""
    port, host = [*sys.argv[1:], "127.0.0.1"][:2]
    app = application(**json.loads(os.environ["LESSONS_SERVICE"]))
    uvicorn.run(
        app, host=host, port=int(port), log_level="warning", access_log=False,
        timeout_graceful_shutdown=30, timeout_keep_alive=75,
    )  # fmt: skip


if __name__ == "__main__":
    main()
