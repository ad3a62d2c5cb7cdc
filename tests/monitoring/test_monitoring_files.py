"""The files of monitoring fit together: what is mounted is there, what is scraped has a name, what a panel asks has a source."""

from __future__ import annotations

import json
from typing import Any

import yaml
from queries import MONITORING, groups


def parsed(name: str) -> dict[str, Any]:
    """A YAML file of compose/monitoring."""
    return yaml.safe_load((MONITORING / name).read_text(encoding="utf-8"))


def test_what_is_mounted_is_there() -> None:
    services = parsed("../docker-compose.monitoring.yml")["services"]
    mounts = [mount.split(":") for service in services.values() for mount in service.get("volumes", [])]
    files = {inside: MONITORING.parent / outside for outside, inside, *_ in mounts if outside.startswith(".")}
    assert len(files) == 5 and all(path.exists() for path in files.values())
    [provider] = parsed("grafana/provisioning/dashboards/files.yml")["providers"]
    assert files[provider["options"]["path"]] == MONITORING / "grafana" / "dashboards"
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (files[home.rpartition("/")[0]] / home.rpartition("/")[2]).exists()


def test_each_panel_asks_the_provisioned_source_and_says_what_it_shows() -> None:
    [source] = parsed("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    config = parsed("prometheus.yml")
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]
    for path in (MONITORING / "grafana" / "dashboards").glob("*.json"):
        panels = json.loads(path.read_text(encoding="utf-8"))["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels) > 10
        for panel in panels:
            if panel["type"] != "row":
                assert panel["datasource"]["uid"] == source["uid"]
                assert panel["description"] and panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
                asked = [target["expr"] for target in panel["targets"]]
                assert asked and not any("avg" in one for one in asked), "averages percentiles?"


def test_a_rule_reads_only_recordings_of_its_own_group_which_are_computed_before_it() -> None:
    recorded = {rule["record"] for rules in groups() for rule in rules if "record" in rule}
    read = 0
    for rules in groups():
        before: set[str] = set()
        for rule in rules:
            wanted = {name for name in recorded if name in rule["expr"]}
            assert wanted <= before, (rule, wanted - before)
            read += len(wanted)
            before |= {rule["record"]} if "record" in rule else set()
    assert read > 8, "the alerts are built on recordings"
