"""A project with one small dependency, in which `make` and the set-up run for real and need no network."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import flit_core
from flit_core import buildapi

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = """
[build-system]
requires = []
build-backend = "flit_core.buildapi"
backend-path = ["."]

[project]
name = "{name}"
version = "1.0"
description = "Small."
scripts = {{ {name} = "{name}:main" }}
"""
#: A module that starts the real uv.
UV = f"import os, sys\ndef main():\n    os.execv({str(Path(sys.executable).with_name('uv'))!r}, sys.argv)\n"


@dataclass
class SmallProject:
    """A folder with a Makefile, the set-up and two locks, of which the second has one package more."""

    folder: Path
    wheels: Path

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """Start `make` with variables that let pip and uv look for packages in `wheels` and nowhere else."""
        unwanted = ("PIP_", "UV_", "PYTHON", "MAKE", "MFLAGS")  # MAKE…: this may run under `make test`
        clean = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": self.wheels.as_uri(), "PIP_CONFIG_FILE": os.devnull}
        uv = {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(self.wheels), "UV_NO_CONFIG": "1"}
        caches = dict.fromkeys(("PIP_CACHE_DIR", "UV_CACHE_DIR"), str(self.wheels / "cache"))
        environ = clean | pip | uv | caches | {"LC_ALL": "C.UTF-8"} | more
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        command = [str(shutil.which("make")), *arguments]
        return subprocess.Popen(command, cwd=self.folder, env=environ, **streams)

    def make(self, *arguments: str, **more: str) -> tuple[int, str]:
        """Run `make`: its exit status and all it printed."""
        process = self.start(*arguments, **more)
        output, _ = process.communicate(timeout=600)
        return process.returncode, output

    def imports(self, module: str) -> bool:
        """Whether the environment has a module."""
        python = self.folder / ".venv" / "bin" / "python"
        return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def write_package(folder: Path, name: str, code: str) -> None:
    """Write a package of one module, which flit can build."""
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    (folder / "pyproject.toml").write_text(PYPROJECT.format(name=name), encoding="utf-8")


def make_wheel(wheels: Path, name: str, code: str = "") -> str:
    """Build the wheel of a package, and return the line of a lock that pins it."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_package(Path(folder), name, code)
        wheel = wheels / buildapi.build_wheel(str(wheels))
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def make_small_project(parent: Path) -> SmallProject:
    """A small project in a folder whose name has a space and an accent."""
    folder, wheels = parent / "año uno" / "small", parent / "wheels"
    wheels.mkdir()
    shutil.copytree(Path(flit_core.__file__).parent, folder / "flit_core")
    write_package(folder, "small", "")
    (folder / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "setup.py", folder / "tools")
    shutil.copy(ROOT / "Makefile", folder)
    pins = make_wheel(wheels, "tiny")
    (folder / "requirements.lock").write_text(pins, encoding="utf-8")
    (folder / "requirements-dev.lock").write_text(pins + make_wheel(wheels, "more"), encoding="utf-8")
    (folder / "tools" / "requirements.lock").write_text(make_wheel(wheels, "uv", UV), encoding="utf-8")
    return SmallProject(folder, wheels)
