"""`--target kubernetes` on a cluster in memory, written from kubectl's documentation: no pod runs; and what the manifests say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from lib.deployment import __main__ as command_line
from lib.deployment import rollout
from lib.deployment.gates import Gate
from lib.deployment.platforms.kubernetes import Kubernetes
from lib.stage.programs import ProcessError

ROOT = Path(__file__).parents[2]
K8S = ROOT / "compose" / "k8s"
FILES = sorted(K8S.rglob("*.yaml"))
MANIFESTS = [(path.parent.name, one) for path in FILES for one in yaml.safe_load_all(path.read_text("utf-8"))]
TEMPLATES = [(folder, one.get("spec", {}).get("template")) for folder, one in MANIFESTS]
PODS = [(folder, template["spec"]) for folder, template in TEMPLATES if template]


class Cluster:
    """What `kubectl` would change and show. A release whose name contains "unready" never gets ready."""

    def __init__(self) -> None:
        self.secrets, self.service = ["users-secrets"], dict[str, str]()
        self.deployments: dict[str, dict[str, Any]] = {}
        self.log, self.databases = list[str](), 1

    def kubectl(self, *arguments: str) -> str:
        """Do what a command says; return what it prints. A command that the driver never gives is a KeyError."""
        self.log.append(" ".join(arguments))
        options = dict(pairwise(arguments))
        verbs = (self.get, self.apply, self.rollout, self.patch, self.delete)
        return {verb.__name__: verb for verb in verbs}[arguments[0]](arguments[1:], options)

    def get(self, what: tuple[str, ...], options: dict[str, str]) -> str:
        if what[0] == "secret":
            return what[1] if what[1] in self.secrets else ""
        if what[0] == "service":
            return json.dumps({"spec": {"selector": self.service}}) if self.service else ""
        if what[0] == "statefulset":
            return json.dumps({"status": {"readyReplicas": self.databases} if self.databases else {}})
        if what[0] == "pods":
            ready = {"conditions": [{"type": "Ready", "status": "True"}]}
            names = self.pods(options["--selector"].rpartition("=")[2])
            return json.dumps({"items": [{"metadata": {"name": name}, "status": ready} for name in names]})
        ends = [{"conditions": {}, "targetRef": {"name": name}} for name in self.pods(self.colour)]
        return json.dumps({"items": [{"endpoints": ends}]})

    def pods(self, colour: str | None) -> list[str]:
        one = self.deployments.get(f"users-{colour}", {"release": "unready"})
        return [] if "unready" in one["release"] else [f"{colour}-{n}" for n in range(one["count"])]

    def apply(self, _: tuple[str, ...], options: dict[str, str]) -> str:
        folder = Path(options["--kustomize"])
        if folder.name == "shared":
            self.service = {"app": "users"} | self.service  # what a patch has added stays
            return ""
        overlay = json.loads((folder / "kustomization.yaml").read_text())
        assert (folder / overlay["resources"][0] / "kustomization.yaml").exists()
        [replicas], [image] = overlay["replicas"], overlay["images"]
        self.deployments[replicas["name"]] = {"release": image["newTag"], "count": replicas["count"]}
        return ""

    def rollout(self, what: tuple[str, ...], _: dict[str, str]) -> str:
        if "unready" in self.deployments.get(what[1].partition("/")[2], {"release": ""})["release"]:
            raise ProcessError("timed out waiting for the condition")
        return ""

    def patch(self, _: tuple[str, ...], options: dict[str, str]) -> str:
        self.service |= json.loads(options["--patch"])["spec"]["selector"]
        return ""

    def delete(self, what: tuple[str, ...], options: dict[str, str]) -> str:
        if "--kustomize" in what:
            self.service = {}
        elif "deployment" in what[0]:
            assert "--cascade=foreground" in what, "kubectl's default lets pods go on for a while"
            colour = re.search(r"colour=(\w+)", options["--selector"])
            for name in [f"users-{colour[1]}"] if colour else list(self.deployments):
                self.deployments.pop(name, None)
        return ""

    @property
    def colour(self) -> str | None:
        return self.service.get("colour")

    def running(self) -> dict[str, str]:
        """The release of each deployment."""
        return {name: one["release"] for name, one in self.deployments.items()}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster()
    monkeypatch.setattr(Kubernetes, "_kubectl", lambda _, *arguments: made.kubectl(*arguments))
    monkeypatch.setattr(Kubernetes, "ports", lambda _, colour: list(range(len(made.pods(colour)))))
    monkeypatch.setattr(rollout, "health_gate", lambda *_, **__: Gate("health"))
    monkeypatch.setattr(rollout, "smoke_gate", lambda *_: Gate("smoke tests"))
    yield made


@pytest.fixture
def run(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command line; returns its status and what it printed."""

    def run(*arguments: str) -> tuple[int, str]:
        options = ["--target", "kubernetes", "--state-dir", str(tmp_path), "--bake", "0"]
        status = command_line.main([*options, *arguments])
        return status, "".join(capsys.readouterr())

    return run


def test_seven_steps_and_the_next_release(cluster: Cluster, run: Any) -> None:
    status, output = run("v1.0.0", "--schema", "1", "--replicas", "2")
    assert status == 0, output
    assert re.findall(r"^\[(\d)/7", output, re.MULTILINE) == ["1", "2", "3", "4", "5", "6", "6", "7"]
    assert cluster.running() == {"users-blue": "v1.0.0"} and cluster.colour == "blue"
    status, output = run("v1.1.0", "--schema", "2", "--replicas", "3")
    assert status == 0 and "address: http://users" in output
    assert cluster.running() == {"users-green": "v1.1.0"} and cluster.colour == "green"
    commands = [" ".join(line.split()[:3]) for line in cluster.log]
    created, switched = "rollout status deployment/users-green", "patch service users"
    assert commands.index(created) < len(commands) - commands[::-1].index(switched)
    status, output = run("status")
    assert status == 0 and "running: v1.1.0" in output and "active: green, 3 replicas" in output
    cluster.databases, cluster.deployments["users-green"]["count"] = 0, 1
    status, output = run("status")
    assert status == 1 and "died: database" in output and "died: 2 of 3 replicas of green" in output
    cluster.databases = 1
    status, output = run("resume")
    assert status == 0 and run("status")[0] == 0
    assert run("down")[0] == 0
    assert not cluster.service and cluster.running() == {}
    assert "nothing is running" in run("down")[1]


def test_an_unhealthy_release_changes_nothing(cluster: Cluster, run: Any) -> None:
    assert run("v1.0.0", "--replicas", "2")[0] == 0
    before = cluster.running()
    status, output = run("v1.1.0-unready")
    assert status == 2 and "timed out waiting for the condition" in output
    assert "Went back: v1.0.0 runs." in output
    assert cluster.running() == before and cluster.colour == "blue"


def test_interrupted_it_is_rolled_back(cluster: Cluster, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(message: str) -> None:
        if message.startswith("switched"):
            raise KeyboardInterrupt

    assert run("v1.0.0")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(command_line, "_print_step", interrupt)
        status, output = run("v1.1.0")
    assert status == 130 and output.endswith("interrupted: use `resume` or `rollback`\n")
    assert cluster.colour == "green" and "under way: v1.1.0 is switched: use `resume`" in run("status")[1]
    status, output = run("rollback")
    assert status == 0 and "running: v1.0.0" in output
    assert cluster.colour == "blue" and cluster.running() == {"users-blue": "v1.0.0"}


def test_without_a_secret_the_remedy_is_told(cluster: Cluster, run: Any) -> None:
    cluster.secrets.clear()
    status, output = run("v1.0.0")
    assert status == 2 and "kubectl create secret generic users-secrets" in output and not cluster.service


def test_a_port_is_read_from_what_kubectl_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = Kubernetes(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProcessError, match="there is no command `kubectl`: install it"):
        platform.active()
    kubectl = tmp_path / "kubectl"
    script = 'echo "Forwarding from 127.0.0.1:${5%:*} -> 8000"; exec /bin/sleep 60'
    kubectl.write_text(f"#!/bin/sh\n{script}\n")
    kubectl.chmod(0o755)
    monkeypatch.setattr(Kubernetes, "_pods", lambda *_: ["users-1"])
    [port] = platform.ports("blue")
    assert platform.ports("blue") == [port]
    [(process, _)] = platform._forwards.values()
    assert f"Forwarding from 127.0.0.1:{port} " in process.output()
    process.stop()
    kubectl.write_text("#!/bin/sh\necho no such pod >&2; exit 1\n")
    with pytest.raises(ProcessError, match=r"(?s)A port of the pod users-1 ended with status 1.*no such pod"):
        platform.ports("blue")
    with pytest.raises(ProcessError, match=r"(?s)kubectl get .* ended with status 1.*no such pod"):
        platform.active()


# ── The manifests ────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_the_switch_says_which_colour_is_served() -> None:
    services = {one["metadata"]["name"]: one["spec"] for _, one in MANIFESTS if one["kind"] == "Service"}
    assert services["users"]["selector"] == {"app": "users"}
    for colour in ("blue", "green"):
        [overlay] = [one for folder, one in MANIFESTS if folder == colour]
        [labels] = overlay["labels"]
        assert labels == {"pairs": {"colour": colour}, "includeSelectors": True, "includeTemplates": True}


@pytest.mark.parametrize(("folder", "pod"), PODS)
def test_pods_are_confined_limited_and_passwords_are_secrets(folder: str, pod: dict[str, Any]) -> None:
    security = pod["securityContext"]
    assert security["runAsNonRoot"] and security["runAsUser"] > 0 and not pod["automountServiceAccountToken"]
    assert security["seccompProfile"]["type"] == "RuntimeDefault"
    for container in pod["containers"]:
        own = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
        assert container["securityContext"] == own | {"capabilities": {"drop": ["ALL"]}}
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        secrets = [one["valueFrom"]["secretKeyRef"] for one in container["env"] if "PASSWORD" in one["name"]]
        assert {one["name"] for one in secrets} == {"users-secrets"}


def test_the_service_is_probed_and_may_end_what_it_has_taken() -> None:
    [pod] = [pod for folder, pod in PODS if folder == "colour"]
    [container] = pod["containers"]
    for probe, path in {"readiness": "/ready", "liveness": "/health", "startup": "/health"}.items():
        assert container[f"{probe}Probe"]["httpGet"]["path"] == path
    assert pod["terminationGracePeriodSeconds"] > container["lifecycle"]["preStop"]["sleep"]["seconds"] + 30
