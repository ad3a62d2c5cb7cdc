"""Run a migration on a live table: phase by phase, one runner at a time, in batches that go on where they were killed.

The table `schema_versions` in the same database tells, for each table, the version that it is at, the version that it is
on the way to and the last phase done, and how far the backfill came.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from lib.versioning.history import SchemaHistory
from lib.versioning.sessions import LockedError, Session, session
from lib.versioning.sql import (
    PHASES,
    Phase,
    Plan,
    contract,
    contract_undo,
    expand,
    losses,
    migration_plan,
    unfilled,
    unfinished,
    update,
)

__all__ = ["LockedError", "MigrationError", "MigrationResult", "PhaseResult", "run_migration"]

STATE_TABLE = "schema_versions"
Progress = Callable[[Phase, int, int], None]


class MigrationError(RuntimeError):
    """A migration can't be done, or not now; the message says why, and what to do. Nothing was lost."""


@dataclass(frozen=True)
class PhaseResult:
    """What a phase did, or with `dry_run` would do.

    `rows` were filled, in `batches`. `lost` counts, by dropped column, the values that going back would not restore.
    """

    phase: Phase
    statements: tuple[str, ...] = ()
    rows: int = 0
    batches: int = 0
    lost: dict[str, int] | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class MigrationResult:
    """What `run_migration` did, one result a phase; none where nothing was left to do."""

    table: str
    from_version: int
    to_version: int
    dry_run: bool
    phases: tuple[PhaseResult, ...]


class State(NamedTuple):
    """A row of the table of versions. `phase` is the last one done on the way to `target`."""

    version: int
    target: int | None = None
    phase: str | None = None
    position: str | None = None
    runner: str | None = None


@dataclass(frozen=True)
class Run:
    """All that the phases need to know. `undone` is the unfinished migration that this one gives up, if it does."""

    session: Session
    history: SchemaHistory
    plan: Plan
    key: str
    batch_size: int
    progress: Progress | None
    undone: Plan | None = None

    @property
    def table(self) -> str:
        return self.session.dialect.quote(self.plan.table)

    @property
    def key_column(self) -> str:
        return self.session.dialect.column(self.plan.table, self.key)


def run_migration(
    database: Any,
    history: SchemaHistory,
    from_version: int,
    to_version: int,
    *,
    phase: Phase | None = None,
    batch_size: int = 5000,
    dry_run: bool = False,
    progress: Progress | None = None,
    key: str = "id",
    wait: float = 10.0,
    lock_timeout: float = 2.0,
) -> MigrationResult:
    """Take the table of a history from one version to another, forward or back, while others read and write it.

    database: an Engine of SQLAlchemy for SQLite or PostgreSQL (psycopg), or a connection of DuckDB.
    phase: "expand", "backfill" or "contract", in this order; None does the first two. Only "contract" drops anything.
    From expand to contract the application writes both forms. Until contract there is a way back: the same versions in
    the other order and `phase="contract"` drop what was added.
    key: a unique column that no migration changes, for batches of `batch_size` rows. progress: called with the phase,
    the rows passed and the rows there are. wait: seconds to wait for another runner. lock_timeout: seconds that
    PostgreSQL waits for a lock, while others queue behind, before it makes way and tries again.
    Running a phase again fills what came in since. Raises UnknownVersionError, SqlError, LockedError, MigrationError.
    """
    if phase not in (None, *PHASES):
        raise MigrationError(
            f"phase {phase!r}: choose one of {', '.join(PHASES)}, or None for expand and backfill"
        )
    with session(database, lock_timeout) as opened:
        plan = migration_plan(history, from_version, to_version, opened.dialect.name)
        run = Run(opened, history, plan, key, batch_size, progress)
        phases: tuple[Phase, ...] = (phase,) if phase else ("expand", "backfill")
        if dry_run:
            results = _each(run, phases, dry=True)
        else:
            with opened.lock(history.name, wait, lambda: _state(run).runner or "it tells no name yet"):
                results = _each(run, phases, dry=False)
        return MigrationResult(history.name, from_version, to_version, dry_run, tuple(results))


def _each(run: Run, phases: Iterable[Phase], *, dry: bool) -> list[PhaseResult]:
    state = _state(run)
    if state.version == run.plan.to_version and state.target is None:
        return []  # done, by an earlier run
    _check_table(run, state)
    run = _on_the_way(run, state)
    if not dry:
        _begin(run)
    results: list[PhaseResult] = []
    try:
        for phase in phases:
            state = _in_turn(run, state if dry else _state(run), phase)
            started = time.monotonic()
            step = {"expand": _expand, "backfill": _backfill, "contract": _contract}[phase]
            result = PhaseResult(phase) if run.undone and phase != "contract" else step(run, state, dry)
            results.append(replace(result, seconds=time.monotonic() - started))
            state = state._replace(target=run.plan.to_version, phase=phase)
    finally:
        if not dry:
            run.session.transact([_set(run, runner=None)])
    return results


# ── The table of versions ────────────────────────────────────────────────────────────────────────────────────────


def _this(run: Run) -> str:
    return f"table_name = {run.session.dialect.literal(run.plan.table)}"


def _state(run: Run) -> State:
    if not run.session.columns(STATE_TABLE):
        return State(run.plan.from_version)
    found = run.session.rows(f"SELECT {', '.join(State._fields)} FROM {STATE_TABLE} WHERE {_this(run)}")
    return State(*found[0]) if found else State(run.plan.from_version)


def _begin(run: Run) -> None:
    """Make the table and the row, if they are not there, and sign in."""
    literal = run.session.dialect.literal
    runner = f"process {os.getpid()} on {platform.node()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    columns = "version INTEGER NOT NULL, target INTEGER, phase TEXT, position TEXT, runner TEXT"
    run.session.transact(
        [
            f"CREATE TABLE IF NOT EXISTS {STATE_TABLE} (table_name TEXT PRIMARY KEY, {columns})",
            f"INSERT INTO {STATE_TABLE} (table_name, version) VALUES "
            f"({literal(run.plan.table)}, {run.plan.from_version}) ON CONFLICT DO NOTHING",
            f"UPDATE {STATE_TABLE} SET runner = {literal(runner)} WHERE {_this(run)}",
        ]
    )


def _set(run: Run, **values: Any) -> str:
    sets = ", ".join(f"{name} = {run.session.dialect.literal(value)}" for name, value in values.items())
    return f"UPDATE {STATE_TABLE} SET {sets} WHERE {_this(run)}"


def _check_table(run: Run, state: State) -> None:
    """Refuse a table that is not what the history says, and a key that does not stay."""
    plan, there = run.plan, _columns(run)
    if not there:
        raise MigrationError(f"{plan.table}: there is no such table in this database")
    if _fold(run, run.key) not in there or run.key in plan.dropped:
        raise MigrationError(
            f"{plan.table}.{run.key}: give as key=… a unique column that the migration leaves as it is"
        )
    names = run.history.schema(state.version).names
    if missing := [name for name in names if _fold(run, name) not in there]:
        raise MigrationError(
            f"{plan.table} is not at version {state.version}: it has no {', '.join(missing)}"
        )


def _columns(run: Run) -> set[str]:
    return {_fold(run, name) for name in run.session.columns(run.plan.table)}


def _fold(run: Run, name: str) -> str:
    return name if run.session.dialect.name == "postgresql" else name.lower()


def _on_the_way(run: Run, state: State) -> Run:
    """Refuse what does not fit to where the table is. The way back from an unfinished migration only drops."""
    table, start, end = run.plan.table, run.plan.from_version, run.plan.to_version
    if (state.version, state.target) == (
        end,
        start,
    ):  # the old columns are all there, since both forms were written
        undone = migration_plan(run.history, end, start, run.session.dialect.name)
        plan = replace(run.plan, added=(), dropped=tuple(a.column for a in undone.added), checks=())
        return replace(run, plan=plan, undone=undone)
    if state.version != start:
        raise MigrationError(f"{table} is at version {state.version}, not {start}")
    if state.target not in (None, end):
        raise MigrationError(
            f"{table} is on the way to version {state.target}: finish that with phase='contract', or give it up "
            f"by a migration from {state.target} to {state.version} with phase='contract'"
        )
    return run


def _in_turn(run: Run, state: State, phase: Phase) -> State:
    if not run.undone and PHASES.index(phase) > (following := _done(state) + 1):
        raise MigrationError(f"{run.plan.table}: before phase {phase!r} comes {PHASES[following]!r}")
    return state


def _done(state: State) -> int:
    return [None, *PHASES].index(state.phase) - 1  # type: ignore[arg-type]


def _finished(run: Run) -> str:
    return _set(run, version=run.plan.to_version, target=None, phase=None, position=None)


# ── The phases ───────────────────────────────────────────────────────────────────────────────────────────────────


def _expand(run: Run, state: State, dry: bool) -> PhaseResult:
    there = _columns(run)
    statements = expand(run.plan, [a for a in run.plan.added if _fold(run, a.column) not in there])
    if not dry:
        phase = PHASES[max(_done(state), 0)]
        run.session.transact([*statements, _set(run, target=run.plan.to_version, phase=phase)])
    return PhaseResult("expand", tuple(statements))


def _backfill(run: Run, state: State, dry: bool) -> PhaseResult:
    _check_values(run)
    statement = update(run.plan, run.plan.added)
    statements = (statement,) if statement else ()
    if dry:
        return PhaseResult("backfill", statements, _to_fill(run))
    start = json.loads(state.position) if state.position else None
    rows, batches = _fill(run, "backfill", start)
    left = unfinished(run.plan) or run.plan.dropped
    run.session.transact([_set(run, phase="backfill", position=None) if left else _finished(run)])
    return PhaseResult("backfill", statements, rows, batches)


def _contract(run: Run, state: State, dry: bool) -> PhaseResult:
    plan, session = run.plan, run.session
    _check_values(run)
    parts = contract(plan) or [[]]
    statements = tuple(statement for part in parts for statement in part)
    rows, batches = (_to_fill(run), 0) if dry else _fill(run, "contract", None)
    lost = {name: count for name, rows_lost in _losses(run).items() if (count := _count(run, rows_lost))}
    if dry:
        return PhaseResult("contract", statements, rows, 0, lost)
    for column, filled in unfinished(plan).items():
        if left := _count(run, f"NOT ({filled})"):
            raise MigrationError(
                f"{plan.table}.{column}: null, but required (rows: {left}): give them a value and run this again"
            )
    parts[-1].append(_finished(run))
    try:
        for part in parts:
            session.transact(part)
    except BaseException:
        if session.dialect.name == "postgresql":
            session.transact(contract_undo(plan))
        raise
    return PhaseResult("contract", statements, rows, batches, lost)


def _check_values(run: Run) -> None:
    """Raise MigrationError if any value can't be converted."""
    found = [(count, reason) for where, reason in run.plan.checks if (count := _count(run, where))]
    if found:
        told = "; ".join(f"{reason} (rows: {count})" for count, reason in found)
        raise MigrationError(f"{told}: this phase changed nothing; mend the rows and run it again")


def _count(run: Run, where: str) -> int:
    return run.session.value(f"SELECT count(*) FROM {run.table} WHERE {where}")


def _to_fill(run: Run) -> int:
    """Count the rows that a backfill would fill now."""
    there = _columns(run)
    wheres = [
        unfilled(run.plan, a) if _fold(run, a.column) in there else f"{a.value.sql} IS NOT NULL"
        for a in run.plan.added
        if a.fill is not None
    ]
    return _count(run, " OR ".join(f"({where})" for where in wheres)) if wheres else 0


def _losses(run: Run) -> dict[str, str]:
    plan = run.plan
    stay = {name: name for name in run.history.schema(plan.to_version).names}
    stay |= {a.field.name: a.column for a in plan.added}
    go = {a.field.name: a.column for a in run.undone.added} if run.undone else {n: n for n in plan.dropped}
    return losses(run.history, (plan.from_version, plan.to_version), plan.dialect, stay, go)


def _fill(run: Run, phase: Phase, low: Any) -> tuple[int, int]:
    """Fill what is NULL, from key to key, each batch a transaction; return the numbers of rows filled and of batches.

    Rows that come in behind the position have both forms, or are found by the contract. A batch waits for nobody's
    rows but its own, and PostgreSQL looks at a row again once it has it: what a live writer filled is kept.
    """
    if update(run.plan, run.plan.added) is None:
        return 0, 0
    key, session, rows, batches = run.key_column, run.session, 0, 0
    total = _count(run, "TRUE")
    passed = 0 if low is None else total - _count(run, f"{key} > {_key_literal(run, low)}")
    while True:
        above = [] if low is None else [f"{key} > {_key_literal(run, low)}"]
        where = f"WHERE {above[0]}" if above else ""
        high = session.value(
            f"SELECT {key} FROM {run.table} {where} ORDER BY {key} LIMIT 1 OFFSET {run.batch_size - 1}"
        )
        within = " AND ".join(above + ([] if high is None else [f"{key} <= {_key_literal(run, high)}"]))
        statements = [update(run.plan, run.plan.added, within=within) or ""]
        if phase == "backfill":
            statements.append(_set(run, position=None if high is None else json.dumps(high, default=str)))
        rows += session.transact(statements)[0]
        batches, passed = batches + 1, passed + run.batch_size
        if run.progress:
            run.progress(phase, total if high is None else min(passed, total), total)
        if high is None:
            return rows, batches
        low = high


def _key_literal(run: Run, value: Any) -> str:
    if isinstance(value, bytes | float):
        raise MigrationError(f"{run.plan.table}.{run.key}: a key is an integer, a string or a UUID")
    return run.session.dialect.literal(value if isinstance(value, int | str) else str(value))
