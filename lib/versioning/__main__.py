"""The command line: `python -m lib.versioning`, with `--help` for what it can do."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import traceback

from lib.versioning.bulk import Report
from lib.versioning.history import SchemaHistory
from lib.versioning.manager import DataVersionManager
from lib.versioning.sql import PHASES

EPILOG = """Exit status: 0 all records passed, 1 some were quarantined, 2 an error (no output file was changed), 130 interrupted.
Without a command, it upgrades one record from version 1 to 3 and shows the result."""


COMMANDS = {
    "validate": "check records at their own versions",
    "upgrade": "upgrade records to a later version",
    "downgrade": "downgrade records to an earlier version, and count the losses",
    "sql": "print the SQL that migrates the table: it fills all rows in one transaction, so it needs no key",
}


class Refusal(ValueError):
    """The command refuses to start; the message says why and what to do."""


def demo() -> None:
    """Upgrade one record through all versions, as the course shows it."""
    manager = DataVersionManager()
    record = {"id": "123", "name": "Juan Pérez", "created_at": "2024-01-01T10:00:00"}
    print("Datos válidos:", manager.validate_schema(record)["valid"])
    upgraded = manager.upgrade_data(record, 3)
    print("Datos upgradeados a versión:", upgraded["schema_version"])
    print("Datos upgradeados válidos:", manager.validate_schema(upgraded)["valid"])


def parser() -> argparse.ArgumentParser:
    """Return the parser of the commands and their options."""
    top = argparse.ArgumentParser(
        "python -m lib.versioning", description="Versions of records.", epilog=EPILOG
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for name, what in COMMANDS.items():
        add = commands.add_parser(name, help=what).add_argument
        default = "lib.versioning.users:USERS"
        history = "the history to use (default: the users of the course)"
        add("--history", default=default, metavar="MODULE:NAME", help=history)
        if name == "sql":
            add("--from", type=int, default=1, dest="low", metavar="VERSION", help="default: 1")
            add("--to", type=int, metavar="VERSION", help="default: the latest")
            add("--dialect", default="postgresql", help="postgresql (default) or sqlite")
            add("--phase", choices=PHASES, help="default: expand and backfill")
            continue
        add("source", help="a file with one JSON object per line, or - for standard input")
        aside = "file for lines that don't pass, with number and reasons (default: NAME.quarantine.ndjson)"
        add("--quarantine", metavar="FILE", help=aside)
        if name != "validate":
            add("--to", type=int, required=True, metavar="VERSION", help="the version to reach")
            add("--out", required=True, metavar="FILE", help="the file to write, or - for standard output")
    return top


def load_history(place: str) -> SchemaHistory:
    """Import a history named as `module:NAME`, also from the current folder."""
    module, _, name = place.partition(":")
    sys.path.insert(0, "")
    try:
        history = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may raise anything
        raise Refusal(f"--history {place} (MODULE:NAME) fails: {type(error).__name__}: {error}") from None
    if not isinstance(history, SchemaHistory):
        raise Refusal(f"--history {place} (MODULE:NAME) fails: NAME is not a SchemaHistory")
    return history


def migrate(args: argparse.Namespace, history: SchemaHistory) -> int:
    """`upgrade`, `downgrade` and `validate`: run over the file and print the summary to standard error."""
    from tqdm import tqdm

    from lib.versioning.files import migrate_file, reading, whole_or_nothing

    out, target = getattr(args, "out", None), getattr(args, "to", None)
    name = "standard_input" if args.source == "-" else args.source.removesuffix(".gz").removesuffix(".ndjson")
    quarantine = args.quarantine or f"{name}.quarantine.ndjson"
    outputs = [out, quarantine] if out else [quarantine]
    _refuse_same_files(args.source, *outputs)
    way = "downgrade" if args.command == "downgrade" else "upgrade"
    with reading(args.source) as source, whole_or_nothing(*outputs) as files:
        passed, manager = files[0] if out else None, DataVersionManager(history)
        with tqdm(
            unit=" lines", unit_scale=True, disable=None, leave=False
        ) as bar:  # None: on a terminal only
            report = migrate_file(
                manager, source, passed, files[-1], target=target, way=way, progress=bar.update
            )
    print(summary(report, quarantine), file=sys.stderr)
    return 1 if report.quarantined else 0


def summary(report: Report, quarantine: str) -> str:
    """Return the counts in words: read, passed, quarantined (with reasons), kept and lost."""
    lines = [
        f"read {report.read:,}, passed {report.passed:,}, quarantined {report.quarantined:,} (in {quarantine})"
    ]
    lines += [f"{count:>9,}  {reason}" for reason, count in report.reasons.most_common()]
    lines += [f"{count:>9,}  {name}: a filled value was kept" for name, count in sorted(report.kept.items())]
    lines += [f"{count:>9,}  {name}: a value was lost" for name, count in sorted(report.lost.items())]
    return "\n".join(lines)


def _refuse_same_files(source: str, *outputs: str) -> None:
    """Compare files by device and inode, because a name does not show what `>> input` appends to."""
    places: list[str | int] = [1 if path == "-" else path for path in outputs]
    if source != "-":
        places.append(source)
    elif os.path.isfile(0):  # otherwise it may be a terminal or socket that is also standard output
        places.append(0)
    files = [file for file in map(_identity, places) if file != _identity(os.devnull)]
    if len(set(files)) < len(files):
        raise Refusal("input, output and quarantine must be three different files")


def _identity(place: str | int) -> object:
    found = os.stat(place) if os.path.exists(place) else None
    return (found.st_dev, found.st_ino) if found else os.path.realpath(str(place))


def run(args: argparse.Namespace) -> int:
    """Do what the arguments ask for and return the exit status."""
    if args.command is None:
        demo()
        return 0
    history = load_history(args.history)
    if args.command != "sql":
        return migrate(args, history)
    to = history.latest if args.to is None else args.to
    print(DataVersionManager(history).create_migration_script(args.low, to, args.dialect, args.phase))
    return 0


def _fill_in_standard_streams() -> None:
    """Replace closed standard streams by a device that fails, so that no other file is opened under their number."""
    sys.stdin = sys.stdin or open(os.open(os.devnull, os.O_WRONLY))
    sys.stdout = sys.stdout or open(os.open(os.devnull, os.O_RDONLY), "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")


def main() -> int:
    """Run the command line; every refusal is one line on standard error."""
    _fill_in_standard_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # ignored under nohup, for example
            signal.signal(number, signal.default_int_handler)
    try:
        try:
            return run(parser().parse_args())
        finally:
            sys.stdout.flush()
    except ValueError as error:
        print("error:", *str(error).split("\n"), file=sys.stderr)
    except OSError as error:
        if error.filename is None:  # otherwise flushing standard output would fail again at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        gone = isinstance(error, BrokenPipeError)
        reason = "its reader has closed it" if gone else error.strerror
        print(f"error: {error.filename or 'standard output'}: {reason}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted: each output file is complete or unchanged", file=sys.stderr)
        return 130
    except Exception:  # noqa: BLE001 - a bug in this program; Python's exit status for it would be 1
        traceback.print_exc()
    return 2


if __name__ == "__main__":
    sys.exit(main())
