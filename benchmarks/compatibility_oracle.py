"""Hold our verdicts on pairs of schemas against Apache Avro's own package, which writes and reads real records.

    python benchmarks/compatibility_oracle.py --pairs 5000

The truth is what `avro.io` does: records are written with the writer's schema, and read with the reader's. That the
records hold a null in every nullable field, and then in none, shows all that can break the reading of a flat schema.
The package's static checker is asked as well. Where the package departs from the specification, it is named here:

1. `avro.io` does not know aliases. The specification defines them by rewriting the writer's schema with the reader's
   aliases, so the oracle does that before it reads. A name that is then there twice can't be read.
2. The static checker takes a field by its name without a look at its aliases, where Avro for Java refuses a writer that
   has both. Its answer on such a pair is not counted.
3. `avro.io` leaves a promoted long an int, so values are compared as floats.
4. `avro.io` reads a union with a plain reader's schema never, not even where the branch written would match. As a null
   may always come, no verdict hangs on it.
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
import sys
import time
from collections import Counter
from dataclasses import replace
from typing import Any, Final

import avro.compatibility
import avro.errors
import avro.io
import avro.schema
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from lib.versioning.avro import to_avro
from lib.versioning.resolution import Kind, differences, resolver
from lib.versioning.schema import NO_DEFAULT, Field, Schema

Record = dict[str, Any]
#: Breaks a reader here, but Avro does not see it.
BEYOND_AVRO: Final = (Kind.LENGTH, Kind.FORMAT, Kind.MOVED)

# ── What is generated ────────────────────────────────────────────────────────────────────────────────────────────

NAMES: Final = ("id", "name", "email", "phone", "score", "active", "since")
TIMESTAMPS: Final = ("2024-02-29", "2024-02-29T10:00:00", "2024-02-29T10:00:00.123456+01:00")
_TEXT: Final = st.characters(exclude_categories=["Cs"])
#: Valid values of each type (and those of a string of at most five characters).
VALUES: Final[dict[tuple[str, int | None], st.SearchStrategy[Any]]] = {
    ("string", None): st.text(_TEXT, max_size=8),
    ("string", 5): st.text(_TEXT, max_size=5),
    ("string", 40): st.text(_TEXT, max_size=8),
    ("integer", None): st.integers(-(2**63), 2**63 - 1),
    ("float", None): st.floats(),
    ("boolean", None): st.booleans(),
    ("timestamp", None): st.sampled_from(TIMESTAMPS),
}
#: All kinds of field: type and length, whether it is nullable, and the default, where "value" stands for any value.
_SHAPES: Final = [
    (kind, nullable, default)
    for kind in VALUES
    for nullable, default in itertools.product((False, True), ("none", "null", "value"))
    if nullable or default != "null"
]
_shapes, _names = (
    st.sampled_from(_SHAPES),
    st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=5),
)
_few, _changes = (
    st.integers(0, 4),
    st.sampled_from(("none", "none", "none", "null", "float", "field", "drop")),
)


def _field(draw: st.DrawFn, name: str) -> Field:
    """A field of any type, nullable or not, with or without a default and, for strings, a length."""
    kind, nullable, default = draw(_shapes)
    value = draw(VALUES[kind]) if default == "value" else None if default == "null" else NO_DEFAULT
    if type(value) is float and not math.isfinite(value):
        value = 0.0  # a default must have a form in JSON
    return Field(name, kind[0], nullable, value, kind[1])


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Schema, Schema]:
    """A reader and a writer: two schemas of their own, or the writer's with some changes."""
    writer = _schema(draw, [_field(draw, name) for name in draw(_names)])
    names = draw(_names)
    if draw(_few) == 0:
        return _schema(draw, [_field(draw, name) for name in names]), writer
    kept = [new for field in writer if (new := _evolve(draw, field))]
    added = [name for name in names if name not in {field.name for field in kept}][: 2 if kept else 1]
    found = [*kept, *(_field(draw, name) for name in added)] or [_field(draw, names[0])]
    return _schema(draw, found[::-1] if draw(_few) == 0 else found), writer


def _evolve(draw: st.DrawFn, field: Field) -> Field | None:
    change = draw(_changes)
    if change == "null":
        default = None if draw(_few) else NO_DEFAULT
        return Field(field.name, field.type, True, default, field.length)
    if change == "float" and field.type == "integer":
        return Field(field.name, "float", field.nullable)
    if change == "drop":
        return None
    return _field(draw, field.name) if change == "field" else replace(field, aliases=())


def _schema(draw: st.DrawFn, found: list[Field]) -> Schema:
    """Make a schema of fields; names that are free may be aliases of one of them."""
    for alias in sorted(set(NAMES) - {field.name for field in found}):
        if (at := draw(_few)) < len(found) and draw(_few) < 2:
            found[at] = replace(found[at], aliases=(*found[at].aliases, alias))
    return Schema(*found)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Schema, Schema, list[Record]]:
    """A reader, a writer, and three valid records of the writer: with every null there can be, without any, and mixed."""
    reader, writer = draw(pairs())
    filled = {field.name: draw(VALUES[field.type, field.length]) for field in writer}
    empty = {field.name: None if field.nullable else filled[field.name] for field in writer}
    mixed = {name: (filled, empty)[at % 2][name] for at, name in enumerate(filled)}
    return reader, writer, [empty, filled, mixed]


# ── The oracle ───────────────────────────────────────────────────────────────────────────────────────────────────


def avro_reads(reader: Schema, writer: Schema, written: list[Record]) -> list[Record] | None:
    """Write records with Avro and read them with another schema; None if Avro can't read one of them."""
    known = {alias: field.name for field in reader for alias in field.aliases}
    renamed = to_avro(writer, "things")
    for field in renamed["fields"]:
        field["name"] = known.get(field["name"], field["name"])
    try:
        reading = avro.io.DatumReader(_avro(renamed), _avro(to_avro(reader, "things")))
    except avro.errors.SchemaParseException:
        if len({field["name"] for field in renamed["fields"]}) == len(renamed["fields"]):
            raise
        return None
    writing = avro.io.DatumWriter(_avro(to_avro(writer, "things")))
    found = []
    for record in written:
        buffer = io.BytesIO()
        writing.write(record, avro.io.BinaryEncoder(buffer))
        buffer.seek(0)
        try:
            found.append(reading.read(avro.io.BinaryDecoder(buffer)))
        except avro.errors.SchemaResolutionException:
            return None
    return found


def avro_checks(reader: Schema, writer: Schema) -> bool:
    """Ask the static checker of the Avro package."""
    checker = avro.compatibility.ReaderWriterCompatibilityChecker()
    verdict = checker.get_compatibility(_avro(to_avro(reader, "things")), _avro(to_avro(writer, "things")))
    return verdict.compatibility is avro.compatibility.SchemaCompatibilityType.compatible


def _avro(schema: dict[str, Any]) -> Any:
    return avro.schema.make_avsc_object(schema)


def same(ours: Any, theirs: Any, kind: str) -> bool:
    """Compare one value that was read, NaN being itself and a promoted integer a float."""
    if kind == "float" and ours is not None:
        theirs = float(theirs)
        return type(ours) is float and (ours == theirs or (math.isnan(ours) and math.isnan(theirs)))
    return type(ours) is type(theirs) and ours == theirs


def compare(reader: Schema, writer: Schema, written: list[Record]) -> Counter[str]:
    """Raise AssertionError where we and Avro disagree on a pair; return what was met, for counting."""
    found = differences(reader, writer)
    kinds = {difference.kind for difference in found}
    ours = kinds.issubset(BEYOND_AVRO)
    theirs = avro_reads(reader, writer, written)
    assert ours == (theirs is not None), f"Avro {'can' if ours is False else 'can not'} read: {found}"
    if Kind.AMBIGUOUS not in kinds:
        assert ours == avro_checks(reader, writer), f"Avro's static checker disagrees: {found}"
    if theirs is not None and not kinds:
        for record, expected in zip(written, theirs, strict=True):
            got = resolver(reader, writer)(record)
            assert list(got) == list(reader.names) and got.keys() == expected.keys()
            for field in reader:
                assert same(got[field.name], expected[field.name], field.type), (field, got, expected)
                assert field.problem(got[field.name]) is None, (field, got)
    return Counter([f"Avro reads: {ours}", *kinds])


def main() -> int:
    """Compare as many distinct pairs as asked for, and print what was met."""
    parser = argparse.ArgumentParser(
        description="Hold our compatibility verdicts against Apache Avro's package."
    )
    parser.add_argument("--pairs", type=int, default=5000, help="how many distinct pairs (default: 5000)")
    parser.add_argument("--seed", type=int, default=1, help="of the generator (default: 1)")
    args = parser.parse_args()
    met: Counter[str] = Counter()
    seen: set[tuple[Schema, Schema]] = set()
    start = time.perf_counter()

    @given(cases())
    @settings(
        max_examples=args.pairs,
        database=None,
        derandomize=False,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    def run(case: tuple[Schema, Schema, list[Record]]) -> None:
        if len(seen) < args.pairs and case[:2] not in seen:
            seen.add(case[:2])
            met.update(compare(*case))

    attempt = args.seed
    while len(seen) < args.pairs:
        seed(attempt)(run)()
        attempt += 1
    print(f"{len(seen):,} distinct pairs, no disagreement, {time.perf_counter() - start:.0f} s")
    for what, count in sorted(met.items(), key=lambda item: -item[1]):
        print(f"{count:>7,}  {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
