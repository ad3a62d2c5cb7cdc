"""The Compose files and what belongs to them: well formed, with limits and health checks, nothing to read for a stranger, nobody root."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import make_env
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "compose"
FILES = sorted(FOLDER.glob("docker-compose*.yml"))
DOCKERFILES = sorted(FOLDER.rglob("*Dockerfile"))
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|KEY|_CONN|BROKER_URL|RESULT_BACKEND|BASIC_AUTH", re.IGNORECASE)


def services(path: Path) -> dict[str, dict[str, Any]]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))["services"]


def problems(name: str, service: dict[str, Any]) -> list[str]:
    """What is wrong with a service, in words."""
    found = []
    uid = str(service.get("user", "")).partition(":")[0]
    if uid in ("", "0", "root"):
        found.append("runs as root, or as the user that the image names")
    if service.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in service.get("security_opt", []):
        found.append("keeps capabilities")
    if service.get("privileged") or service.get("network_mode") == "host":
        found.append("is not contained")
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    if not {"cpus", "memory", "pids"} <= set(limits):
        found.append("has no limits")
    if "healthcheck" not in service and service.get("restart") != "no":
        found.append("has no health check")
    tag = VARIABLE.sub("x", service["image"]).rpartition("/")[2].partition(":")[2]
    chosen = VARIABLE.fullmatch(service["image"])  # when the file is deployed
    if "build" not in service and not chosen and not re.fullmatch(r"v?\d+\.\d+\S*", tag):
        found.append(f"takes the image {service['image']}, which may be another one tomorrow")
    ports = [str(port) for port in service.get("ports", [])]
    found += [f"publishes {port} beyond loopback" for port in ports if not port.startswith("127.0.0.1:")]
    found += [
        f"has the value of {key} in the file"
        for key, value in (service.get("environment") or {}).items()
        if SECRET.search(key) and not VARIABLE.search(str(value)) and not str(value).startswith("/")
    ]
    return [f"{name} {problem}" for problem in found]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_service_is_contained_limited_and_pinned(path: Path) -> None:
    assert [problem for name, service in services(path).items() for problem in problems(name, service)] == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"user": None}, "runs as root"),
        ({"image": "postgres:latest"}, "another one tomorrow"),
        ({"ports": ["5432:5432"]}, "beyond loopback"),
        ({"environment": {"POSTGRES_PASSWORD": "airflow"}}, "has the value of POSTGRES_PASSWORD"),
    ],
)
def test_what_is_wrong_is_found(change: dict[str, Any], problem: str) -> None:
    service = services(FOLDER / "docker-compose.scale.yml")["postgres"] | change
    service = {key: value for key, value in service.items() if value is not None}
    [found] = problems("postgres", service)
    assert problem in found


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_image_is_not_built_for_root_and_its_base_is_an_argument(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    [*_, user] = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:\d+", user)
    bases = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        assert re.search(r":\d+\.\d+\.\d+", bases[base.strip("${}")])
    assert "--require-hashes" in text or "pip" not in text
    assert not re.search(r"://", "\n".join(line for line in text.splitlines() if not line.startswith("#")))


def test_lib_in_the_image_is_decoded_by_the_release_that_the_lessons_use() -> None:
    """What both environments hold and `lib` imports in a worker must be one release."""
    pin = re.compile(r"^msgspec==(\S+)", re.MULTILINE)
    locks = [ROOT / "requirements.lock", FOLDER / "airflow" / "requirements.lock"]
    ours, theirs = (pin.findall(path.read_text(encoding="utf-8")) for path in locks)
    assert ours == theirs != []


# ── The secrets ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_secrets_that_the_files_demand_are_written_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    for path in [*FILES, FOLDER / "make_env.py"]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    command = [sys.executable, tmp_path / "make_env.py"]
    written = tmp_path / ".env"
    first = subprocess.run(command, capture_output=True, text=True, umask=0)
    text = written.read_text(encoding="utf-8")
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    values = dict(line.split("=", 1) for line in text.splitlines())
    assert set("POSTGRES_PASSWORD BROKER_PASSWORD FERNET_KEY JWT_SECRET ADMIN_PASSWORD".split()) <= set(
        values
    )
    assert set(values) == set(make_env.required(tmp_path)) and len(set(values.values())) == len(values)
    assert all(re.fullmatch(r"[\w-]{43}=", secret) for secret in values.values())
    assert first.returncode == 0 and all(name in first.stdout for name in values)
    assert not any(value in first.stdout for value in values.values())
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode != 0 and "nothing was changed" in second.stderr
    assert written.read_text(encoding="utf-8") == text


def test_secrets_are_not_committed_and_not_built_in() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    built = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ".env" in ignored
    assert "*" in built and "!compose" not in built


def test_no_file_uses_a_secret_by_a_variable_that_may_be_missing() -> None:
    """Each is demanded somewhere in the file that uses it: else Compose takes an empty one, with a warning."""
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        uses = {name for name, _, _ in VARIABLE.findall(text) if SECRET.search(name)}
        assert uses <= {name for name, kind, _ in VARIABLE.findall(text) if kind == "?"}, path.name
