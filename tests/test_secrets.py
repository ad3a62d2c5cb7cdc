"""No file that is committed holds a secret, nobody in a container is root, and what is published is published on loopback."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from traces import files_of

ROOT = Path(__file__).resolve().parents[1]
SECRETS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a key of a cloud": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{35}\b",
    "a token": r"\b(gh[pousr]_\w{36}|github_pat_\w{22,}|glpat-[\w-]{20}|xox[abpr]-[\w-]{10,}|sk-[A-Za-z0-9]{32,})",
    "a web token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    # These three stand in explanations and in tests, where nothing is protected by them.
    "a password in an address": r"\b[a-z][a-z+]*://[^\s/:@'\"{}$<>%*]*:(?!(hidden|password|secret)@)[^\s/:@'\"{}$<>%]{4,}@",
    "a password": r"(?i)\w*(password|passwd|secret_key|api_?key|access_?key|token)\w*['\"]?\s*[:=]\s*['\"]"
    r"(?=[^'\"]*\d)[\w+/=-]{16,}['\"]",
}
TEXTS = {"", *".py .md .yml .yaml .toml .cfg .json .ipynb .sh .in .txt .csv .conf".split()}


def secrets(text: str) -> Iterator[tuple[str, int]]:
    """What looks like a secret, with its line."""
    for what, pattern in SECRETS.items():
        for found in re.finditer(pattern, text):
            yield what, text.count("\n", 0, found.start()) + 1


def test_no_file_holds_a_secret() -> None:
    found, read = [], 0
    for path in files_of(ROOT):
        # Pictures in notebooks are base64.
        if path.suffix in TEXTS and path != Path(__file__):
            text = re.sub(r'"image/png": "[^"]*"', "", path.read_text(encoding="utf-8"))
            found += [f"{path.relative_to(ROOT)}:{line}: {what}" for what, line in secrets(text)]
            read += 1
    assert found == [] and read > 150
    assert not {path.name for path in files_of(ROOT)} & {".env", ".netrc", ".pypirc", "id_rsa", "id_ed25519"}


def test_a_secret_is_found_and_where_one_is_put_is_none() -> None:
    made_up = {
        "-----BEGIN " + "RSA PRIVATE KEY-----": "a private key",
        "id: AKIA" + "ABCDEFGHIJKLMNOP": "a key of a cloud",
        "ghp_" + "a1" * 18: "a token",
        "eyJ" + "a" * 20 + ".eyJ" + "b" * 20 + "." + "c" * 20: "a web token",
        "postgresql://airflow:" + "airflow@host/db": "a password in an address",
        "ADMIN_PASSWORD = '" + "k3vn29dkw0s8xm1q'": "a password",
        '"api_key": "' + '0123456789abcdef0123"': "a password",
    }
    innocent = [
        "POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?run make_env.py}",
        "redis://:${BROKER_PASSWORD:?}@broker:6379/0",
        'f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"',
        "password = secrets.token_hex(16)",
    ]
    found = [(what, line) for line, what in enumerate(made_up.values(), start=1)]
    assert list(secrets("\n".join([*made_up, *innocent]))) == found


# ── What runs in containers without a file of its own in tests/compose ────────────────────────────────────────────


def test_nobody_in_the_stack_is_root_and_only_the_router_is_published() -> None:
    """The image of the service and its workers ends with USER 10001. Swarm can't bind to loopback; the file says whose task that is."""
    stack = yaml.safe_load((ROOT / "compose" / "docker-stack.yml").read_text(encoding="utf-8"))["services"]
    ours = {name for name, service in stack.items() if service["image"].startswith("${IMAGE")}
    assert ours == {"users", "worker"}
    users = [service["user"] for name, service in stack.items() if name not in ours]
    assert not any(user.partition(":")[0] in ("0", "root", "") for user in users)
    assert all(service["cap_drop"] == ["ALL"] and service["read_only"] for service in stack.values())
    assert {name for name, service in stack.items() if "ports" in service} == {"router"}
    assert [port["mode"] for port in stack["router"]["ports"]] == ["host"]


def test_kubernetes_publishes_nothing_outside_of_the_cluster() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "compose" / "k8s").rglob("*.yaml"))
    assert "kind: Service" in text
    assert not re.search(r"hostPort|hostNetwork|NodePort|LoadBalancer|kind: Ingress|externalIPs", text)


def test_nothing_listens_on_all_addresses_but_in_a_container() -> None:
    """There the address is that of the container; the file that starts it publishes it on loopback."""
    paths = [path for path in files_of(ROOT) if path.suffix in (".py", ".sh", ".yml", ".yaml", ".cfg", "")]
    named = {path.relative_to(ROOT) for path in paths if "0.0.0.0" in path.read_text(encoding="utf-8")}
    names = "docker-stack.yml k8s/workers/broker.yaml service/Dockerfile".split()
    compose = {Path("compose", name) for name in names}
    assert {path for path in named if path.parts[0] != "tests"} == compose | {Path("lib/stage/servers.py")}
