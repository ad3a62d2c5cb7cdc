"""The workers that docker-stack.yml and k8s/workers start, and the check by which Swarm and Kubernetes notice one that gets no tasks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from waiting import until

from lib.scaling.settings import VARIABLE
from lib.stage.processes import Process
from lib.stage.servers import Server

ROOT = Path(__file__).resolve().parents[2]


def shipped() -> tuple[dict[str, Any], dict[str, Any]]:
    """The worker of the stack, and the container of the one for Kubernetes."""
    stack = yaml.safe_load((ROOT / "compose/docker-stack.yml").read_text(encoding="utf-8"))
    deployment, _ = yaml.safe_load_all((ROOT / "compose/k8s/workers/workers.yaml").read_text("utf-8"))
    return stack["services"]["worker"], deployment["spec"]["template"]["spec"]["containers"][0]


def test_a_worker_that_does_not_answer_through_the_broker_is_unhealthy(broker: Server) -> None:
    swarm, pod = shipped()
    kind, *check = swarm["healthcheck"]["test"]
    assert kind == "CMD" and check == pod["livenessProbe"]["exec"]["command"]
    assert swarm["command"] == pod["command"] and swarm["command"][0] == check[0] == "python"
    settings = json.loads(swarm["environment"][VARIABLE]) | {"broker": broker.url}
    with Process() as worker:
        # Its pool of processes leaves a folder behind.
        env = {VARIABLE: json.dumps(settings), "PYTHONPATH": str(ROOT), "TMPDIR": str(worker.directory)}

        def healthy() -> bool:
            command = [sys.executable, *check[1:]]
            return subprocess.run(command, env=os.environ | env, capture_output=True).returncode == 0

        worker.run([sys.executable, *swarm["command"][1:]], env=env, cwd=worker.directory)
        until(healthy)
        worker.signal(signal.SIGSTOP)
        assert not healthy()
