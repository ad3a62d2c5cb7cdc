"""Hypothesis strategies: histories over the whole vocabulary of operations, and records of them, valid and broken.

Values are chosen to be awkward: text full of quotes, line breaks, braces and separators, the ends of the 64-bit range,
every spelling of a timestamp. With `portable=True` they are such as every database, Arrow and JSON can hold: no NUL
character, no NaN, no infinity, no float near 0 that SQLite reads inexactly, no offset beyond 14 hours.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cache
from typing import Any

from hypothesis import strategies as st

from lib.versioning import Field, Schema, SchemaHistory
from lib.versioning.operations import AddField, ConvertField, DropField, Operation, RenameField, SplitField
from lib.versioning.schema import MISSING, NO_DEFAULT, TYPES, VERSION_KEY

Record = dict[str, Any]

#: Names of fields: plain ones, and words that mean something in SQL, in Python or in the generated code.
NAMES = (
    "id name city street note amount rate active since seen email phone first_name last_name x y z code "
    "select order table user group from class lambda None r v record kept lost failed blank describe"
).split()
#: Separators to split at: characters that end a string or a line of code, some that overlap themselves, and plain ones.
SEPARATORS = (" ", ", ", "-", "aa", "'", '"', "\n", "\\", "{}", "%s", " (", "''", "\\n", "é", "🙂")
INT64 = (-(2**63), 2**63 - 1)

# ── Values ───────────────────────────────────────────────────────────────────────────────────────────────────────

# Strategies are built once: Hypothesis examines each new one at length before it draws from it.


@cache
def texts(max_size: int | None = None, *, portable: bool = False) -> st.SearchStrategy[str]:
    """Unicode text of at most `max_size` characters; often with a separator in it, or an integer."""
    limit = 20 if max_size is None else max_size
    characters = st.characters(codec="utf-8", exclude_characters="\0" if portable else "")
    free = st.text(st.one_of(st.sampled_from("aé'\"\\{}\n %-(🙂"), characters), max_size=limit)
    split = st.tuples(free, st.sampled_from(SEPARATORS), free).map("".join)
    return st.one_of(free, split, st.integers(*INT64).map(str)).map(lambda text: text[:limit])


@cache
def timestamps(*, portable: bool = False) -> st.SearchStrategy[str]:
    """Every valid spelling of a timestamp: dates, and date-times with 0 to 6 digits of a second and any offset."""
    fractions = st.text("0123456789", max_size=6).map(lambda digits: "." + digits if digits else "")
    most = 14 * 60 if portable else 23 * 60 + 59
    minutes = st.integers(-most, most)
    offsets = st.one_of(st.just(""), st.just("Z"), minutes.map(_offset))
    # A day from either end, so that no offset leads out of the years 0001 to 9999.
    moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
    spelled = st.tuples(moments.map(lambda at: at.isoformat(timespec="seconds")), fractions, offsets)
    return st.one_of(st.dates().map(date.isoformat), spelled.map("".join))


def _offset(minutes: int) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


@cache
def values(field: Field, *, portable: bool = False) -> st.SearchStrategy[Any]:
    """Valid values of a field."""
    floats = st.floats(allow_nan=not portable, allow_infinity=not portable)
    floats = floats.filter(lambda value: not portable or value == 0 or abs(value) > 1e-280)
    whole = st.integers(-(2**53), 2**53)
    some: st.SearchStrategy[Any] = {
        "string": texts(field.length, portable=portable),
        "integer": st.one_of(st.integers(*INT64), st.sampled_from(INT64), whole),
        "float": st.one_of(floats, whole.map(float), whole, st.just(2**60)),
        "boolean": st.booleans(),
        "timestamp": timestamps(portable=portable),
    }[field.type]
    return st.one_of(st.none(), some) if field.nullable else some


#: Values that are wrong for at least one type; `broken_values` picks those that are wrong for a field.
_ODD = (
    None, MISSING, True, 0, 5, -1, 2**63, -(2**63) - 1, 2**53 + 1, 10**22, 10**30, 10**400,
    0.0, 1.5, float("nan"), float("inf"), "", "x", "5", b"x",
    [], {}, ["a"], {"a": 1}, (), "\ud83d", "a\udc00b", "x" * 300, "2024-01-01", "2024-02-30", "2023-02-29", "2024-13-01",
    "0000-01-01", "2024-01-01T24:00:00", "2024-01-01T10:00:60", "2024-01-01T10:60:00", "2024-01-01 10:00:00", "2024-W09-4",
    "2024-W09", "20240101", "2024-01-01T10:00", "2024-01-01T100000", "2024-01-01T10:00:00.1234567", "2024-01-01T10:00:00,5",
    "2024-01-01T10:00:00z", "2024-01-01T10:00:00+0100", "2024-01-01T10:00:00+01", "2024-01-01T10:00:00+24:00",
    "2024-01-01T10:00:00+10:60", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "2024-01-01\n", " 2024-01-01",
    "\u0662024-01-01", "2024-01-01T10:00:00+01:00:30", "not a date", "2024-366", "2024-01-01T", datetime(2024, 1, 1), date(2024, 1, 1),
)  # fmt: skip


def broken_values(field: Field) -> st.SearchStrategy[Any]:
    """Values that are not valid for a field; `MISSING` stands for no value at all."""
    return st.sampled_from([value for value in _ODD if field.problem(value)])


# ── Histories ────────────────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def fields(draw: st.DrawFn, name: str, *, portable: bool = False) -> Field:
    """A field of the name given: any type, nullable or not, with or without length and default."""
    kind = draw(st.sampled_from(list(TYPES)))
    length = draw(st.one_of(st.none(), st.integers(1, 30))) if kind == "string" else None
    field = Field(name, kind, draw(st.booleans()), length=length)
    default = draw(st.one_of(st.just(NO_DEFAULT), values(field, portable=portable)))
    return Field(name, kind, field.nullable, default, length)


@st.composite
def histories(
    draw: st.DrawFn, *, max_version: int = 5, portable: bool = False, name: str = "things"
) -> SchemaHistory:
    """A history of 2 to `max_version` versions, whose steps have 1 to 3 operations of all kinds."""
    first = [draw(fields(name, portable=portable)) for name in draw(_ORDERS)[: draw(st.integers(1, 5))]]
    schema, steps = Schema(*first), {}
    for version in range(2, draw(st.integers(2, max_version)) + 1):
        steps[version] = []
        for _ in range(draw(st.integers(1, 3))):
            operation = draw(operations(schema, portable=portable))
            schema = operation.apply(schema)
            steps[version].append(operation)
    return SchemaHistory(name, first=Schema(*first), steps=steps)


@st.composite
def operations(draw: st.DrawFn, schema: Schema, *, portable: bool = False) -> Operation:
    """An operation that makes sense for a schema."""
    make = draw(_MAKERS)
    operation = make(draw, schema, portable) if make is not _drops or len(schema) > 1 else None
    return operation or _adds(draw, schema, portable)


def _fresh(draw: st.DrawFn, schema: Schema, count: int = 1) -> list[str]:
    return [name for name in draw(_ORDERS) if name not in schema][:count]


def _adds(draw: st.DrawFn, schema: Schema, portable: bool) -> Operation:
    name = _fresh(draw, schema)[0]
    if draw(st.booleans()):
        source = draw(st.sampled_from(schema.fields))
        nullable = source.nullable or draw(st.booleans())
        return AddField(name, source.type, nullable, length=source.length, copy_from=source.name)
    field = draw(fields(name, portable=portable))
    default = field.default
    if default is NO_DEFAULT and not field.nullable:
        default = draw(values(field, portable=portable))
    return AddField(name, field.type, field.nullable, default, field.length)


def _drops(draw: st.DrawFn, schema: Schema, portable: bool) -> Operation | None:
    field = draw(st.sampled_from(schema.fields))
    if (field.nullable or field.default is not NO_DEFAULT) and draw(st.booleans()):
        return DropField(field.name)
    return DropField(field.name, draw(values(field, portable=portable)))


def _renames(draw: st.DrawFn, schema: Schema, portable: bool) -> Operation | None:
    return RenameField(draw(st.sampled_from(schema.names)), _fresh(draw, schema)[0])


def _converts(draw: st.DrawFn, schema: Schema, portable: bool) -> Operation | None:
    ways = {"integer": ["float", "string"], "string": ["integer"], "timestamp": ["timestamp"]}
    # A default that can't be converted is refused when declared.
    fit = [field for field in schema if field.type in ways and field.default in (NO_DEFAULT, None)]
    if not fit:
        return None
    field = draw(st.sampled_from(fit))
    to = draw(st.sampled_from(ways[field.type]))
    length = draw(st.one_of(st.none(), st.integers(1, 30))) if to == "string" else None
    return ConvertField(field.name, to, length)


def _splits(draw: st.DrawFn, schema: Schema, portable: bool) -> Operation | None:
    strings = [field.name for field in schema if field.type == "string"]
    if not strings:
        return None
    first, second = _fresh(draw, schema, 2)
    return SplitField(draw(st.sampled_from(strings)), (first, second), draw(st.sampled_from(SEPARATORS)))


_MAKERS = st.sampled_from([_adds, _renames, _converts, _splits, _drops, _converts, _splits])
#: The names in a few orders: enough that every name gets its turn, and cheaper than drawing an order.
_ORDERS = st.sampled_from([NAMES[at:] + NAMES[:at] for at in range(len(NAMES))])


# ── Records ──────────────────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def records(
    draw: st.DrawFn, history: SchemaHistory, version: int, *, extra: bool = False, portable: bool = False
) -> Record:
    """A valid record of one version.

    With `extra` it may carry undeclared fields too: fields of other versions with values that are valid there, and others.
    """
    schema = history.schema(version)
    record: Record = {field.name: draw(values(field, portable=portable)) for field in schema}
    if version > 1 or draw(st.booleans()):
        record[VERSION_KEY] = version
    if extra:
        others = [field for other in history.versions for field in history.schema(other)]
        elsewhere = {field.name: field for field in others if field.name not in schema}
        for name in draw(st.lists(st.sampled_from(sorted(elsewhere)), unique=True)) if elsewhere else ():
            record[name] = draw(st.one_of(st.none(), values(elsewhere[name], portable=portable)))
        if draw(st.booleans()):
            record["undeclared"] = draw(st.one_of(st.none(), st.integers(), st.lists(st.booleans())))
    return record


@st.composite
def broken_records(draw: st.DrawFn, history: SchemaHistory) -> Any:
    """Something that is no valid record, or hardly so: fields broken or missing, a label that is none, no object at all."""
    version = draw(st.sampled_from(history.versions))
    record = draw(records(history, version, extra=True))
    way = draw(st.integers(0, 9))
    if way == 0:
        return draw(st.sampled_from([None, [], "text", 5, 1.5, [record], (), b"{}", float("nan")]))
    if way == 1:
        labels = [None, True, 0, -1, 99, "1", 1.0, [1], {}, 2**70, history.latest + 1]
        record[VERSION_KEY] = draw(st.sampled_from(labels))
        return record
    if way == 2:  # undeclared fields of other versions with any value
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4)):
            record.setdefault(name, draw(st.sampled_from([value for value in _ODD if value is not MISSING])))
        return record
    schema = history.schema(version)
    for name in draw(st.lists(st.sampled_from(schema.names), min_size=1, unique=True)):
        value = draw(broken_values(schema[name]))
        if value is MISSING:
            record.pop(name, None)
        else:
            record[name] = value
    return record


def instant(text: str) -> datetime:
    """The instant of a timestamp; without an offset it is taken as UTC, a date as its midnight."""
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
