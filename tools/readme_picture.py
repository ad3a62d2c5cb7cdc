"""Copy the picture that the README shows out of the lesson that measured it.

python tools/readme_picture.py            write notebooks/images/online_migration.png
python tools/readme_picture.py --check    only say whether it is the one that the lesson stores
"""

import argparse
import base64
import sys

import nbformat
from project import ROOT

LESSON, CELL = ROOT / "notebooks" / "05_online_migrations.ipynb", "timeline"
PICTURE = ROOT / "notebooks" / "images" / "online_migration.png"


def stored() -> bytes:
    """The picture among the stored outputs of the lesson."""
    cells = {cell.id: cell for cell in nbformat.read(LESSON, as_version=4).cells}
    pictures = [
        output.data["image/png"] for output in cells[CELL].outputs if "image/png" in output.get("data", {})
    ]
    return base64.b64decode(pictures[0])


def main() -> int:
    """Write or check; the exit status is 1 where the picture is not the lesson's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args().check:
        if PICTURE.exists() and PICTURE.read_bytes() == stored():
            return 0
        print(
            f"{PICTURE.relative_to(ROOT)} is not the picture that {LESSON.name} stores: run tools/readme_picture.py"
        )
        return 1
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_bytes(stored())
    return 0


if __name__ == "__main__":
    sys.exit(main())
