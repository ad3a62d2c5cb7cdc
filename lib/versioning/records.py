"""Functions for single records (dicts), generated from the schema: the hot path of all code that handles single records.

Each version has one function that validates, each pair of versions one that migrates. They are generated as Python source,
shown by `validator_source` and `migrator_source`, and compiled once. Only names that passed `check_name` and literals of
checked defaults enter the source; data never does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import repeat
from operator import or_
from typing import Any, NamedTuple

from lib.versioning.expressions import FUNCTIONS, Computed, Constant, Copy, Expression
from lib.versioning.history import SchemaHistory
from lib.versioning.operations import Effect
from lib.versioning.schema import (
    MISSING,
    TYPES,
    VERSION_KEY,
    Field,
    Schema,
    describe,
    is_unicode,
    is_whole_float,
    timestamp_problem,
    to_utc,
)

Record = dict[str, Any]
#: Called with the event of one field: a pair (field, value), or a text that describes a failure.
Note = Callable[[Any], None]
Validator = Callable[[Record], list[str]]
Migrator = Callable[[Record, Note, Note, Note], Record]


def record_version(history: SchemaHistory, record: object) -> tuple[int, str | None]:
    """Return a record's own version (absent means 1) and None, or (0, the error in its label)."""
    if not isinstance(record, dict):
        return 0, f"record: expected an object (got {describe(record)})"
    version = record.get(VERSION_KEY, 1)
    problem = history.version_problem(version)
    if problem:
        return version if type(version) is int else 0, f"{VERSION_KEY}: {problem}"
    return version, None


# ── Validation ───────────────────────────────────────────────────────────────────────────────────────────────────


def validator_source(schema: Schema) -> str:
    """Return Python source of `validate(r)`: one quick test of the whole record, and exact error messages only if it fails."""
    tests = ["type(r) is dict", *map(field_test, schema)]
    conditions = "\n            and ".join(tests)
    return f"""\
def validate(r):
    try:
        if (
            {conditions}
        ): return []
    except (KeyError, TypeError): pass
    return every_error(r)
"""


def field_test(field: Field, unicode_test: str = "is_unicode({})") -> str:
    """Return an expression that is true if a field of the record `r` is valid; otherwise it is false or raises KeyError or TypeError.

    `unicode_test` is the expression that tests a string that is not ASCII.
    """
    value = f"r[{field.name!r}]"
    if field.type == "timestamp":
        test = f"isinstance({value}, str) and timestamp_problem({value}) is None"
    elif field.type == "string":
        # isascii raises a TypeError if the value is not a string
        test = f"(isascii({value}) or {unicode_test.format(value)})"
        if field.length is not None:
            test += f" and len({value}) <= {field.length}"
    else:
        test = f"type({value}) is {TYPES[field.type].__name__}"
        if field.type == "integer":
            test += f" and -0x8000000000000000 <= {value} < 0x8000000000000000"
        elif field.type == "float":
            test = f"({test} or is_whole_float({value}))"
    return f"({value} is None or {test})" if field.nullable else test


@cache
def validator(schema: Schema) -> Validator:
    """Compile the function that returns every error of a record as `field: fixed reason (details)`."""

    def every_error(record: Record) -> list[str]:
        return [f"{f.name}: {why}" for f in schema if (why := f.problem(record.get(f.name, MISSING)))]

    return compile_source(validator_source(schema), "validate", every_error=every_error)


# ── Migration ────────────────────────────────────────────────────────────────────────────────────────────────────


def migrator_source(history: SchemaHistory, from_version: int, to_version: int) -> str:
    """Return Python source of `migrate(record, kept, lost, failed)`, which returns a new record at `to_version`.

    It starts from `blank`, a record in which every field of that version is None. If a record has fields that its version does
    not declare, `has_wrong_later_fields` checks those that the steps will use.
    """
    declared, wanted = len(history.schema(from_version)), history.schema(to_version)
    effects = history.effects(from_version, to_version)
    lines = [
        "def migrate(record, kept, lost, failed):",
        f"    if len(record) > {declared} + ({VERSION_KEY!r} in record):",
        "        if has_wrong_later_fields(record, failed): return record",
        "    r = blank | record",
    ]
    for step, effect in effects:
        lines += [f"    # {type(step.operation).__name__} {step.operation.name}"]
        lines += [f"    {line}" for line in _effect_lines(effect)]
    lines += [f"    r[{VERSION_KEY!r}] = {to_version}"]
    lines += [f"    {line}" for line in _loss_lines(history, from_version, to_version)]
    if any(name in wanted for _, effect in effects for name in effect.gone):
        lines += ["    r = blank | r  # a field that was removed and restored gets its old place"]
    return "\n".join([*lines, "    return r\n"])


@cache
def migrator(history: SchemaHistory, from_version: int, to_version: int) -> Migrator:
    """Compile the function that migrates a valid record from one version to another; it never changes its argument."""
    blank = _blank(history, to_version)
    check = partial(_has_wrong_fields, later_fields(history, from_version, to_version))
    source = migrator_source(history, from_version, to_version)
    return compile_source(source, "migrate", blank=blank, has_wrong_later_fields=check)


def _effect_lines(effect: Effect) -> Iterator[str]:
    """Yield lines of Python that apply one operation to the record `r`."""
    moved = {source for value in effect.values.values() for source in value.sources}
    for name in effect.gone:
        yield f"old_{name} = r.pop({name!r})" if name in moved else f"del r[{name!r}]"
    new, replaced = {}, effect.values.keys() & effect.before.names
    for name, value in effect.values.items():
        before = [f"old_{source}" if source in effect.gone else f"r[{source!r}]" for source in value.sources]
        new[name] = _python(value, before)
        if isinstance(value, Computed) or replaced.intersection(value.sources):
            yield f"new_{name} = {new[name]}"
            new[name] = f"new_{name}"
            if isinstance(value, Computed) and name in effect.may_fail:
                yield _failure_line(value, new[name], before)
    for name, source in new.items():
        if name in effect.before:
            yield f"r[{name!r}] = {source}"
        else:
            yield f"v = r.get({name!r})"
            yield f"if v is None: r[{name!r}] = {source}"
            yield "else:"
            yield f"    kept(({name!r}, v))"


def _loss_lines(history: SchemaHistory, from_version: int, to_version: int) -> Iterator[str]:
    """Yield lines that report each removed value that the other direction would not restore from the result `r`.

    Timestamps of the same instant are equal, as in a database. A null counts as lost if it would become a value, but not if its
    field only moved, because then another value was kept there. Fields that are both added and removed between the versions
    count only if the record already holds them.
    """
    effects = [effect for _, effect in history.effects(from_version, to_version)]
    back = first = {name: f"r[{name!r}]" for name in history.schema(to_version).names}
    changed = set[str]()
    for effect in reversed(effects):
        values = {name: effect.back.get(name, Copy(name)) for name in effect.before.names}
        back = {n: _python(v, [back[s] for s in v.sources]) for n, v in values.items()}
        changed = {n for n, v in values.items() if n in effect.lost or changed.intersection(v.sources)}
        first |= back
    own, later = history.schema(from_version), later_fields(history, from_version, to_version)
    for name in dict.fromkeys(name for effect in effects for name in effect.gone):
        value = f"record[{name!r}]" if name in own else f"record.get({name!r})"
        kind = (own if name in own else later)[name].type
        function = "differ_in_time" if kind == "timestamp" else "differ"
        filled, differs = f"{value} is not None", f"{function}({value}, {first[name]})"
        tests = [filled] if first[name] == "None" else [differs] if name in changed else [filled, differs]
        yield f"if {' and '.join(tests)}: lost(({name!r}, {value}))"


def _python(value: Expression, sources: list[str]) -> str:
    """Return an expression as Python source, from the source text of its sources."""
    if isinstance(value, Computed):
        return value.call(*sources)
    return literal(value.value) if isinstance(value, Constant) else sources[0]


def _failure_line(value: Computed, result: str, sources: list[str]) -> str:
    """Return the line that reports a failure if a source is not None, but the result is."""
    filled = " or ".join(f"{source} is not None" for source in sources)
    head = f"{value.sources[0]}: {value.reason} ({value.hint}got "
    got = " + ' and ' + ".join(f"describe({source})" for source in sources)
    return f"if {result} is None and ({filled}): failed({head!r} + {got} + ')')"


def differ(a: Any, b: Any) -> bool:
    """Return whether two values differ; here NaN equals NaN."""
    return bool(a != b and (a == a or b == b))


def differ_in_time(a: str | None, b: str | None) -> bool:
    """Return whether two timestamps are different instants; a date means its midnight."""
    return a != b and (a is None or b is None or to_utc(a) != to_utc(b))


def literal(value: Any) -> str:
    """Write a string, number, boolean or None as Python source (`float('nan')`, because NaN has no literal)."""
    if isinstance(value, str):
        return str.__repr__(value)  # members of an Enum of strings have another repr
    return f"float({str(value)!r})" if type(value) is float else repr(value)


@cache
def plain_values(
    history: SchemaHistory, from_version: int, to_version: int
) -> dict[str, Copy | Constant] | None:
    """Return the source of each field of the result, in fields of `from_version`, if steps only copy, move and fill.

    Then nothing can fail or be lost in valid records without other fields, so no test is needed. Otherwise return None.
    """
    values: dict[str, Copy | Constant] = {name: Copy(name) for name in history.schema(from_version).names}
    for _, effect in history.effects(from_version, to_version):
        new = {
            n: values[v.source] if isinstance(v, Copy) else v
            for n, v in effect.values.items()
            if not isinstance(v, Computed)
        }
        if len(new) < len(effect.values) or effect.lost:
            return None
        values = {name: value for name, value in values.items() if name not in effect.gone} | new
    return values


@cache
def plain_migrator(
    history: SchemaHistory, from_version: int, to_version: int
) -> Callable[[list[Record]], list[Record]] | None:
    """Compile `migrate_all(records)`, for valid records with only the fields of their version; None if `plain_values` is."""
    values, old = plain_values(history, from_version, to_version), history.schema(from_version).names
    if values is None:
        return None
    sources = {name: _python(value, [f"r[{s!r}]" for s in value.sources]) for name, value in values.items()}
    sources[VERSION_KEY] = str(to_version)
    changed = {name: v for name, v in sources.items() if v != (f"r[{name!r}]" if name in old else "None")}
    lines = [
        "def migrate_all(records):",
        "    results = list(map(or_, repeat(blank), records))",
        "    for r in results:",
        f"        {', '.join(f'r[{name!r}]' for name in changed)} = {', '.join(changed.values())}",
        *(f"        del r[{name!r}]" for name in old if name not in values),
        "    return results",
    ]
    blank = _blank(history, to_version)
    return compile_source("\n".join(lines), "migrate_all", blank=blank, or_=or_, repeat=repeat)


def _blank(history: SchemaHistory, version: int) -> Record:
    """Return a record in which every field is None: a dict that already has its final size and order of fields."""
    return dict.fromkeys((*history.schema(version).names, VERSION_KEY))


@cache
def later_fields(history: SchemaHistory, from_version: int, to_version: int) -> dict[str, Field]:
    """Return the fields of other versions that a record may already hold before a step uses them."""
    own, later = history.schema(from_version), dict[str, Field]()
    for _, effect in history.effects(from_version, to_version):
        for field in effect.after:
            if field.name not in own:
                later.setdefault(field.name, field)
    return later


def _has_wrong_fields(fields: dict[str, Field], record: Record, failed: Note) -> bool:
    """Report errors in those of the fields that are not None; return whether there are any."""
    filled = {name: record[name] for name in fields if record.get(name) is not None}
    problems = {name: fields[name].problem(value) for name, value in filled.items()}
    for name, problem in problems.items():
        if problem:
            failed(f"{name}: {problem}")
    return any(problems.values())


@cache
def needs_recheck(history: SchemaHistory, from_version: int, to_version: int) -> bool:
    """Return whether a valid record may become invalid without any failure, so that the result must be validated."""
    return any(effect.recheck for _, effect in history.effects(from_version, to_version))


class Migrated(NamedTuple):
    """The result of migrating one record: the record, what was kept and lost as (field, value), and every error."""

    record: Record
    kept: list[tuple[str, Any]]
    lost: list[tuple[str, Any]]
    failed: list[str]


def migrate_record(history: SchemaHistory, record: Record, from_version: int, to_version: int) -> Migrated:
    """Migrate a valid record from one version to another, and validate the result if it may be invalid."""
    kept, lost, failed = [], [], []
    migrate = migrator(history, from_version, to_version)
    result = migrate(record, kept.append, lost.append, failed.append)
    if not failed and needs_recheck(history, from_version, to_version):
        failed = validator(history.schema(to_version))(result)
    return Migrated(result, kept, lost, failed)


def compile_source(source: str, name: str, **names: Any) -> Any:
    """Compile one generated function. Its globals are the given names and the helpers that it may call."""
    namespace = {
        **{function.__name__: function for function in FUNCTIONS},
        "describe": describe,
        "differ": differ,
        "differ_in_time": differ_in_time,
        "is_unicode": is_unicode,
        "is_whole_float": is_whole_float,
        "isascii": str.isascii,
        "timestamp_problem": timestamp_problem,
        **names,
    }
    exec(compile(source, f"<generated {name}>", "exec"), namespace)  # noqa: S102 - names checked, no data
    return namespace[name]
