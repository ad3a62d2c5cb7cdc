"""The versions of a record and the steps between them, declared once; everything else is derived from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lib.versioning.operations import Effect, Operation
from lib.versioning.schema import DeclarationError, Schema, check_name, describe


class UnknownVersionError(ValueError):
    """The history has no such version; the message lists its versions."""


@dataclass(frozen=True)
class Step:
    """One operation of the step to `version`, the schemas before and after it, and its effect in both directions."""

    version: int
    operation: Operation
    before: Schema
    after: Schema
    forward: Effect
    backward: Effect


class SchemaHistory:
    """Consecutive versions 1, 2, 3 … of the records called `name` (in SQL: of the table).

    `first` is the schema of version 1; `steps` gives, for each later version in order, the operations that lead to it.
    Schemas of later versions are derived, never written twice. Raises DeclarationError for a gap, a step backward, and any
    operation that is impossible at its place.
    """

    def __init__(
        self, name: str, *, first: Schema, steps: Mapping[int, Sequence[Operation]] | None = None
    ) -> None:
        self.name: Final = check_name(name, "name of a history")
        if not isinstance(first, Schema):
            raise DeclarationError(f"{name}: first must be the Schema of version 1, not {first!r}")
        self._schemas = {1: first}
        self._steps: dict[int, tuple[Step, ...]] = {}
        for version, operations in (steps or {}).items():
            if type(version) is not int or version != self.latest + 1:
                raise DeclarationError(
                    f"{name}: version {version!r} can't follow {self.latest}; the next is {self.latest + 1}"
                )
            self._steps[version] = self._derive(version, operations)
            self._schemas[version] = self._steps[version][-1].after

    def _derive(self, version: int, operations: Sequence[Operation]) -> tuple[Step, ...]:
        schema, steps = self._schemas[version - 1], []
        if isinstance(operations, Operation) or not (operations := tuple(operations)):
            raise DeclarationError(
                f"{self.name}, step to version {version}: give a list of one or more operations"
            )
        for number, operation in enumerate(operations, start=1):
            place = f"{self.name}, step to version {version}, operation {number}"
            if not isinstance(operation, Operation):
                raise DeclarationError(f"{place}: {operation!r} is not an operation such as AddField")
            try:
                check_name(operation.name)
                after = operation.apply(schema)
                values, back = operation.forward(schema), operation.backward(schema)
                effects = Effect(schema, after, values, back), Effect(after, schema, back, values)
            except DeclarationError as error:
                what = f"{type(operation).__name__} {describe(operation.name)}"
                raise DeclarationError(f"{place}: {what}: {error}") from None
            steps.append(Step(version, operation, schema, after, *effects))
            schema = after
        return tuple(steps)

    @property
    def latest(self) -> int:
        """The latest version."""
        return max(self._schemas)

    @property
    def versions(self) -> tuple[int, ...]:
        """All versions, in order."""
        return tuple(self._schemas)

    def check_version(self, version: object) -> int:
        """Return `version` if the history has it; raise UnknownVersionError if not, or if it is not exactly an integer."""
        if problem := self.version_problem(version):
            raise UnknownVersionError(f"{self.name}: {problem}")
        assert isinstance(version, int)
        return version

    def version_problem(self, version: object) -> str | None:
        """Return why `version` is not in this history, as `fixed reason (details)`; None if it is."""
        if type(version) is not int:
            return f"expected a version as an integer (got {describe(version)})"
        if version not in self._schemas:
            return f"unknown version (got {describe(version)}; known: {', '.join(map(str, self.versions))})"
        return None

    def schema(self, version: int) -> Schema:
        """Return the schema of one version; raises UnknownVersionError."""
        return self._schemas[self.check_version(version)]

    def steps(self, from_version: int, to_version: int) -> tuple[Step, ...]:
        """Return the operations between two versions in the order of execution.

        To a later version they are executed forward, to an earlier version backward, the last one first.
        """
        low, high = sorted((self.check_version(from_version), self.check_version(to_version)))
        steps = tuple(step for version in range(low + 1, high + 1) for step in self._steps[version])
        return steps if from_version <= to_version else steps[::-1]

    def effects(self, from_version: int, to_version: int) -> list[tuple[Step, Effect]]:
        """Return the steps between two versions in the order of execution, each with its effect in this direction."""
        upward = from_version <= to_version
        steps = self.steps(from_version, to_version)
        return [(step, step.forward if upward else step.backward) for step in steps]

    def __repr__(self) -> str:
        return f"<SchemaHistory {self.name}: versions 1 to {self.latest}>"
