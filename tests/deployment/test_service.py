"""The demo service as a process on a real database: what it stores, what it reads of other versions, how it ends."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json
from waiting import until

from lib.deployment.replicas import Replica, answers, call
from lib.deployment.service import INSERT, PAGE
from lib.deployment.states import Release
from lib.stage.processes import ProcessError
from lib.stage.scraping import fetch, parse
from lib.stage.servers import Server

ANA = {"name": "Ana", "created_at": "2024-01-01"}
LUIS = {"name": "Luis", "created_at": "2024-02-29", "email": None, "updated_at": "2024-03-01", "phone": "600"}


@pytest.fixture(scope="module")
def old(database: Server) -> Iterator[Replica]:
    with Replica(database.url, Release("v1.0.0", 1), faults=True) as replica:
        yield replica


@pytest.fixture(scope="module")
def new(database: Server) -> Iterator[Replica]:
    with Replica(database.url, Release("v3.0.0", 3)) as replica:
        yield replica


def create(replica: Replica, user: dict[str, Any], *key: str) -> tuple[int, dict[str, Any]]:
    return call(replica.port, "/users", user, **dict(zip(["idempotency_key"], key, strict=False)))


def test_a_release_reads_what_an_earlier_one_wrote_and_a_later_one(old: Replica, new: Replica) -> None:
    status, ana = create(old, ANA)
    assert status == 201 and ana == {"id": ana["id"], **ANA, "schema_version": 1}
    upgraded = {**ana, "email": None, "updated_at": ANA["created_at"], "phone": None, "schema_version": 3}
    assert call(new.port, f"/users/{ana['id']}") == (200, upgraded)
    status, luis = create(new, LUIS)
    assert status == 201 and luis == {"id": luis["id"], **LUIS, "schema_version": 3}
    known = {"id": luis["id"], "name": "Luis", "created_at": "2024-02-29", "schema_version": 1}
    assert call(old.port, f"/users/{luis['id']}") == (200, known)


def test_the_same_idempotency_key_creates_once(old: Replica, new: Replica) -> None:
    status, first = create(old, ANA, "key-1")
    assert status == 201
    with ThreadPoolExecutor(8) as threads:
        again = list(threads.map(lambda _: create(old, ANA, "key-1"), range(16)))
    assert again == [(200, first)] * 16
    assert create(old, {**ANA, "name": "Eva"}, "key-1")[0] == 409
    assert create(old, ANA)[1]["id"] != first["id"]
    status, mine = create(new, {**LUIS, "id": "mine"}, "key-2")
    assert (status, mine["id"]) == (201, "mine")
    assert create(new, {**LUIS, "id": "mine"}, "key-2") == (200, mine)
    assert create(new, {**LUIS, "id": "mine"}, "key-3")[0] == 409


def test_without_a_key_the_id_says_which_user_is_meant(old: Replica) -> None:
    ana, eva = {**ANA, "id": "twice-a"}, {**ANA, "id": "twice-b", "name": "Eva"}
    assert [create(old, user)[0] for user in (ana, ana, eva, eva)] == [201, 200, 201, 200]
    assert create(old, {**ana, "name": "Eva"})[0] == 409


def test_what_is_not_valid_is_refused_with_every_error(old: Replica, new: Replica) -> None:
    status, answer = create(old, {"name": None, "created_at": "2024-02-30"})
    assert status == 422 and len(answer["detail"]) == 2 and answer["detail"][0].startswith("name: null")
    assert create(new, ANA)[0] == 422, "at version 3 an email must be there, if only as null"
    for body in ([1], "text", 7):
        assert create(old, body)[0] == 422  # type: ignore[arg-type]
    connection = HTTPConnection("127.0.0.1", old.port, timeout=60)
    connection.request("POST", "/users", b"{")
    assert connection.getresponse().status == 422
    connection.close()
    assert call(old.port, "/users/nobody") == (404, {"detail": "no user 'nobody'"})


def test_users_are_listed_page_by_page(new: Replica, database: Server) -> None:
    users = [{**ANA, "id": f"page-{number}"} for number in range(PAGE, 3 * PAGE)]
    with psycopg.connect(database.dsn) as connection:
        connection.cursor().executemany(INSERT, [(one["id"], Json(one), None) for one in users])
    seen: list[str] = []
    while page := [one["id"] for one in call(new.port, f"/users?after={seen[-1] if seen else 'page-'}")[1]]:
        assert len(page) <= PAGE
        seen += page
    assert [one for one in seen if one.startswith("page-")] == [one["id"] for one in users]
    assert seen == sorted(seen)


def test_an_unreadable_record_is_told_and_not_made_up(database: Server, old: Replica, new: Replica) -> None:
    record = {"id": "strange", "full_name": "Ana Gil", "created_at": "2024-01-01", "schema_version": 4}
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO service_users (id, record) VALUES ('strange', %s)", [Json(record)])
        try:
            for replica in (old, new):
                status, answer = call(replica.port, "/users/strange")
                assert status == 500
                assert re.search(r"can't be read at this version: name: ", answer["detail"])
        finally:
            connection.execute("DELETE FROM service_users WHERE id = 'strange'")


def counted(replica: Replica, **labels: str) -> dict[str, float]:
    """Requests by the end of their bucket, in seconds, and those under way; of the former those with certain labels."""
    samples = parse(fetch(f"http://127.0.0.1:{replica.port}/metrics"))
    buckets = [one for one in samples if labels.items() <= one.labels.items() and "le" in one.labels]
    found = {one.labels["le"]: one.value for one in buckets}
    return found | {one.name: one.value for one in samples if not one.labels}


def test_requests_are_counted_by_what_they_were(old: Replica, database: Server) -> None:
    labels = {"method": "GET", "route": "/users/{identity}", "code": "404"}
    before = counted(old, **labels).get("+Inf", 0)
    for name in ("nobody", "nothing"):
        call(old.port, f"/users/{name}")
    now = counted(old, **labels)
    assert now["+Inf"] == before + 2
    assert now["http_requests_in_progress"] == 1, "the scrape itself is under way"
    assert now["process_cpu_seconds_total"] > 0
    _, ana = create(old, ANA)
    old.fault("slow", 0.3)
    call(old.port, f"/users/{ana['id']}")
    old.mend("slow")
    slow = counted(old, method="GET", route="/users/{identity}", code="200")
    assert slow["+Inf"] - slow["0.25"] >= 1, "what slows the service is measured, too"
    unreadable = counted(old, **labels | {"code": "500"}).get("+Inf", 0)
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE service_users RENAME TO away")
        try:
            assert call(old.port, "/users/nobody")[0] == 500
        finally:
            connection.execute("ALTER TABLE away RENAME TO service_users")
    failed = counted(old, **labels | {"code": "500"})
    assert failed["+Inf"] == unreadable + 1, "an error that nobody caught is counted as what users got"


def test_faults_only_where_they_are_enabled(database: Server, old: Replica, new: Replica) -> None:
    with pytest.raises(ValueError, match="faults=True"):
        new.fault("slow", 1.0)
    with pytest.raises(ValueError, match="fault 'no such': refused"):
        old.fault("no such")
    _, ana = create(old, ANA)
    for fault in ("slow", "unready", "wrong schema"):
        old.fault(fault, 0.5)
    start = time.perf_counter()
    assert "name" not in call(old.port, f"/users/{ana['id']}")[1]
    assert time.perf_counter() - start > 0.5
    assert call(old.port, "/ready")[0] == 503 and call(old.port, "/health")[0] == 200
    old.fault("failing writes")
    assert create(old, ANA)[0] == 500 and call(old.port, f"/users/{ana['id']}")[0] == 200
    for fault in ("slow", "unready", "wrong schema", "failing writes"):
        old.mend(fault)
    assert answers(old.port, "/ready") and call(old.port, f"/users/{ana['id']}")[1] == ana
    with Replica(database.url, Release("v2.0.0", 2), faults=True) as replica:
        replica.fault("crash")
        until(lambda: not replica.process.alive)
        assert replica.process.returncode == 1 and not answers(replica.port, "/ready")


def test_stopped_it_answers_what_it_has_taken(database: Server) -> None:
    release = Release("v1.0.0", 1)
    with Replica(database.url, release, faults=True) as replica, ThreadPoolExecutor(5) as threads:
        _, ana = create(replica, ANA)
        replica.fault("slow", 5.0)
        taken = [threads.submit(call, replica.port, f"/users/{ana['id']}") for _ in range(5)]
        until(lambda: counted(replica)["http_requests_in_progress"] == 6)  # the scrape is one of them
        replica.stop()
        assert [answer.result()[0] for answer in taken] == [200] * 5
    with pytest.raises(OSError):
        call(replica.port, "/health")


def test_the_password_is_on_no_command_line(database: Server, old: Replica) -> None:
    [password] = re.findall(r":(\w+)@", database.url)
    assert password.encode() not in Path(f"/proc/{old.process.pid}/cmdline").read_bytes()


def test_a_release_that_can_not_start_is_explained(database: Server) -> None:
    with pytest.raises(ProcessError, match=r"(?s)Release v9 .* ended with status 1.*known: 1, 2, 3"):
        Replica(database.url, Release("v9", 9))
    with pytest.raises(ProcessError, match=r"(?s)Release v1.0.0 .* ended with status 1.*refused"):
        Replica("postgresql+psycopg://postgres:x@127.0.0.1:1/postgres", Release("v1.0.0", 1))
