"""Workers and replicas in containers, behind the interfaces that processes have; and what is left of them, which is nothing."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import Engine
from learners import failures
from lessons import code_cells, lesson_paths, read, tags
from owners import line, owner
from traffic_checks import assert_all_ok, colours
from waiting import until

import notebooks
from lib.deployment.platforms.local import Local
from lib.deployment.replicas import answers
from lib.deployment.states import Release
from lib.scaling.workers import WorkerPool
from lib.stage import servers
from lib.stage.containers import LABEL, POSTGRES, VALKEY, Container, Network, docker_network, image
from lib.stage.programs import run
from lib.stage.traffic import Traffic

BACKEND = 'BACKEND = "process"'
#: The lessons with a parameter BACKEND.
ON_CONTAINERS = [path for path in lesson_paths() if any(BACKEND in cell.source for cell in read(path).cells)]
assert len(ON_CONTAINERS) >= 3
OWNER = """
from lib.stage.containers import docker_network
server = valkey(backend="docker")
print(docker_network("docker").name, flush=True)
time.sleep(300)
"""


@pytest.fixture(scope="module")
def network(engine: Engine) -> Iterator[Network]:
    engine.provide(POSTGRES, VALKEY, "python:3.11.14-slim-bookworm")
    image()
    made = docker_network("docker")
    assert made is not None
    volumes = set(run("docker", "volume", "ls", "--quiet").split())
    yield made
    made.keeper.stop()
    docker_network.cache_clear()
    assert left_of(made.name) == []
    assert set(run("docker", "volume", "ls", "--quiet").split()) <= volumes


def left_of(name: str) -> list[str]:
    """A network and the containers on it, as far as there are any."""
    label = ["--quiet", "--filter", f"label={LABEL}={name}"]
    return [*run("docker", "ps", "--all", *label).split(), *run("docker", "network", "ls", *label).split()]


def test_workers_are_scaled_and_killed_and_no_task_is_lost(network: Network) -> None:
    with WorkerPool(1, backend="docker") as pool:
        sent = pool.send("book_once", [(0.2,)] * 5)
        pool.scale(3)
        assert len(pool.workers) == 3
        assert all(10e6 < worker.process.memory() < 512e6 for worker in pool.workers)
        sent += pool.send("book_once", [(1.5,)] * 20)
        killed = pool.kill()
        assert len(pool.workers) == 2
        killed |= pool.kill(whole_worker=False)
        assert len(pool.workers) == 2
        pool.scale(1)
        assert pool.wait(120) == 0
        events, ledger = pool.events(), pool.ledger()
        assert set(events[events["outcome"] == "done"]["task"]) == set(sent) == set(ledger)
        assert set(ledger.values()) == {1} and set(events["worker"]) == {"w1", "w2", "w3"}
        assert len(killed) == 2 and killed <= set(events[events["outcome"] == "cut off"]["task"])
    assert len(left_of(network.name)) == 1  # the network itself


def test_containers_are_confined_and_published_on_loopback_only(network: Network) -> None:
    with WorkerPool(1, backend="docker") as pool:
        names = sorted(run("docker", "ps", "--filter", f"label={LABEL}", "--format", "{{.Names}}").split())
        broker, worker = json.loads(run("docker", "inspect", *names))
        [[port]] = filter(None, broker["NetworkSettings"]["Ports"].values())
        assert port["HostIp"] == "127.0.0.1" and not any(worker["NetworkSettings"]["Ports"].values())
        for name, container in zip(names, (broker, worker), strict=True):
            host = container["HostConfig"]
            assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"]
            assert host["CpusetCpus"] == ",".join(map(str, sorted(os.sched_getaffinity(0))))
            assert host["Memory"] and host["PidsLimit"] and "no-new-privileges" in host["SecurityOpt"]
            assert run("docker", "exec", name, "id", "-u").strip() != "0"
            assert "password" not in run("docker", "top", name).lower()
        assert pool.settings.broker not in str(worker["Config"]["Env"])  # its address is another one inside


def test_replicas_take_over_under_traffic(network: Network) -> None:
    with (
        servers.postgres(backend="docker") as database,
        Local(database.url, faults=True, backend="docker") as platform,
    ):
        platform.create("blue", Release("v1.0.0", 1, replicas=2))
        platform.switch("blue")
        with Traffic(platform.router.url, rate=50, writes=0.2) as traffic:
            platform.create("green", Release("v2.0.0", 2, replicas=2))
            platform.switch("green")
            until(lambda: not platform.in_flight("blue"))
            platform.retire("blue")
            time.sleep(1)
        requests = traffic.requests()
        assert_all_ok(requests)
        assert colours(requests) == {"blue", "green"}
        replica = platform.replicas["green"][0]
        assert answers(replica.port, "/ready")
        replica.fault("unready")
        assert not answers(replica.port, "/ready")
        replica.kill()
        assert len(platform.ports("green")) == 1 and replica.process.returncode == -signal.SIGKILL
        assert len(platform.create("green", Release("v2.0.0", 2, replicas=2))) == 2


@pytest.mark.long
@pytest.mark.parametrize("path", ON_CONTAINERS, ids=lambda path: path.stem)
def test_a_lesson_runs_on_containers_as_it_does_on_processes(
    path: Path, network: Network, tmp_path: Path, kernel_path: None
) -> None:
    nb = read(path)
    [parameters] = [one for one in code_cells(nb) if "parameters" in tags(one)]
    assert parameters.source.count(BACKEND) == 1
    parameters.source = parameters.source.replace(BACKEND, 'BACKEND = "docker"')
    meant = failures(nb)
    assert failures(notebooks.execute(nb, tmp_path, allow_errors=True)) == meant


def test_a_database_of_this_machine_is_out_of_reach_for_a_replica(network: Network) -> None:
    remedy = 'cannot be reached from a container: start that server with backend="docker"'
    with pytest.raises(servers.ProcessError, match=remedy):
        network.inside("postgresql+psycopg://postgres:secret@127.0.0.1:1/postgres")
    assert network.inside("redis://broker.example.org:6379/0") == "redis://broker.example.org:6379/0"


def test_an_error_shows_the_log_of_a_container(network: Network) -> None:
    command = ["python", "-c", "print('no configuration'); raise SystemExit(3)"]
    messages = {image(): "status 3.*no configuration", "no-such-image:1.0": "status 125.*no-such-image"}
    for name, message in messages.items():
        with Container(network, "short", name).start(0, command, env={}) as container:
            assert container.wait(30)
            with pytest.raises(servers.ProcessError, match=f"(?s)The thing ended with {message}"):
                container.wait_until(lambda: False, name="The thing")


def test_a_killed_owner_leaves_nothing(network: Network) -> None:
    with owner(OWNER) as process:
        name = line(process)
        assert len(left_of(name)) == 2
        process.kill()
        until(lambda: left_of(name) == [])
