"""Write the passwords and keys of the Compose files to `compose/.env`: new, random, readable only by you.

    python compose/make_env.py

The variables are those that the Compose files require with a reference to this command. An existing file is not overwritten,
because a database keeps the password with which it was created. Standard library only.
"""

import argparse
import base64
import os
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def required(folder: Path) -> list[str]:
    """Return the names of the variables that the Compose files in a folder and its subfolders require."""
    texts = (path.read_text(encoding="utf-8") for path in folder.rglob("*.yml"))
    return sorted(
        {name for text in texts for name in re.findall(r"\$\{(\w+):\?run python compose/make_env", text)}
    )


def secret() -> str:
    """Return 256 random bits in the form of a Fernet key, which needs no quoting in an address or a file."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def make(path: Path, names: list[str]) -> None:
    """Write the file. Raises FileExistsError rather than overwrite one."""
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        file.writelines(f"{name}={secret()}\n" for name in names)


def main() -> None:
    argparse.ArgumentParser(description="Write new random passwords to compose/.env.").parse_args()
    path, names = FOLDER / ".env", required(FOLDER)
    try:
        make(path, names)
    except FileExistsError:
        sys.exit(
            f"{path} exists, so nothing was changed. For new passwords: docker compose … down --volumes, remove the file, run this again."
        )
    print(f"{path}: {', '.join(names)}")


if __name__ == "__main__":
    main()
