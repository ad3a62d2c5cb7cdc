"""Records whose shape changes: a migration is declared once, and everything else is derived from the declaration.

Read the files in this order: `schema` (what a record looks like), `operations` (the steps of a migration), `history`
(versions and steps, declared once), `records` and `bulk` (functions for dicts), `manager` (what most users call),
`files` (NDJSON of any size), `tables` (Arrow). Databases: `plan` (statements by phase), `dialects`, `sql` (scripts), `migrate`
(runs them); `lib.stage.live` is a load to run them under. Who can read whose data: `resolution`, `compatibility`, `avro`.
"""

from lib.versioning.bulk import Batch, Quarantined, Report, reason_of
from lib.versioning.history import SchemaHistory, UnknownVersionError
from lib.versioning.manager import (
    ChangeWarning,
    DataVersionManager,
    InvalidRecordError,
    Verdict,
)
from lib.versioning.operations import (
    AddField,
    ConvertField,
    DropField,
    RenameField,
    SplitField,
)
from lib.versioning.schema import DeclarationError, Field, Schema
from lib.versioning.users import USERS, make_users

__all__ = [
    "USERS",
    "AddField",
    "Batch",
    "ChangeWarning",
    "ConvertField",
    "DataVersionManager",
    "DeclarationError",
    "DropField",
    "Field",
    "InvalidRecordError",
    "Quarantined",
    "RenameField",
    "Report",
    "Schema",
    "SchemaHistory",
    "SplitField",
    "UnknownVersionError",
    "Verdict",
    "make_users",
    "reason_of",
]
