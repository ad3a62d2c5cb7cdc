"""What the rules and the dashboard of compose/monitoring ask for, read by a parser of PromQL."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import promql_parser
import yaml

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "compose" / "monitoring"
#: A series, by its labels; its name is one of them.
Series = dict[str, str]
COMPARE: dict[str, Callable[[str, str], bool]] = {
    "MatchOp.Equal": lambda pattern, value: pattern == value,
    "MatchOp.NotEqual": lambda pattern, value: pattern != value,
    "MatchOp.Re": lambda pattern, value: re.fullmatch(pattern, value) is not None,
    "MatchOp.NotRe": lambda pattern, value: re.fullmatch(pattern, value) is None,
}


@dataclass(frozen=True)
class Query:
    """An expression, and where it stands; what a recording rule makes of it, if it is one."""

    place: str
    expression: str
    record: str = ""
    labels: dict[str, str] = field(default_factory=dict)


def groups() -> list[list[dict[str, Any]]]:
    """The rules of each group."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((MONITORING / "rules").glob("*.yml"))]
    return [group["rules"] for text in texts for group in yaml.safe_load(text)["groups"]]


def rules() -> Iterator[Query]:
    for rule in itertools.chain(*groups()):
        record = rule.get("record", "")
        yield Query(record or rule["alert"], rule["expr"], record, rule.get("labels", {}))


def panels() -> Iterator[Query]:
    for path in sorted((MONITORING / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"].replace("$__rate_interval", "1m")
                yield Query(f"{path.name}: {panel['title']}", expression)


def nodes(tree: Any, kind: type) -> list[Any]:
    """All parts of an expression that are of a kind, itself included."""
    found: list[Any] = []
    promql_parser.walk(tree, pre_visit=found.append)
    return [node for node in found if isinstance(node, kind)]


def selectors(tree: Any) -> list[Any]:
    """The selectors of series: of one value each, or of those in a window."""
    return nodes(tree, promql_parser.VectorSelector)


def grouped(tree: Any) -> list[tuple[Any, list[str]]]:
    """The aggregations in an expression, and the labels by which each groups."""
    found = nodes(tree, promql_parser.AggregateExpr)
    return [(node, node.modifier.labels) for node in found if node.modifier]


def selects(selector: Any, series: Series) -> bool:
    """Whether a selector selects a series."""
    return selector.name == series["__name__"] and all(
        COMPARE[str(one.op)](one.value, series.get(one.name, "")) for one in selector.matchers.matchers
    )


def recorded(query: Query) -> Series:
    """The series that a recording rule makes: its own labels, and those by which its expression groups."""
    labels = [label for _, labels in grouped(promql_parser.parse(query.expression)) for label in labels]
    return {"__name__": query.record} | dict.fromkeys(labels, "any") | query.labels


def problems(query: Query, series: list[Series]) -> list[str]:
    """What a query asks for in vain: series that nobody has, labels that they don't have."""
    tree = promql_parser.parse(query.expression)
    vain = [selector for selector in selectors(tree) if not any(selects(selector, one) for one in series)]
    found = [f"{query.place}: nothing is selected by {selector}" for selector in vain]
    for node, labels in grouped(tree):
        known = {label for one in series for part in selectors(node) if selects(part, one) for label in one}
        found += [f"{query.place}: nothing has a label {label!r}" for label in labels if label not in known]
    return found
