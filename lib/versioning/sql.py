"""Migrations as SQL, in three phases that keep old and new code working at the same time ("parallel change").

- *expand* only adds. A rename adds the new column and keeps the old one, a split adds two; a conversion adds a column under a
  temporary name, `<field>_v<version>`. From here on the application writes both forms.
- *backfill* fills NULL values and keeps all others. It fails as a whole if any value can't be converted exactly.
- *contract* fills rows that have arrived since, makes required columns NOT NULL, and drops the columns that the target version
  does not have.

Only the phase "contract" drops anything, and you must request it by name. NULL means "not filled", as in records. So until
contract, do not write NULL on purpose into a new field that the migration can fill.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from lib.versioning.dialects import Dialect, SqlError
from lib.versioning.history import SchemaHistory
from lib.versioning.plan import Added, Condition, Plan, migration_plan

Phase = Literal["expand", "backfill", "contract"]
PHASES: Final[tuple[Phase, ...]] = ("expand", "backfill", "contract")


def migration_script(
    history: SchemaHistory,
    from_version: int,
    to_version: int,
    dialect: str = "postgresql",
    phase: Phase | None = None,
) -> str:
    """Return SQL that migrates the table of a history from one version to another, forward or back.

    Without a phase, the script expands and backfills. That is the whole migration if the history only adds optional or
    defaulted fields; otherwise the script ends with the note that `phase="contract"` remains. You can run a script twice: it is
    guarded, or stops at its first statement without changes. Pass it to the driver unchanged, without parameters. It fills all
    rows in one transaction; `lib.versioning.migrate` fills them in batches. Raises UnknownVersionError, and SqlError for what
    SQL can't do.
    """
    check_phase(phase)
    plan = migration_plan(history, from_version, to_version, dialect)
    title = f"{history.name}: version {from_version} to {to_version}, {phase or 'expand and backfill'}"
    lines = [f"-- {title} ({plan.sql.title})"]
    for part in contract(plan) if phase == "contract" else _by_version(plan, phase):
        lines += [f"{line};" for line in _enclosed(plan.sql, part)]
    if len(lines) == 1:
        lines.append("-- Nothing to do.")
    if phase is None and _finally(plan):
        lines.append('-- phase="contract" remains, for when no old code is running.')
    return "\n".join([*lines, ""])


def check_phase(phase: str | None) -> None:
    """Raise SqlError for an unknown phase."""
    if phase not in (None, *PHASES):
        raise SqlError(f"phase {phase!r}: choose one of {', '.join(PHASES)}, or None for expand and backfill")


def _by_version(plan: Plan, phase: Phase | None) -> list[list[str]]:
    """Return expand, backfill or both, in one transaction for each version."""
    part = [] if phase == "expand" else refusals(plan, plan.checks)
    versions = {a.value.version for a in plan.added}
    for version in sorted(versions, reverse=plan.from_version > plan.to_version):
        added = [a for a in plan.added if a.value.version == version]
        part += [] if phase == "backfill" else expand(plan, added)
        part += [] if phase == "expand" else fill(plan, added)
    return [part] if part else []


def _enclosed(sql: Dialect, part: list[str]) -> list[str]:
    """Put statements in one transaction, with a timeout for locks, because others queue behind a waiting one."""
    wait = ["SET LOCAL lock_timeout = '2s'"] if sql.name == "postgresql" else []
    utc = sql.in_utc if any("AT TIME ZONE 'UTC'" in line for line in part) else ()
    return [sql.begin, *wait, *utc, *part, "COMMIT"]


# ── Statements ───────────────────────────────────────────────────────────────────────────────────────────────────


def refusals(plan: Plan, checks: Iterable[Condition]) -> list[str]:
    """Return statements that fail if a check finds any row."""
    return [plan.sql.fail_if_any(plan.history.name, check.predicate, check.reason) for check in checks]


def expand(plan: Plan, added: Iterable[Added]) -> list[str]:
    """Add columns. A column with the same value in all rows gets it as a default, so that old code need not write it."""
    return [
        plan.sql.add_column(plan.history.name, a.column, a.field, a.fill if a.value.constant else None)
        for a in added
    ]


def update(plan: Plan, added: Iterable[Added], *, within: str = "") -> list[str]:
    """Fill columns where they are NULL, in the rows `within`: one pass, or no statement if nothing fills them."""
    filled = [a for a in added if a.fill is not None]
    if not filled:
        return []
    cells = [(plan.sql.quote(a.column), plan.column(a.column), a.fill) for a in filled]
    sets = ", ".join(f"{name} = COALESCE({column}, {fill})" for name, column, fill in cells)
    rows = " OR ".join(plan.unfilled(a) for a in filled)
    return [f"UPDATE {plan.table} SET {sets} WHERE " + (f"{within} AND ({rows})" if within else rows)]


def fill(plan: Plan, added: Iterable[Added]) -> list[str]:
    """Check the values to fill in, and fill them."""
    added = list(added)
    checks = [check for a in added for check in plan.fill_checks(a)]
    return refusals(plan, checks) + update(plan, added)


def contract(plan: Plan) -> list[list[str]]:
    """Return the transactions that fill rows that have arrived since, make columns required, drop and rename.

    On PostgreSQL: first nearly all rows are filled. Then a constraint forces every writer to fill the columns. So a last check,
    under a lock that lets others read and write, proves that all rows are filled. The statements that need an exclusive lock
    then take no time.
    """
    filled = refusals(plan, plan.checks) + fill(plan, plan.added)
    required, final = plan.required_conditions(), _finally(plan)
    if plan.sql.name == "postgresql":
        check = f"ADD CONSTRAINT {_promise(plan)} CHECK ({' AND '.join(required.values())}) NOT VALID"
        promise = [f"{undo_contract(plan)}, {check}"]
        proof = [f"ALTER TABLE {plan.table} VALIDATE CONSTRAINT {_promise(plan)}"]
        return [
            part for part in (filled, *([promise, filled[-1:], proof] if required else []), final) if part
        ]
    kept = [
        Condition(f"NOT ({p})", f"{plan.history.name}.{c}: null, but required") for c, p in required.items()
    ]
    filled += refusals(plan, kept)
    return [part for part in [[*filled, *final]] if part]


def undo_contract(plan: Plan) -> str:
    """PostgreSQL: drop the constraint of a contract that failed."""
    return f"ALTER TABLE {plan.table} DROP CONSTRAINT IF EXISTS {_promise(plan)}"


def _promise(plan: Plan) -> str:
    """Return the name of the contract's constraint that all columns of a version are filled. The preflight knows its suffix."""
    return plan.sql.quote(f"{plan.history.name[:40].lower()}_v{plan.to_version}_filled")


def _finally(plan: Plan) -> list[str]:
    """Make columns required, drop those that the target version does not have, and replace temporary names."""
    name, quote = plan.sql.name, plan.sql.quote
    required = [f"ALTER COLUMN {quote(a.column)} SET NOT NULL" for a in plan.added if not a.field.nullable]
    drops = [f"DROP COLUMN {'IF EXISTS ' * plan.sql.guarded}{quote(column)}" for column in plan.dropped]
    temporary = [(quote(a.column), quote(a.field.name)) for a in plan.added if a.column != a.field.name]
    renames = [f"RENAME COLUMN {old} TO {new}" for old, new in temporary]
    if name == "postgresql" and plan.required_conditions():
        # Separate, because a single ALTER would drop the constraint first, and then scan all rows under its lock.
        drops.append(f"DROP CONSTRAINT IF EXISTS {_promise(plan)}")
        required, drops = [", ".join(required)] if required else [], [", ".join(drops)]
    elif name == "sqlite":  # SQLite can't make a column required; the check before found no NULL
        required = []
    return [f"ALTER TABLE {plan.table} {change}" for change in (*required, *drops, *renames)]
