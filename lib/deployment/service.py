"""The demo service: users in a shared database, read and written at the schema version of this release.

    python -m lib.deployment.service PORT

with its settings in the variable LESSONS_SERVICE (`lib.deployment.replicas` starts it so). A release knows the history
of its records up to its own version. What it finds at an earlier version it upgrades; of what a later release wrote, it
takes the fields that it knows. `/docs` describes the API.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any, Final, Literal, LiteralString

import psycopg
import uvicorn
from fastapi import APIRouter, Body, Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Gauge, Histogram, Info, ProcessCollector, generate_latest
from psycopg.rows import scalar_row
from psycopg.types.json import Json
from psycopg_pool import ConnectionPool

from lib.versioning.bulk import Report
from lib.versioning.history import SchemaHistory
from lib.versioning.manager import DataVersionManager
from lib.versioning.schema import VERSION_KEY
from lib.versioning.users import USERS, in_all_forms

User = dict[str, Any]
Fault = Literal["slow", "crash", "unready", "wrong schema", "failing writes"]
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


def application(*, database: str, version: int, release: str = "unnamed", faults: bool = False) -> FastAPI:
    """The service as an application of ASGI. faults: whether it misbehaves on request, as lessons need it."""
    app = FastAPI(title="Users", version=f"{release}, schema {version}", description=__doc__.split("\n")[0])
    app.state.users, app.state.faults = Users(database, version), dict[Fault, float]()
    _add_probes(app, release, version)
    _add_metrics(app, release, version)
    _add_users(app, app.state.users)
    if faults:
        _add_faults(app)
    return app


def _add_probes(app: FastAPI, release: str, schema: int) -> None:
    @app.exception_handler(UnreadableError)
    async def unreadable(_: Request, error: UnreadableError) -> JSONResponse:
        return JSONResponse({"detail": f"a record can't be read at this version: {error}"}, 500)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Alive: the process answers."""
        return {"status": "alive"}

    @app.get("/ready")
    def ready() -> dict[str, str]:
        """Ready for traffic: the database answers, too."""
        if "unready" in app.state.faults:
            raise HTTPException(503, "not ready")
        try:
            app.state.users.check()
        except psycopg.Error as error:
            raise HTTPException(503, "the database does not answer") from error
        return {"status": "ready"}

    @app.get("/version")
    async def version() -> dict[str, str | int]:
        """The release, and the schema version at which it reads and writes."""
        return {"release": release, "schema_version": schema}


def _add_metrics(app: FastAPI, release: str, schema: int) -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)  # processor time, memory, start
    this = {"release": release, "schema_version": str(schema)}
    Info("service", "Which release this is", registry=registry).info(this)
    under_way = Gauge("http_requests_in_progress", "Requests under way", registry=registry)
    name, labels = "http_request_duration_seconds", ["method", "route", "code"]
    seconds = Histogram(name, "Time to answer", labels, registry=registry, buckets=BUCKETS)

    @app.middleware("http")
    async def measure(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        start, code = time.perf_counter(), 500  # what is answered when nobody catches an error
        with under_way.track_inprogress():
            try:
                response = await call_next(request)
                code = response.status_code
                return response
            finally:
                route = getattr(request.scope.get("route"), "path", "none")  # not one series for each id
                seconds.labels(request.method, route, code).observe(time.perf_counter() - start)

    @app.get("/metrics")
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")


def _create(users: Users, user: User, key: str | None) -> tuple[User, bool]:
    try:
        return users.create(user, key)
    except ValueError as error:
        raise HTTPException(422, error.args[0]) from error
    except KeyError as error:
        raise HTTPException(409, error.args[0]) from error


def _add_users(app: FastAPI, users: Users) -> None:
    async def slow() -> None:
        await asyncio.sleep(app.state.faults.get("slow", 0.0))

    routes = APIRouter(prefix="/users", dependencies=[Depends(slow)])

    @routes.post("", status_code=201)
    def create(
        response: Response,
        user: Annotated[User, Body()],
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> User:
        """Create a user. With the same `Idempotency-Key` again the same user comes back, and none is created."""
        if "failing writes" in app.state.faults:
            raise HTTPException(500, "this fault was asked for")
        created, new = _create(users, user, idempotency_key)
        response.status_code = 201 if new else 200
        return created

    @routes.get("/{identity}")
    def read(identity: str) -> User:
        """One user, at the schema version of this release."""
        user = users.get(identity)
        if user is None:
            raise HTTPException(404, f"no user {identity!r}")
        if "wrong schema" in app.state.faults:
            user.pop("name", None)
        return user

    @routes.delete("/{identity}", status_code=204)
    def remove(identity: str) -> None:
        """Remove a user."""
        if not users.remove(identity):
            raise HTTPException(404, f"no user {identity!r}")

    @routes.get("")
    def list_users(after: str = "", limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[User]:
        """Users in the order of their ids: give the last id as `after` for the next page."""
        return users.list(after, limit)

    app.include_router(routes)


def _add_faults(app: FastAPI) -> None:
    @app.put("/faults/{fault}")
    async def put(fault: Fault, seconds: Annotated[float, Query(ge=0, le=60)] = 0.0) -> dict[Fault, float]:
        """Misbehave from now on: `slow` waits for some seconds before each answer, `crash` ends the process after them."""
        app.state.faults[fault] = seconds
        if fault == "crash":
            threading.Timer(max(seconds, 0.1), os._exit, [1]).start()  # this request is answered yet
        return app.state.faults

    @app.delete("/faults/{fault}")
    async def delete(fault: Fault) -> dict[Fault, float]:
        """Behave again."""
        app.state.faults.pop(fault, None)
        return app.state.faults


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
