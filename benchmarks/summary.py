"""The table of measurements in site/code.md: made of results.csv, so that no number in it is typed.

python benchmarks/summary.py            write it
python benchmarks/summary.py --check    only say whether the page has it
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import rows
from benchmarks.rows import Row

HERE: Final = Path(__file__).resolve().parent
PAGE: Final = HERE.parent / "site" / "code.md"
BEGIN: Final = "<!-- measured: written by make bench -->"
END: Final = "<!-- end of measured -->"
#: What the page says: suite, case, candidate, and the sentence.
ROWS: Final = (
    ("records", "validate and upgrade", "lib, upgrade_many", "records as dicts, validated and upgraded"),
    ("files", "NDJSON to NDJSON", "lib, migrate_file", "NDJSON to NDJSON, quarantine included"),
    (
        "tables",
        "quarantine",
        "lib, validate_table",
        "an Arrow table, split into valid rows and quarantine with reasons",
    ),
)
#: Said without a number: beside a loop, the ratio would be as large as the table.
COPIES_NOTHING: Final = (
    "The upgrade of a valid Arrow table copies nothing, so its time does not grow with the rows."
)


def table(measured: list[Row]) -> str:
    """The lines between the two marks."""
    by_name = {(row.suite, row.case, row.candidate): row for row in measured}
    found = [
        (by_name[suite, case, name], text)
        for suite, case, name, text in ROWS
        if (suite, case, name) in by_name
    ]
    if not found:
        return ""
    lines = ["| work | records | times as fast as the naive loop |", "|---|---|---|"]
    lines += [f"| {text} | {row.size:,} | {row.speedup:,.1f} |" for row, text in found]
    lines += ["", f"Medians on one core, {found[0][0].environment}. {COPIES_NOTHING}"]
    return "\n".join(lines)


def expected() -> str:
    """The page as it should be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table(rows.read(HERE / 'results.csv'))}\n\n{END}{after}"


def write() -> None:
    """Write the table into the page."""
    PAGE.write_text(expected(), encoding="utf-8")


def main() -> int:
    """Write or check; the exit status is 1 if the page says something else."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    if not parser.parse_args().check:
        write()
        return 0
    same = PAGE.read_text(encoding="utf-8") == expected()
    print(
        "As measured."
        if same
        else "site/code.md differs from benchmarks/results.csv: python benchmarks/summary.py"
    )
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
