"""Run a migration on a live table: phase by phase, one runner at a time, in batches that resume after a kill.

The table `schema_versions` in the same database stores, for each table, its version, the target of an unfinished migration with
the last completed phase, and the position of the backfill.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from lib.versioning.history import SchemaHistory
from lib.versioning.plan import Plan, losses, migration_plan
from lib.versioning.preflight import obstacles
from lib.versioning.sessions import LockedError, MigrationError, Session, session
from lib.versioning.sql import PHASES, Phase, check_phase, contract, expand, undo_contract, update

__all__ = ["LockedError", "MigrationError", "PhaseResult", "run_migration"]

STATE_TABLE = "schema_versions"


@dataclass(frozen=True)
class PhaseResult:
    """The result of a phase.

    `rows` were filled, in `batches`. `lost` counts, by dropped field, the values that the opposite migration would not restore.
    """

    phase: Phase
    rows: int = 0
    batches: int = 0
    lost: dict[str, int] | None = None


class State(NamedTuple):
    """A row of the table of versions: `phase` is the last one completed towards `target`, `position` a key as SQL."""

    version: int
    target: int | None = None
    phase: Phase | None = None
    position: str | None = None


@dataclass(frozen=True)
class Run:
    """Everything that the phases need. `undone` is the unfinished migration that this one abandons, if any."""

    session: Session
    plan: Plan
    key: str
    batch_size: int
    discard: Collection[str] = ()
    undone: Plan | None = None


def run_migration(
    engine: Any,
    history: SchemaHistory,
    from_version: int,
    to_version: int,
    *,
    phase: Phase | None = None,
    batch_size: int = 5000,
    key: str = "id",
    wait: float = 10.0,
    lock_timeout: float = 2.0,
    discard: Collection[str] = (),
    dry_run: bool = False,
) -> tuple[PhaseResult, ...]:
    """Migrate the table of a history from one version to another, forward or back, while others read and write it.

    engine: an Engine of SQLAlchemy for SQLite or PostgreSQL (psycopg).
    phase: "expand", "backfill" or "contract", in this order; None runs the first two. Only "contract" drops anything.
    dry_run: only check for obstacles, and return nothing.
    discard: the fields whose values contract may lose. If other values would be lost, it refuses and reports their number.
    key: a unique column that the migration does not change, for batches of `batch_size` rows.
    wait: seconds to wait for another runner.
    lock_timeout: seconds that PostgreSQL waits for a lock, while others queue behind it, before it gives up and retries.

    From expand to contract the application writes both forms. Until contract you can go back: swap the two versions and use
    `phase="contract"`, which drops the added columns.

    Each phase first checks for everything that prevents it or a later phase; if there is anything, the error lists all of it,
    and the phase changes nothing. A repeated phase fills the rows that have arrived in the meantime.

    Returns the result of each phase; an empty list if all was done before. Raises UnknownVersionError, SqlError, LockedError,
    MigrationError.
    """
    check_phase(phase)
    results: list[PhaseResult] = []
    with session(engine, history.name, wait, lock_timeout) as opened:
        plan = migration_plan(history, from_version, to_version, opened.dialect.name)
        for next_phase in (phase,) if phase else PHASES[:2]:
            run = Run(opened, plan, key, batch_size, discard)
            state = _state(run)
            if (state.version, state.target) == (to_version, None):
                break  # all was done before
            run = _on_the_way(run, state)
            _look_ahead(run, state, next_phase)
            if dry_run:
                break
            results.append(_do(run, state, next_phase))
    return tuple(results)


def _do(run: Run, state: State, phase: Phase) -> PhaseResult:
    _sign_in(run)
    if run.undone and phase != "contract":
        return PhaseResult(phase)
    return {"expand": _expand, "backfill": _backfill, "contract": _contract}[phase](run, state)


# ── The state of the table ───────────────────────────────────────────────────────────────────────────────────────


def _state(run: Run) -> State:
    found = []
    if there := run.session.columns(STATE_TABLE):
        if missing := {"table_name", *State._fields} - there.keys():
            raise MigrationError(
                f"{STATE_TABLE}: this is another program's table; it lacks {', '.join(sorted(missing))}: "
                "rename it, or migrate in another schema"
            )
        found = run.session.rows(f"SELECT {', '.join(State._fields)} FROM {STATE_TABLE} WHERE {_this(run)}")
    return State(*found[0]) if found else State(run.plan.from_version)


def _this(run: Run) -> str:
    return f"table_name = {run.plan.sql.literal(run.plan.history.name)}"


def _set(run: Run, **values: Any) -> str:
    sets = ", ".join(f"{name} = {run.plan.sql.literal(value)}" for name, value in values.items())
    return f"UPDATE {STATE_TABLE} SET {sets} WHERE {_this(run)}"


def _arrived(run: Run) -> str:
    return _set(run, version=run.plan.to_version, target=None, phase=None, position=None)


def _sign_in(run: Run) -> None:
    """Create the table and the row if they do not exist."""
    columns = "version INTEGER NOT NULL, target INTEGER, phase TEXT, position TEXT"
    row = f"{run.plan.sql.literal(run.plan.history.name)}, {run.plan.from_version}"
    run.session.transact(
        [
            *run.plan.sql.alone,
            f"CREATE TABLE IF NOT EXISTS {STATE_TABLE} (table_name TEXT PRIMARY KEY, {columns})",
            f"INSERT INTO {STATE_TABLE} (table_name, version) VALUES ({row}) ON CONFLICT DO NOTHING",
        ]
    )


def _on_the_way(run: Run, state: State) -> Run:
    """Refuse a migration that does not fit the state of the table. Going back from an unfinished migration only drops columns."""
    name, start, end = run.plan.history.name, run.plan.from_version, run.plan.to_version
    if (state.version, state.target) == (end, start):
        # All old columns still exist, because both forms were written.
        undone = migration_plan(run.plan.history, end, start, run.plan.sql.name)
        plan = replace(run.plan, added=(), dropped=tuple(a.column for a in undone.added), checks=())
        return replace(run, plan=plan, undone=undone)
    if state.version != start:
        raise MigrationError(f"{name} is at version {state.version}, not {start}")
    if state.target not in (None, end):
        raise MigrationError(
            f"{name}: a migration to version {state.target} is unfinished: finish it with phase='contract', or undo it by a "
            f"migration from {state.target} to {state.version} with phase='contract'"
        )
    return run


# ── The phases ───────────────────────────────────────────────────────────────────────────────────────────────────


def _expand(run: Run, state: State) -> PhaseResult:
    there = run.session.columns()
    statements = expand(run.plan, [a for a in run.plan.added if run.plan.sql.fold(a.column) not in there])
    run.session.transact([*statements, _set(run, target=run.plan.to_version, phase=state.phase or "expand")])
    return PhaseResult("expand")


def _backfill(run: Run, state: State) -> PhaseResult:
    rows, batches = _fill(run, "backfill", state.position)
    unfinished = run.plan.required_conditions() or run.plan.dropped
    run.session.transact([_set(run, phase="backfill", position=None) if unfinished else _arrived(run)])
    return PhaseResult("backfill", rows, batches)


def _contract(run: Run, state: State) -> PhaseResult:
    plan, parts = run.plan, contract(run.plan) or [[]]
    rows, batches = _fill(run, "contract", None)
    try:
        for part in parts[:-1]:
            run.session.transact(part)
        lost = _lost(run)  # checks again, because new rows may have arrived
        run.session.transact([*parts[-1], _arrived(run)])
    except BaseException:
        if plan.sql.name == "postgresql":
            run.session.transact([undo_contract(plan)])
        raise
    return PhaseResult("contract", rows, batches, lost)


# ── Obstacles ────────────────────────────────────────────────────────────────────────────────────────────────────


def _look_ahead(run: Run, state: State, phase: Phase) -> None:
    """Refuse a phase out of order, and a phase if there is an obstacle to it or to a later phase."""
    plan, following = run.plan, PHASES.index(state.phase) + 1 if state.phase else 0
    if not run.undone and PHASES.index(phase) > following:
        raise MigrationError(f"{plan.history.name}: run phase {PHASES[following]!r} before {phase!r}")
    found = obstacles(run.session, plan, run.key, state.version, begun=state.phase is not None)
    _refuse(run, phase, found)
    if phase == "contract":
        _lost(run)


def _refuse(run: Run, phase: Phase, found: list[str]) -> None:
    if found:
        lines = "".join(f"\n- {obstacle}" for obstacle in found)
        raise MigrationError(
            f"{run.plan.history.name}: {phase} refused; remove these obstacles, then run it again:{lines}"
        )


def _lost(run: Run) -> dict[str, int]:
    """Count what contract loses, by field; refuse losses that `discard` does not allow, and name the first rows."""
    plan, column, key = run.plan, run.plan.column, run.plan.column(run.key)
    stay = {name: column(name) for name in plan.history.schema(plan.to_version).names}
    for a in plan.added:  # the value once everything is filled
        stay[a.field.name] = f"COALESCE({column(a.column)}, {a.fill})" if a.fill else column(a.column)
    go = {a.field.name: a.column for a in run.undone.added} if run.undone else {n: n for n in plan.dropped}
    lost, found = {}, []
    for name, differs in losses(plan, stay, go).items():
        where = f"{column(go[name])} IS NOT NULL AND {differs}" if run.undone else differs
        if count := run.session.value(f"SELECT count(*) FROM {plan.table} WHERE {where}"):
            lost[name] = count
            if name not in run.discard:
                keys = run.session.rows(
                    f"SELECT {key} FROM {plan.table} WHERE {where} ORDER BY {key} LIMIT 3"
                )
                found.append(
                    f"{plan.history.name}.{name}: contract would lose values that the opposite migration would not restore "
                    f"(rows: {count}, first keys: {', '.join(str(row[0]) for row in keys)}): copy them to columns "
                    f"that are kept, or accept the loss with discard=[{name!r}]"
                )
    _refuse(run, "contract", found)
    return lost


# ── Batches ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _fill(run: Run, phase: Phase, low: str | None) -> tuple[int, int]:
    """Fill NULL values in order of the key, each batch in a transaction; return the numbers of rows filled and of batches.

    `low` is the last key of the completed batches, as SQL.

    Rows that arrive behind the position have both forms, or the contract finds them. A batch waits only for locks on its own
    rows, and PostgreSQL checks a row again once it has its lock, so values from a live writer are kept.
    """
    plan, rows, batches = run.plan, 0, 0
    if not update(plan, plan.added):
        return 0, 0
    key = plan.column(run.key)
    while True:
        above = "1 = 1" if low is None else f"{key} > {low}"
        boundary = f"ORDER BY {key} LIMIT 1 OFFSET {run.batch_size - 1}"
        last = run.session.value(f"SELECT {key} FROM {plan.table} WHERE {above} {boundary}")
        high = None if last is None else plan.sql.literal(last if isinstance(last, int) else str(last))
        within = f"{above} AND {key} <= {high}" if high else above
        statements = update(plan, plan.added, within=within)
        if phase == "backfill":
            statements.append(_set(run, position=high))
        rows += run.session.transact(statements)[0]
        batches += 1
        if high is None:
            return rows, batches
        low = high
