"""Records whose schema changes: declare a migration once, and derive everything else from the declaration.

Read the files in this order:

- `schema`: the schema of a record at one version, and the validation of values
- `expressions`: expressions that compute the fields of a result
- `operations`: the steps of a migration, each with its effect in both directions
- `history`: versions and steps, declared once
- `users`: the running example, and a seeded generator of messy users
- `records`: functions for single records, generated from the declaration
- `suspects`: a fast scan for the records that need a full check
- `bulk`: many records at once, with quarantine and report
- `manager`: `DataVersionManager`, the class that most users need
- `typed_lines`: lines of JSON, upgraded without making dicts of them
- `files`: files of records, of any size, in constant memory
- `__main__`: the command line
- `columns`: reading Arrow tables, and a fast scan for values that may be invalid
- `tables`: whole tables, from any library that supports Arrow
- `dialects`: the SQL of PostgreSQL and SQLite
- `plan`: the changes of a migration to a database table
- `sql`: these changes as SQL scripts, in three phases
- `sessions`: the connection of a migration, and its lock
- `migrate`: runs a migration on a live table
- `resolution`: whether a reader can read a writer's records, by Avro's rules
- `compatibility`: which versions can read each other's records, directly or through the migration
- `avro`: conversion of schemas to Avro
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
