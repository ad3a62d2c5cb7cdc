"""`compose/docker-stack.yml` on a Swarm of one node: it comes up, is updated by starting first, and goes back by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from containers import Engine, run
from test_airflow import BASES as AIRFLOW
from traffic_checks import assert_all_ok
from waiting import until

from lib.deployment.replicas import call
from lib.stage.containers import image
from lib.stage.traffic import Traffic

PORT = 8080
BASES = [*AIRFLOW, "haproxy:2.8.15-bookworm"]
SERVICES = {"users": "2/2", "worker": "2/2", "router": "1/1", "broker": "1/1", "database": "1/1"}


class Stack:
    """The stack of the file under the name `lessons`, with passwords of its own."""

    def __init__(self, engine: Engine) -> None:
        self.docker = engine.docker
        passwords = {f"{name}_PASSWORD": os.urandom(16).hex() for name in ("DATABASE", "BROKER")}
        self.env = {"IMAGE": image()} | passwords

    def deploy(self, release: str, schema: int) -> None:
        environment = self.env | {"RELEASE": release, "SCHEMA": str(schema)}
        options = ["--resolve-image", "never", "--compose-file", "compose/docker-stack.yml"]
        run("docker", "stack", "deploy", *options, "lessons", env=environment)

    def replicas(self) -> dict[str, str]:
        listed = self.docker("stack", "services", "lessons", "--format", "{{.Name}} {{.Replicas}}")
        return {line.split()[0].removeprefix("lessons_"): line.split()[1] for line in listed.splitlines()}

    def update(self) -> str:
        """How the last update of the service stands."""
        form = "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}"
        return self.docker("service", "inspect", "lessons_users", "--format", form).strip()

    def running(self) -> int:
        """How many replicas of the service run, healthy."""
        options = ["--format", "{{.CurrentState}}", "--filter", "desired-state=running"]
        states = self.docker("service", "ps", "lessons_users", *options)
        return sum(state.startswith("Running") for state in states.splitlines())


@pytest.fixture(scope="module")
def stack(engine: Engine) -> Iterator[Stack]:
    engine.provide(*BASES)
    if not engine.private:
        pytest.skip("makes the engine a node of a Swarm: only one that was made for this run")
    engine.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        yield Stack(engine)
    finally:
        engine.docker("stack", "rm", "lessons")
        engine.docker("swarm", "leave", "--force")


def release() -> str:
    with suppress(OSError):
        status, answer = call(PORT, "/version")
        return answer["release"] if status == 200 else ""
    return ""


def test_the_stack_comes_up(stack: Stack) -> None:
    stack.deploy("v1.0.0", 1)
    until(lambda: stack.replicas() == SERVICES, 120)
    until(lambda: release() == "v1.0.0", 120)


def test_an_update_starts_a_new_replica_before_it_stops_an_old_one(stack: Stack) -> None:
    counts, seen = list[int](), set[str]()
    with Traffic(f"http://127.0.0.1:{PORT}/version", rate=50) as traffic:
        stack.deploy("v1.1.0", 2)
        until(lambda: stack.update() == "updating", 120)
        deadline = time.monotonic() + 120
        while stack.update() == "updating" and time.monotonic() < deadline:
            counts.append(stack.running())
            seen.add(release())
        time.sleep(1)
    assert stack.update() == "completed" and release() == "v1.1.0" and {"v1.0.0", "v1.1.0"} <= seen
    assert min(counts) >= 2 and stack.running() == 2
    assert_all_ok(traffic.requests())


def test_an_update_that_does_not_get_healthy_is_rolled_back(stack: Stack) -> None:
    stack.deploy("v9.0.0", 9)  # a schema version that this image does not know
    until(lambda: stack.update() == "rollback_completed", 180)
    assert release() == "v1.1.0" and stack.running() == 2


def test_the_router_is_the_only_one_that_is_published(stack: Stack) -> None:
    names = stack.docker("stack", "services", "lessons", "--format", "{{.Name}}").split()
    form = ["--format", "{{range .Endpoint.Spec.Ports}}{{.PublishedPort}} {{end}}"]
    published = {name for name in names if stack.docker("service", "inspect", name, *form).strip()}
    assert published == {"lessons_router"}
