"""Records whose shape changes: a migration is declared once, and everything else is derived from the declaration.

Read the files in this order:

- `schema`: what a record looks like at one version, and the words for everything that can be wrong with a value
- `expressions`: what a field of a result is made of
- `operations`: the steps of a migration, each with its effect in both directions
- `history`: versions and steps, declared once
- `users`: the running example, and a seeded generator of messy users
- `records`: functions for single records, generated from the declaration
- `suspects`: the few records among many that need a closer look
- `bulk`: many records at once, with quarantine and report
- `manager`: `DataVersionManager`, what most users call
- `files`: files of such lines, of any size, in constant memory
- `__main__`: the command line
- `columns`: how Arrow tables come in, and which of their values may be invalid
- `tables`: whole tables, from whatever speaks Arrow
- `dialects`: how PostgreSQL and SQLite spell what a migration needs
- `plan`: what a migration does to a table of a database
- `sql`: the same as scripts, in three phases
- `sessions`: a connection of a migration's own, and its lock
- `migrate`: runs a migration on a live table
- `resolution`: what a reader meets in what a writer wrote, by Avro's rules
- `compatibility`: who can read whose records, directly or through the migration
- `avro`: schemas as Avro's
"""

from lib.versioning.bulk import Batch, Quarantined, Report, reason_of
from lib.versioning.history import SchemaHistory, UnknownVersionError
from lib.versioning.manager import ChangeWarning, DataVersionManager, InvalidRecordError, Verdict
from lib.versioning.operations import AddField, ConvertField, DropField, RenameField, SplitField
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
