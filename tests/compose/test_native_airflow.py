"""`make airflow` runs what the Compose file describes: the same settings, with the addresses of this machine."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from lib.stage import native_airflow

DATABASE = "://postgres:secret@127.0.0.1:15001/postgres"


def test_every_setting_has_a_value_every_address_is_of_this_machine_and_secrets_are_new_each_time() -> None:
    arguments = Path("home"), 15000, DATABASE, "redis://:secret@127.0.0.1:15002/0"
    ours, others = native_airflow.settings(*arguments), native_airflow.settings(*arguments)
    text = (native_airflow.COMPOSE / "docker-compose.scale.yml").read_text(encoding="utf-8")
    theirs = yaml.safe_load(text)["x-environment"]
    assert set(theirs) <= set(ours)
    assert [name for name, value in ours.items() if "${" in value or not value] == []
    addresses = "\n".join(value for name, value in ours.items() if name.startswith("AIRFLOW__"))
    hosts = re.findall(r"//(?:[^@/\n]*@)?([\w.-]+)", addresses)
    assert hosts == ["127.0.0.1"] * 4  # database, twice; broker; API server
    new = [name for name in ours if ours[name] != others[name]]
    assert new == ["AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__CORE__FERNET_KEY"]
