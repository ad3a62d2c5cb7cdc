"""The same migration as SQL."""

from lib.versioning.history import SchemaHistory


def migration_script(
    history: SchemaHistory,
    from_version: int,
    to_version: int,
    dialect: str = "postgresql",
) -> str:
    raise NotImplementedError
