"""A copy of the set-up in a project with one small dependency, so that tests can run it for real without a network."""

from __future__ import annotations

import base64
import ensurepip
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
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
dependencies = ["tiny>=1"]
"""
# The least build backend: an editable wheel is a .pth file and its metadata.
BACKEND = """
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("small-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: small\\nVersion: 1.0\\nRequires-Dist: tiny>=1\\n")
        wheel.writestr("small-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("small-1.0.dist-info/RECORD", "")
    return name
"""


@dataclass(frozen=True)
class SmallProject:
    """A folder in which `make` and `tools/setup.py` run as in the real one."""

    folder: Path
    wheels: Path

    def environ(self, **more: str) -> dict[str, str]:
        """Variables with which pip looks for packages in `wheels` and nowhere else."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
        own = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": self.wheels.as_uri(), "PIP_CONFIG_FILE": os.devnull}
        return {**clean, **own, **more}

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """Start the set-up."""
        command = [sys.executable, "tools/setup.py", *arguments]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environ(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def set_up(self, *arguments: str, **more: str) -> tuple[int, str]:
        """Run the set-up: its exit status and all it printed."""
        process = self.start(*arguments, **more)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output


def wheel_of_pip() -> Path:
    """The wheel of pip that Python itself installs in a new environment."""
    folder = sysconfig.get_config_var("WHEEL_PKG_DIR") or Path(ensurepip.__file__).with_name("_bundled")
    return next(Path(folder).glob("pip-*.whl"))


def make_tiny_wheel(folder: Path) -> Path:
    """A wheel of the package `tiny`, one module."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    files = {
        "tiny.py": "SIZE = 1\n",
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digest = {name: hashlib.sha256(text.encode()).digest() for name, text in files.items()}
    sums = {name: base64.urlsafe_b64encode(value).decode().rstrip("=") for name, value in digest.items()}
    record = "".join(f"{name},sha256={sums[name]},{len(text)}\n" for name, text in files.items())
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in {**files, "tiny-1.0.dist-info/RECORD": record}.items():
            wheel.writestr(name, text)
    return path


def make_small_project(parent: Path) -> SmallProject:
    """A small project in a folder whose name has a space and an accent."""
    folder, wheels = parent / "año uno" / "small", parent / "wheels"
    wheels.mkdir(parents=True)
    packages = [Path(shutil.copy(wheel_of_pip(), wheels)), make_tiny_wheel(wheels)]
    (folder / "tools").mkdir(parents=True)
    for name in ("setup.py", "environment.py", "steps.py"):
        shutil.copy(ROOT / "tools" / name, folder / "tools" / name)
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (folder / "backend.py").write_text(BACKEND, encoding="utf-8")
    pins = ""
    for wheel in packages:
        name, number = wheel.name.split("-")[:2]
        pins += f"{name}=={number} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
    (folder / "requirements.lock").write_text(pins, encoding="utf-8")
    return SmallProject(folder, wheels)
