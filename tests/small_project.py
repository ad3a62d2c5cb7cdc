"""A project with one small dependency, in which `make` and the set-up run for real and need no network."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "small"
version = "1.0"
"""
# The least build backend: an editable wheel is a .pth file and its metadata.
BACKEND = """
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("small-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: small\\nVersion: 1.0\\n")
        wheel.writestr("small-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("small-1.0.dist-info/RECORD", "")
    return name
"""


@dataclass
class SmallProject:
    """A folder with a Makefile, the set-up and two locks, of which the second has one package more."""

    folder: Path
    wheels: Path

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """Start `make` with variables that let pip and uv look for packages in `wheels` and nowhere else."""
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PIP_", "UV_", "PYTHON"))
        }
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": self.wheels.as_uri(), "PIP_CONFIG_FILE": os.devnull}
        uv = {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(self.wheels), "UV_NO_CONFIG": "1"}
        return subprocess.Popen(
            [str(shutil.which("make")), *arguments],
            cwd=self.folder,
            env={**clean, **pip, **uv, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def make(self, *arguments: str, **more: str) -> tuple[int, str]:
        """Run `make`: its exit status and all it printed."""
        process = self.start(*arguments, **more)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def imports(self, module: str) -> bool:
        """Whether the environment has a module."""
        python = self.folder / ".venv" / "bin" / "python"
        return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def make_wheel(folder: Path, name: str, files: dict[str, str]) -> str:
    """Write a wheel of release 1.0, and return the lines of a lock that pin it."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    files |= {
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{name}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digest = {file: hashlib.sha256(text.encode()).digest() for file, text in files.items()}
    sums = {file: base64.urlsafe_b64encode(value).decode().rstrip("=") for file, value in digest.items()}
    record = "".join(f"{file},sha256={sums[file]},{len(text)}\n" for file, text in files.items())
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in {**files, f"{name}-1.0.dist-info/RECORD": record}.items():
            member = zipfile.ZipInfo(file)
            member.external_attr = (0o100755 if "/scripts/" in file else 0o100644) << 16
            wheel.writestr(member, text)
    return f"{name}==1.0 \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def make_small_project(parent: Path, *, with_uv: bool = True) -> SmallProject:
    """A small project in a folder whose name has a space and an accent. without uv: as where there is no wheel of it."""
    folder, wheels = parent / "año uno" / "small", parent / "wheels"
    wheels.mkdir(parents=True)
    (folder / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "setup.py", folder / "tools")
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (folder / "backend.py").write_text(BACKEND, encoding="utf-8")
    uv = f"#!/bin/sh\nexec '{Path(sys.executable).with_name('uv')}' \"$@\"\n"
    pin = make_wheel(wheels, "uv", {"uv-1.0.data/scripts/uv": uv})
    (folder / "tools" / "requirements.lock").write_text(pin, encoding="utf-8")
    if not with_uv:
        (wheels / "uv-1.0-py3-none-any.whl").unlink()
    pins = make_wheel(wheels, "tiny", {"tiny.py": ""})
    (folder / "requirements.lock").write_text(pins, encoding="utf-8")
    more = make_wheel(wheels, "more", {"more.py": ""})
    (folder / "requirements-dev.lock").write_text(pins + more, encoding="utf-8")
    return SmallProject(folder, wheels)
