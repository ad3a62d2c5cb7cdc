"""`--target kubernetes` against a stub of kubectl (`stub_kubectl.py`): no pod runs; and what the manifests say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from controllers import killed_at

from lib.deployment.platforms.kubernetes import Kubernetes
from lib.deployment.replicas import answers

ROOT = Path(__file__).parents[2]
STUB = Path(__file__).with_name("stub_kubectl.py")
K8S = ROOT / "compose" / "k8s"
MANIFESTS = [
    (path.parent.name, manifest)
    for path in sorted(K8S.rglob("*.yaml"))
    for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
PODS = [
    (folder, one["spec"]["template"]["spec"])
    for folder, one in MANIFESTS
    if "template" in one.get("spec", {})
]


class Cluster:
    """What the stub notes, and the command that is pointed to it."""

    def __init__(self, folder: Path) -> None:
        self.file, self.state = folder / "cluster.json", folder / "state"
        kubectl = folder / "bin" / "kubectl"
        kubectl.parent.mkdir()
        kubectl.write_text(f'#!/bin/sh\nexec {sys.executable} {STUB} "$@"\n')
        kubectl.chmod(0o755)
        path = os.pathsep.join([str(kubectl.parent), os.environ["PATH"]])
        self.env = os.environ | {"PATH": path, "STUB_KUBECTL": str(self.file), "PYTHONPATH": str(ROOT)}
        self.set(secrets=["users-secrets"])

    def get(self) -> dict[str, Any]:
        return json.loads(self.file.read_text())

    def set(self, **values: Any) -> None:
        self.file.write_text(json.dumps((self.get() if self.file.exists() else {}) | values))

    def command(self, *arguments: str) -> list[str]:
        options = ["--target", "kubernetes", "--state-dir", str(self.state), "--bake", "0.3"]
        return [sys.executable, "-m", "lib.deployment", *options, *arguments]

    def __call__(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            self.command(*arguments), cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=120
        )
        return done.returncode, done.stdout + done.stderr

    def killed_at(self, step: str, version: str) -> None:
        killed_at(step, self.command(version, "--bake", "20"), self.env)

    def running(self) -> dict[str, str]:
        """The release of each deployment."""
        return {name: one["release"] for name, one in self.get()["deployments"].items()}

    @property
    def colour(self) -> str | None:
        return self.get()["service"].get("colour")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    yield Cluster(tmp_path)


def test_seven_steps_and_the_next_release(cluster: Cluster) -> None:
    status, output = cluster("v1.0.0", "--schema", "1", "--replicas", "2")
    assert status == 0, output
    assert re.findall(r"^\[(\d)/7", output, re.MULTILINE) == ["1", "2", "3", "4", "5", "6", "6", "7"]
    assert cluster.running() == {"users-blue": "v1.0.0"} and cluster.colour == "blue"
    assert len(cluster.get()["deployments"]["users-blue"]["pods"]) == 2
    status, output = cluster("v1.1.0", "--schema", "2", "--replicas", "3")
    assert status == 0 and "address: http://users" in output
    assert cluster.running() == {"users-green": "v1.1.0"} and cluster.colour == "green"
    log = cluster.get()["log"]
    assert log.index("rollout status deployment/users-green") < log.index(
        "patch service users", log.index("patch service users") + 1
    )
    status, output = cluster("status")
    assert status == 0 and "running: v1.1.0" in output and "active: green, 3 replicas" in output
    assert cluster("down")[0] == 0
    assert cluster.get()["service"] is None and cluster.running() == {}
    assert "nothing is running" in cluster("down")[1]


def test_what_is_applied_names_the_release_everywhere(cluster: Cluster) -> None:
    assert cluster("v1.0.0", "--schema", "2", "--replicas", "3")[0] == 0
    overlay = cluster.state / "kubernetes" / "k8s" / "blue"
    told = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    assert [(overlay / path).resolve() for path in told["resources"]] == [K8S / "blue"]
    assert told["images"] == [
        {"name": "zero-downtime-pipelines", "newName": "zero-downtime-pipelines", "newTag": "v1.0.0"}
    ]
    assert told["configMapGenerator"][0]["literals"] == ["RELEASE=v1.0.0", "SCHEMA=2"]
    assert told["replicas"] == [{"name": "users-blue", "count": 3}]
    assert json.loads(told["patches"][0]["patch"]) == [
        {"op": "replace", "path": "/spec/minReplicas", "value": 3}
    ]


def test_an_unhealthy_release_changes_nothing(cluster: Cluster) -> None:
    assert cluster("v1.0.0", "--replicas", "2")[0] == 0
    before = cluster.get()
    status, output = cluster("v1.1.0-unready")
    assert (
        status == 2
        and "timed out waiting for the condition" in output
        and "Went back: v1.0.0 runs." in output
    )
    after = cluster.get()
    assert after["deployments"] == before["deployments"] and cluster.colour == "blue"


def test_a_killed_controller_is_followed_back_and_forth(cluster: Cluster) -> None:
    assert cluster("v1.0.0")[0] == 0
    cluster.killed_at("5/7", "v1.1.0")
    assert cluster.colour == "green" and cluster.running() == {
        "users-blue": "v1.0.0",
        "users-green": "v1.1.0",
    }
    status, output = cluster("rollback")
    assert status == 0 and "running: v1.0.0" in output
    assert cluster.colour == "blue" and cluster.running() == {"users-blue": "v1.0.0"}
    cluster.killed_at("1/7", "v1.2.0")  # long before it would switch
    assert cluster.colour == "blue"
    assert re.search("under way: v1.2.0 is (compatible|created)", cluster("status")[1])
    assert cluster("resume")[0] == 0
    assert cluster.colour == "green" and cluster.running() == {"users-green": "v1.2.0"}


def test_a_port_is_known_after_any_number_of_connections(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kubectl port-forward` tells its port once, and writes a line for each connection after it."""
    assert cluster("v1.0.0")[0] == 0
    for name in ("PATH", "STUB_KUBECTL"):
        monkeypatch.setenv(name, cluster.env[name])
    platform = Kubernetes(cluster.state / "kubernetes")
    [port] = platform.ports("blue")
    for _ in range(400):
        assert answers(port, "/ready")
    assert platform.ports("blue") == [port]
    for forward, _ in platform._forwards.values():
        forward.stop()


def test_without_a_secret_or_a_kubectl_the_remedy_is_told(cluster: Cluster, tmp_path: Path) -> None:
    cluster.set(secrets=[])
    status, output = cluster("v1.0.0")
    assert (
        status == 2
        and "kubectl create secret generic users-secrets" in output
        and cluster.get()["service"] is None
    )
    git = shutil.which("git")
    assert git
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "git").symlink_to(git)
    cluster.env["PATH"] = str(tmp_path / "only")
    status, output = cluster("v1.0.0")
    assert status == 2 and "there is no command `kubectl`: install it" in output


# ── The manifests ────────────────────────────────────────────────────────────────────────────────────────────────


def test_there_are_the_kinds_that_are_promised_and_no_secret() -> None:
    kinds = {one["kind"] for _, one in MANIFESTS}
    assert kinds == {
        "Kustomization",
        "Service",
        "StatefulSet",
        "Deployment",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
    }
    named = [(folder, one["metadata"]["name"]) for folder, one in MANIFESTS if "metadata" in one]
    assert {folder for folder, name in named if name == "broker"} == {
        "workers"
    }  # not in a colour, with which it would go


def test_only_the_switch_says_which_colour_is_served() -> None:
    [service] = [
        one for _, one in MANIFESTS if one["kind"] == "Service" and one["metadata"]["name"] == "users"
    ]
    assert service["spec"]["selector"] == {"app": "users"}
    for colour in ("blue", "green"):
        [told] = [one for folder, one in MANIFESTS if folder == colour]
        assert told["labels"] == [
            {"pairs": {"colour": colour}, "includeSelectors": True, "includeTemplates": True}
        ]


@pytest.mark.parametrize(
    ("folder", "pod"), PODS, ids=[f"{folder}-{pod['containers'][0]['name']}" for folder, pod in PODS]
)
def test_pods_are_confined_limited_and_take_passwords_from_the_secret(
    folder: str, pod: dict[str, Any]
) -> None:
    security = pod["securityContext"]
    assert (
        security["runAsNonRoot"]
        and security["runAsUser"] > 0
        and security["seccompProfile"]["type"] == "RuntimeDefault"
    )
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
        }  # fmt: skip
        assert container["resources"]["limits"]["memory"] and {"cpu", "memory"} <= set(
            container["resources"]["requests"]
        )
        passwords = [one for one in container["env"] if "PASSWORD" in one["name"]]
        assert passwords and all(
            one["valueFrom"]["secretKeyRef"]["name"] == "users-secrets" for one in passwords
        )


def test_the_service_is_probed_and_may_end_what_it_has_taken() -> None:
    [pod] = [pod for folder, pod in PODS if folder == "colour"]
    [container] = pod["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert (
        container["livenessProbe"]["httpGet"]["path"]
        == container["startupProbe"]["httpGet"]["path"]
        == "/health"
    )
    assert pod["terminationGracePeriodSeconds"] > container["lifecycle"]["preStop"]["sleep"]["seconds"] + 30
