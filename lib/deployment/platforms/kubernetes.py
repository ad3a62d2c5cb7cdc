"""Blue and green as deployments in Kubernetes, driven by `kubectl` in its current context and namespace: `compose/k8s/`.

A Service sends the traffic to the pods that carry its labels; to switch is to change the colour among them. It works on
connections, not on requests: one that a client keeps open stays with its pod until that ends. So there is nothing here that could
count the requests under way, or give a colour a share of them: a pod that is to end is out of the Service first, for some seconds
(`preStop`), and then answers what it has taken.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from lib.deployment.platform import PATIENCE, PlatformError
from lib.stage.containers import ROOT
from lib.stage.images import PORT
from lib.stage.processes import Process, ProcessError
from lib.stage.router import Colour

FILES = ROOT / "compose" / "k8s"
IMAGE, REPOSITORY_VARIABLE = "zero-downtime-pipelines", "LESSONS_REPOSITORY"
SECRET = "users-secrets"
START = "120s"  # that a start may take


class Kubernetes:
    """Two deployments and a Service in a cluster: a platform for `BlueGreen`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self._forwards: dict[str, tuple[Process, int]] = {}

    # ── The whole ────────────────────────────────────────────────────────────────────────────────────────────────

    def exists(self) -> bool:
        """Whether the Service is there."""
        return bool(self._kubectl("get", "service", "users", "--ignore-not-found", "--output", "name"))

    def start(self, port: int) -> str:
        """Have the database and the Service; return its address in the cluster, whose port is in the manifest."""
        if not self._kubectl("get", "secret", SECRET, "--ignore-not-found", "--output", "name"):
            raise PlatformError(
                f"there is no Secret {SECRET}: make it by\n    kubectl create secret generic {SECRET} "
                '--from-literal=database="$(openssl rand -hex 16)" --from-literal=broker="$(openssl rand -hex 16)"'
            )
        self._kubectl("apply", "--kustomize", str(FILES / "shared"))
        self._kubectl("rollout", "status", "statefulset/database", "--timeout", START)
        return "http://users"

    def down(self) -> None:
        """Remove all, the data too; the Secret stays."""
        if not self.exists():
            print("nothing is running")
        self._delete("app=users")
        self._kubectl("delete", "--kustomize", str(FILES / "shared"), "--ignore-not-found")
        self._kubectl("delete", "persistentvolumeclaim", "--selector", "app=database", "--ignore-not-found")

    # ── See `Platform` ───────────────────────────────────────────────────────────────────────────────────────────

    def create(
        self, colour: Colour, release: str, version: int, count: int, tree: str | None = None
    ) -> list[int]:
        """See `Platform`. A release is an image, with its name as tag, of the repository LESSONS_REPOSITORY: a tree counts for nothing."""
        name = f"users-{colour}"
        overlay = self.directory / "k8s" / colour
        overlay.mkdir(parents=True, exist_ok=True)
        smallest = [{"op": "replace", "path": "/spec/minReplicas", "value": count}]
        told = {
            "resources": [os.path.relpath(FILES / colour, overlay)],
            "images": [
                {"name": IMAGE, "newName": os.environ.get(REPOSITORY_VARIABLE, IMAGE), "newTag": release}
            ],
            "replicas": [{"name": name, "count": count}],
            "configMapGenerator": [
                {"name": name, "behavior": "merge", "literals": [f"RELEASE={release}", f"SCHEMA={version}"]}
            ],
            "patches": [
                {"target": {"kind": "HorizontalPodAutoscaler", "name": name}, "patch": json.dumps(smallest)}
            ],
        }
        (overlay / "kustomization.yaml").write_text(json.dumps(told, indent=1))  # JSON is YAML
        self._kubectl("apply", "--kustomize", str(overlay))
        self._kubectl("rollout", "status", f"deployment/{name}", "--timeout", START)
        return self.ports(colour)

    def ports(self, colour: Colour) -> list[int]:
        """See `Platform`. Each pod is reached by a `kubectl port-forward`, which ends with this process."""
        pods = self._pods(colour)
        for name in pods:
            if name not in self._forwards or not self._forwards[name][0].alive:
                self._forwards[name] = self._forward(name)
        return sorted(self._forwards[name][1] for name in pods)

    def retire(self, colour: Colour) -> None:
        self._delete(f"app=users,colour={colour}")

    def switch(self, colour: Colour) -> None:
        """See `Platform`. Applied is what the cluster's endpoints say; its nodes follow within moments."""
        labels = {"spec": {"selector": {"app": "users", "colour": colour}}}
        self._kubectl("patch", "service", "users", "--type", "merge", "--patch", json.dumps(labels))
        deadline = time.monotonic() + PATIENCE
        while self._endpoints() != set(self._pods(colour)):
            if time.monotonic() > deadline:
                raise PlatformError(f"the Service has not the pods of {colour} only, after {PATIENCE:g} s")
            time.sleep(0.2)

    def active(self) -> Colour:
        return self._get("service", "users")["spec"]["selector"].get("colour", "blue")

    def in_flight(self, colour: Colour) -> int:
        """See `Platform`. Unknown; a pod that is deleted answers them first."""
        return 0

    # ── What they are made of ────────────────────────────────────────────────────────────────────────────────────

    def _pods(self, colour: Colour) -> list[str]:
        """The names of those that are ready, and not about to end."""
        return [
            pod["metadata"]["name"]
            for pod in self._get("pods", "--selector", f"app=users,colour={colour}")["items"]
            if "deletionTimestamp" not in pod["metadata"]
            and any(
                (c["type"], c["status"]) == ("Ready", "True") for c in pod["status"].get("conditions", [])
            )
        ]

    def _endpoints(self) -> set[str]:
        """The names of the pods that the Service sends to."""
        slices = self._get("endpointslices", "--selector", "kubernetes.io/service-name=users")["items"]
        return {
            one["targetRef"]["name"]
            for found in slices
            for one in found["endpoints"] or []
            if one["conditions"].get("ready", True)
        }

    def _forward(self, pod: str) -> tuple[Process, int]:
        """A `kubectl port-forward` with its port. It tells that once, and then a line for each connection."""
        process = Process()
        try:
            process.run(["kubectl", "port-forward", "--address", "127.0.0.1", f"pod/{pod}", f":{PORT}"])
            process.wait_until(
                lambda: bool(_port(process)), name=f"A port of the pod {pod}", timeout=PATIENCE
            )
        except ProcessError as error:
            process.stop()
            raise PlatformError(str(error)) from error
        return process, int(_port(process))

    def _delete(self, selector: str) -> None:
        kinds = "deployment,horizontalpodautoscaler,poddisruptionbudget,configmap"
        self._kubectl("delete", kinds, "--selector", selector, "--ignore-not-found", "--cascade=foreground")

    def _get(self, *what: str) -> dict[str, Any]:
        return json.loads(self._kubectl("get", *what, "--output", "json"))

    def _kubectl(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                ["kubectl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
        except FileNotFoundError as error:
            raise PlatformError(
                "there is no command `kubectl`: install it, and point it to a cluster"
            ) from error
        if done.returncode:
            raise PlatformError(f"kubectl {' '.join(arguments[:3])}: {done.stderr.strip()}")
        return done.stdout


def _port(forward: Process) -> str:
    """The port of 127.0.0.1 that a `kubectl port-forward` has told; empty before that."""
    found = re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", forward.output())
    return found[1] if found else ""
