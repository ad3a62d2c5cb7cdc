"""Blue and green as deployments in Kubernetes, driven by `kubectl` in its current context and namespace: `compose/k8s/`.

A Service sends the traffic to the pods with its labels; changing the colour label switches the traffic. A Service routes
connections, not requests: a connection that a client keeps open stays with its pod until the pod ends. So nothing here can
count the requests in progress, or give a colour a share of them. To drain a pod, Kubernetes first takes it out of the Service
for some seconds (`preStop`); then the pod answers the requests it has accepted.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lib.deployment.platform import PATIENCE, AbsentError, PlatformError
from lib.deployment.states import Release
from lib.stage.containers import IMAGE, PORT, ROOT
from lib.stage.ports import run_on_free_port
from lib.stage.processes import Process
from lib.stage.programs import run
from lib.stage.router import Colour
from lib.stage.waiting import wait_for

FILES = ROOT / "compose" / "k8s"
REPOSITORY_VARIABLE = "LESSONS_REPOSITORY"
SECRET = "users-secrets"
START = "120s"  # timeout of a start


class Kubernetes:
    """Two deployments and a Service in a cluster: a `LastingPlatform`."""

    most_replicas = 100

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self._forwards: dict[str, tuple[Process, int]] = {}

    def exists(self) -> bool:
        """See `LastingPlatform`: whether the Service is there."""
        return self._is_there("service", "users")

    def start(self, port: int) -> str:
        """See `LastingPlatform`. The address is inside the cluster; its port is in the manifest."""
        if not self._is_there("secret", SECRET):
            raise PlatformError(
                f"there is no Secret {SECRET}: create it with\n    kubectl create secret generic {SECRET} "
                '--from-literal=database="$(openssl rand -hex 16)" --from-literal=broker="$(openssl rand -hex 16)"'
            )
        self._kubectl("apply", "--kustomize", str(FILES / "shared"))
        self._kubectl("rollout", "status", "statefulset/database", "--timeout", START)
        return "http://users"

    def died(self) -> list[str]:
        """See `LastingPlatform`. The cluster restarts the database itself, and the Service needs no router."""
        ready = self._get("statefulset", "database").get("status", {}).get("readyReplicas", 0)
        return [] if ready else ["database"]

    def down(self) -> None:
        """See `LastingPlatform`. The Secret stays."""
        self._delete("app=users")
        self._kubectl("delete", "--kustomize", str(FILES / "shared"), "--ignore-not-found")
        self._kubectl("delete", "persistentvolumeclaim", "--selector", "app=database", "--ignore-not-found")

    def create(self, colour: Colour, release: Release) -> list[int]:
        """See `Platform`. A release is an image in the repository LESSONS_REPOSITORY, tagged with its name; its tree is not used."""
        name, folder = f"users-{colour}", self.directory / "k8s" / colour
        folder.mkdir(parents=True, exist_ok=True)
        literals = [f"RELEASE={release.name}", f"SCHEMA={release.version}"]
        scaler = {"kind": "HorizontalPodAutoscaler", "name": name}
        smallest = [{"op": "replace", "path": "/spec/minReplicas", "value": release.replicas}]
        repository = os.environ.get(REPOSITORY_VARIABLE, IMAGE)
        overlay = {
            "resources": [os.path.relpath(FILES / colour, folder)],
            "images": [{"name": IMAGE, "newName": repository, "newTag": release.name}],
            "replicas": [{"name": name, "count": release.replicas}],
            "configMapGenerator": [{"name": name, "behavior": "merge", "literals": literals}],
            "patches": [{"target": scaler, "patch": json.dumps(smallest)}],
        }
        (folder / "kustomization.yaml").write_text(json.dumps(overlay, indent=1))  # JSON is YAML
        self._kubectl("apply", "--kustomize", str(folder))
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
        """See `Platform`."""
        self._delete(f"app=users,colour={colour}")

    def switch(self, colour: Colour) -> None:
        """See `Platform`. It waits until the cluster's endpoints have changed; the nodes follow shortly after."""
        labels = {"spec": {"selector": {"app": "users", "colour": colour}}}
        self._kubectl("patch", "service", "users", "--type", "merge", "--patch", json.dumps(labels))
        if not wait_for(lambda: self._endpoints() == set(self._pods(colour)), PATIENCE, pause=0.2):
            raise PlatformError(f"the Service still sends traffic to pods other than those of {colour}")

    def active(self) -> Colour:
        """See `Platform`."""
        if not self.exists():
            raise AbsentError("the cluster has no Service `users`")
        return self._get("service", "users")["spec"]["selector"].get("colour", "blue")

    def in_flight(self, colour: Colour) -> int:
        """See `Platform`. Unknown here; a deleted pod answers its requests first."""
        return 0

    # ── What they are made of ────────────────────────────────────────────────────────────────────────────────────

    def _pods(self, colour: Colour) -> list[str]:
        """Return the names of the pods that are ready and not terminating."""
        names = []
        for pod in self._get("pods", "--selector", f"app=users,colour={colour}")["items"]:
            conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
            if conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]:
                names.append(pod["metadata"]["name"])
        return names

    def _endpoints(self) -> set[str]:
        """Return the names of the pods to which the Service sends traffic."""
        slices = self._get("endpointslices", "--selector", "kubernetes.io/service-name=users")["items"]
        ends = [end for one in slices for end in one["endpoints"] or []]
        return {end["targetRef"]["name"] for end in ends if end["conditions"].get("ready", True)}

    def _forward(self, pod: str) -> tuple[Process, int]:
        """Start a `kubectl port-forward`; return it and its port."""
        process = Process()

        def forward(port: int) -> Process:
            command = ["kubectl", "port-forward", "--address", "127.0.0.1", f"pod/{pod}", f"{port}:{PORT}"]
            return process.run(command)

        with process.stopped_on_failure():
            return process, run_on_free_port(
                forward, lambda _: "Forwarding from" in process.output(), name=f"A port of the pod {pod}"
            )

    def _delete(self, selector: str) -> None:
        kinds = "deployment,horizontalpodautoscaler,poddisruptionbudget,configmap"
        self._kubectl("delete", kinds, "--selector", selector, "--ignore-not-found", "--cascade=foreground")

    def _is_there(self, kind: str, name: str) -> bool:
        return bool(self._kubectl("get", kind, name, "--ignore-not-found", "--output", "name"))

    def _get(self, *what: str) -> dict[str, Any]:
        return json.loads(self._kubectl("get", *what, "--output", "json"))

    def _kubectl(self, *arguments: str) -> str:
        return run("kubectl", *arguments, remedy="install it, and point it to a cluster")
