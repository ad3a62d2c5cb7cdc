"""The command line: `python -m lib.versioning`, with `--help` for what it can do."""

from __future__ import annotations

import argparse
import gzip
import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NoReturn

from lib.versioning.bulk import Report
from lib.versioning.history import SchemaHistory
from lib.versioning.manager import DataVersionManager
from lib.versioning.sql import PHASES

EPILOG = """Exit status: 0 all records passed, 1 some were quarantined, 2 an error, after which no output file is new, 130 interrupted.
Without a command it shows one record's way from version 1 to 3."""


class Refusal(ValueError):
    """Nothing was done; the message says why and what to do."""


def demo() -> None:
    """One record's way through the versions, as the course shows it."""
    manager = DataVersionManager()
    record = {"id": "123", "name": "Juan Pérez", "created_at": "2024-01-01T10:00:00"}
    print("Datos válidos:", manager.validate_schema(record)["valid"])
    upgraded = manager.upgrade_data(record, 3)
    print("Datos upgradeados a versión:", upgraded["schema_version"])
    print("Datos upgradeados válidos:", manager.validate_schema(upgraded)["valid"])


#: What the command line can do: the commands for files first.
COMMANDS = {
    "validate": "check records at their own versions",
    "upgrade": "take records to a later version",
    "downgrade": "take records to an earlier version; losses are counted",
    "diff": "say what changes between versions",
    "sql": "print the SQL that migrates the table: it fills all rows in one transaction, so it needs no key",
}


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        "python -m lib.versioning", description="Versions of records.", epilog=EPILOG
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for name, what in COMMANDS.items():
        add = commands.add_parser(name, help=what).add_argument
        default = "lib.versioning.users:USERS"
        history = "the history to use (default: the users of the course)"
        add("--history", default=default, metavar="MODULE:NAME", help=history)
        if name in ("diff", "sql"):
            add("--from", type=int, default=1, dest="low", metavar="VERSION", help="default: 1")
            add("--to", type=int, metavar="VERSION", help="default: the latest")
        else:
            _add_options_for_files(add)
        if name == "sql":
            add("--dialect", default="postgresql", help="postgresql (default) or sqlite")
            add("--phase", choices=PHASES, help="default: expand and backfill")
        if name in ("upgrade", "downgrade"):
            add("--to", type=int, required=True, metavar="VERSION", help="the version to reach")
            add("--out", required=True, metavar="FILE", help="the file to write, or - for standard output")
    return top


def _add_options_for_files(add: Callable[..., Any]) -> None:
    add("source", help="a file of one JSON object a line, or - for standard input")
    quarantine = (
        "where lines that don't pass go, with line number and reasons "
        "(default: beside the input, as NAME.quarantine.ndjson)"
    )
    add("--quarantine", metavar="FILE", help=quarantine)
    extra = "what to do with fields that are not declared (default: keep)"
    add("--extra", choices=["keep", "drop", "forbid"], default="keep", help=extra)


def load_history(place: str) -> SchemaHistory:
    """Import a history named as `module:NAME`, also from the folder one stands in."""
    module, _, name = place.partition(":")
    remedy = "name it as MODULE:NAME, such as lib.versioning.users:USERS"
    if not module or module.startswith(".") or not name:
        raise Refusal(f"--history {place}: {remedy}")
    sys.path.insert(0, "")
    try:
        history = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise Refusal(f"--history {place}: {error}; {remedy}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may raise anything
        raise Refusal(f"--history {place}: {type(error).__name__}: {error}") from None
    if not isinstance(history, SchemaHistory):
        raise Refusal(f"--history {place}: that is no SchemaHistory")
    return history


def migrate(args: argparse.Namespace, history: SchemaHistory) -> int:
    """`upgrade`, `downgrade` and `validate`: run over the file and print the summary to standard error."""
    from lib.versioning.files import migrate_file, reading, whole_or_nothing

    out, target = getattr(args, "out", None), getattr(args, "to", None)
    quarantine = args.quarantine or _default_quarantine(args.source)
    _refuse_same_files(args.source, out, quarantine)
    way = "downgrade" if args.command == "downgrade" else "upgrade"
    with ExitStack() as stack:
        source = stack.enter_context(reading(args.source))
        *outputs, aside = stack.enter_context(whole_or_nothing(*([out] if out else []), quarantine))
        files = source, outputs[0] if outputs else None, aside
        progress, manager = _progress(stack, args.source, source), DataVersionManager(history, args.extra)
        report = migrate_file(manager, *files, target=target, way=way, progress=progress)
    print(summary(report, quarantine), file=sys.stderr)
    return 1 if report.quarantined else 0


def summary(report: Report, quarantine: str) -> str:
    """The counts in words: what was read, what passed, what was put aside and why, what was kept and lost."""
    lines = [
        f"read {report.read:,}, passed {report.passed:,}, quarantined {report.quarantined:,} (in {quarantine})"
    ]
    lines += [f"{count:>9,}  {reason}" for reason, count in report.reasons.most_common()]
    lines += [f"{count:>9,}  {name}: a filled value was kept" for name, count in sorted(report.kept.items())]
    lines += [f"{count:>9,}  {name}: a value was lost" for name, count in sorted(report.lost.items())]
    return "\n".join(lines)


def _default_quarantine(source: str) -> str:
    if source == "-":
        raise Refusal(
            "reading standard input, there is no file to put the quarantine beside: give --quarantine FILE"
        )
    return f"{source.removesuffix('.gz').removesuffix('.ndjson')}.quarantine.ndjson"


def _refuse_same_files(source: str, *outputs: str | None) -> None:
    """Compare files by device and inode, because a name does not show what `>> input` appends to."""
    places: list[str | int] = [1 if path == "-" else path for path in outputs if path]
    if source != "-":
        places.append(source)
    elif os.path.isfile(0):  # else it may be the terminal, or the socket, that standard output is too
        places.append(0)
    files = [file for file in map(_identity, places) if file != _identity(os.devnull)]
    if len(set(files)) < len(files):
        raise Refusal("input, output and quarantine must be three different files")


def _identity(place: str | int) -> object:
    found = os.stat(place) if os.path.exists(place) else None
    return (found.st_dev, found.st_ino) if found else os.path.realpath(str(place))


def _progress(stack: ExitStack, path: str, source: io.BufferedReader) -> Any:
    """A progress bar over the bytes of the file, on a terminal only."""
    if not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    unknown = path == "-" or isinstance(source.raw, gzip.GzipFile)
    size = None if unknown else os.path.getsize(path)
    bar = tqdm(total=size, unit="B", unit_scale=True, desc="records", leave=False)
    return stack.enter_context(bar).update


def diff(history: SchemaHistory, low: int, high: int) -> str:
    """What changes between two versions, an operation a line."""
    lines, version = [], None
    for step, effect in history.effects(low, high):
        if step.version != version:
            version = step.version
            pair = f"{version - 1} → {version}" if low <= high else f"{version} → {version - 1}"
            lines.append(f"{history.name} {pair}")
        lines.append(f"  {effect}")
    return "\n".join(lines) or f"{history.name}: nothing changes"


def run(args: argparse.Namespace) -> int:
    """Do what the arguments ask for and return the exit status."""
    if args.command is None:
        demo()
        return 0
    history = load_history(args.history)
    if args.command not in ("sql", "diff"):
        return migrate(args, history)
    to = history.latest if args.to is None else args.to
    if args.command == "diff":
        print(diff(history, args.low, to))
    else:
        print(DataVersionManager(history).create_migration_script(args.low, to, args.dialect, args.phase))
    return 0


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(*_: object) -> NoReturn:
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)  # a second one would interrupt the cleaning up
    raise KeyboardInterrupt


def _fill_in_standard_streams() -> None:
    """Give those that were closed a device that fails, so that no other file is opened under their number."""
    sys.stdin = sys.stdin or open(os.open(os.devnull, os.O_WRONLY))
    sys.stdout = sys.stdout or open(os.open(os.devnull, os.O_RDONLY), "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")


def main() -> int:
    """Run the command line; every refusal is one line on standard error."""
    _fill_in_standard_streams()
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, _interrupt)
    try:
        try:
            return run(parser().parse_args())
        finally:
            sys.stdout.flush()
    except ValueError as error:
        print("error:", *str(error).split("\n"), file=sys.stderr)
    except OSError as error:
        if error.filename is None:  # what standard output still holds would fail once more at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        gone = isinstance(error, BrokenPipeError)
        reason = "its reader has gone" if gone else error.strerror
        print(f"error: {error.filename or 'standard output'}: {reason}", file=sys.stderr)
    except KeyboardInterrupt:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # Python forgets its own handlers before it has ended
        print("interrupted: every output file is whole, or as it was", file=sys.stderr)
        return 130
    except Exception:  # noqa: BLE001 - a fault in this program, for which Python's exit status would be 1
        traceback.print_exc()
    return 2


if __name__ == "__main__":
    sys.exit(main())
