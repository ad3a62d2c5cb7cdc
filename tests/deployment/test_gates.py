"""Each gate lets pass what is good, and refuses what is not, with the reason."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from lib.deployment.gates import Gate, health_gate, schema_gate, slo_gate, smoke_gate
from lib.deployment.platforms.local import Local
from lib.deployment.replicas import call
from lib.deployment.states import Release
from lib.stage.ports import free_port
from lib.stage.servers import Server
from lib.versioning import USERS, DataVersionManager, Field, Schema, SchemaHistory, UnknownVersionError
from lib.versioning.bulk import Report
from lib.versioning.operations import AddField, ConvertField, DropField, RenameField, SplitField

FIRST = Schema(
    Field("id", "string"),
    Field("name", "string", length=255),
    Field("phone", "string", nullable=True, length=50),
    Field("age", "integer", nullable=True),
    Field("points", "integer"),
    Field("note", "string", nullable=True, default=None),
    Field("joined", "timestamp"),
)
RECORD = dict(zip(FIRST.names, ("1", "7", "+34 600", None, 1, "n", "2024-01-01"), strict=True))
BACKWARD, FORWARD = "backward, green reads blue", "forward, blue reads green"
#: A change; and the directions in which the gate refuses it, at once, and in its expand phase.
CHANGES: dict[str, tuple[list[object], set[str], set[str]]] = {
    "add an optional field": ([AddField("email", "string", nullable=True)], set(), set()),
    "add a field with a default": ([AddField("level", "integer", default=1)], set(), set()),
    "drop a field with a default": ([DropField("note")], set(), set()),
    "drop a required field": ([DropField("points", default=0)], {FORWARD}, set()),
    "rename": ([RenameField("name", "full_name")], {FORWARD}, set()),
    "split": ([SplitField("phone", ("code", "number"), " ")], {BACKWARD, FORWARD}, {BACKWARD}),
    "integer to float": ([ConvertField("points", "float")], {FORWARD}, {FORWARD}),
    "string to integer": ([ConvertField("name", "integer")], {BACKWARD, FORWARD}, {BACKWARD, FORWARD}),
    "rename, and another field of the old name": (
        [RenameField("name", "full_name"), AddField("name", "string", default="")],
        {FORWARD},
        {FORWARD},
    ),
    "drop and add": ([DropField("note"), AddField("remark", "string", nullable=True)], set(), set()),
}


def directions(gate: Gate) -> set[str]:
    return {reason.partition(":")[0] for reason in gate.reasons}


@pytest.mark.parametrize("name", CHANGES)
def test_the_schema_gate_judges_a_change_in_both_directions_and_by_phase(name: str) -> None:
    operations, at_once, in_expand = CHANGES[name]
    history = SchemaHistory("things", first=FIRST, steps={2: operations})  # type: ignore[dict-item]
    blue = Release("v", 1)
    assert directions(schema_gate(history, blue, Release("v", 2))) == at_once
    assert directions(schema_gate(history, blue, Release("v", 2, "contract"))) == at_once
    assert directions(schema_gate(history, blue, Release("v", 2, "expand"))) == in_expand
    assert schema_gate(history, Release("v", 2, "expand"), Release("v", 2, "contract")).passed
    # The gate's word against a real record, upgraded and read back by field.
    written = DataVersionManager(history).upgrade_data(RECORD, 2, Report())
    known = {field.name: written.get(field.name, field.default) for field in FIRST}
    by_old_code = DataVersionManager(SchemaHistory("things", first=FIRST)).validate_schema(known)["valid"]
    same = by_old_code and all(known[name] == RECORD[name] for name in known if name in written)
    assert same or FORWARD in at_once


def test_the_users_pass_step_by_step_and_at_once_and_go_back() -> None:
    for blue, green in ((1, 2), (2, 3), (1, 3), (3, 3)):
        assert schema_gate(USERS, Release("v", blue), Release("v", green)).passed
    back = schema_gate(USERS, Release("v", 3), Release("v", 1))
    assert back.passed, "version 1 ignores what version 3 added, and its records can be upgraded"
    with pytest.raises(UnknownVersionError):
        schema_gate(USERS, Release("v", 3), Release("v", 4))


def test_evidence_counts_where_a_migration_may_fail() -> None:
    history = SchemaHistory("things", first=FIRST, steps={2: [SplitField("phone", ("code", "number"), " ")]})
    blue, green = Release("v", 1), Release("v", 2, "expand")
    refused = schema_gate(history, blue, green)
    assert "phone: no separator to split at; pass `evidence`" in refused.reasons[0]
    assert schema_gate(history, blue, green, evidence=Report(read=10, passed=10)).passed
    assert not schema_gate(history, blue, green, evidence=Report(read=10, passed=9, quarantined=1)).passed
    assert not schema_gate(history, blue, green, evidence=Report()).passed, "no record is no evidence"


@pytest.mark.parametrize(
    ("answers", "passed"),
    [([1, 1, 1], True), ([1, 1, 0, 1, 1, 1], True), ([0] * 4 + [1] * 3, True), ([1, 1] + [0] * 5, False)],
)
def test_the_health_gate_forgives_one_bad_probe_and_not_five(answers: list[int], passed: bool) -> None:
    left = iter(answers)
    gate = health_gate(lambda: bool(next(left)), interval=0.0)
    assert gate.passed == passed and not list(left), "no probe too many"
    assert passed or "not ready 5 times in a row" in str(gate)


def test_the_smoke_gate_finds_faults_and_leaves_nothing(new_database: Callable[[], Server]) -> None:
    user = {"name": "Ana", "created_at": "2024-01-01"}
    with Local(new_database().url, faults=True) as platform:
        [port] = platform.create("blue", Release("v1.0.0", 1))
        assert str(smoke_gate(port, user)) == "smoke tests: passed"
        assert call(port, "/users") == (200, [])
        assert "create: status 422" in smoke_gate(port, {"name": None}).reasons[0]
        platform.replicas["blue"][0].fault("wrong schema")
        [reason] = smoke_gate(port, user).reasons
        assert reason.startswith("read back: status 200")
    assert "no answer: " in smoke_gate(free_port(), user).reasons[0]


def test_the_slo_gate_counts_failures_and_the_slow() -> None:
    good = pd.DataFrame({"outcome": ["ok"] * 1000, "latency": [0.01] * 1000})
    assert slo_gate(good).passed and not slo_gate(good.head(99)).passed
    one, two = good.copy(), good.copy()
    one.loc[:0, "outcome"], two.loc[:1, "outcome"] = "5xx", "reset"
    assert slo_gate(one).passed
    assert slo_gate(two).reasons == ("0.20% failed, allowed: 0.10% ({'reset': 2})",)
    slow = good.assign(latency=[0.6] * 20 + [0.01] * 980)
    assert slo_gate(slow).reasons == ("p99 latency 0.600 s, allowed: 0.5 s",)
    assert slo_gate(slow, p99_s=1.0).passed
