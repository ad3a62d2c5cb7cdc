"""`make airflow` runs what the Compose file describes: the same settings, with the addresses of this machine."""

from __future__ import annotations

import re
from pathlib import Path

import native_airflow
import yaml

ROOT = Path(__file__).resolve().parents[2]
DATABASE = "://postgres:secret@127.0.0.1:15001/postgres"


def settings() -> dict[str, str]:
    return native_airflow.settings(Path("home"), 15000, DATABASE, "redis://:secret@127.0.0.1:15002/0")


def test_every_setting_of_the_stack_has_a_value_and_every_address_is_of_this_machine() -> None:
    ours = settings()
    text = (ROOT / "compose" / "docker-compose.scale.yml").read_text(encoding="utf-8")
    theirs = yaml.safe_load(text)["x-environment"]
    assert set(theirs) <= set(ours)
    assert [name for name, value in ours.items() if "${" in value or not value] == []
    hosts = {
        name: re.findall(r"//(?:[^@/]*@)?([\w.-]+)", value)
        for name, value in ours.items()
        if name.startswith("AIRFLOW__")
    }
    assert sum(map(len, hosts.values())) == 4  # database, twice; broker; API server
    assert {host for found in hosts.values() for host in found} == {"127.0.0.1"}


def test_secrets_are_new_each_time() -> None:
    first, second = settings(), settings()
    names = [name for name in first if first[name] != second[name]]
    assert names == ["AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__CORE__FERNET_KEY"]
