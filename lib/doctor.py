"""Checks that this machine and this kernel can run the lessons, each with a remedy for its failure."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib.benchmark import usable_processors

if TYPE_CHECKING:
    import pandas as pd

DISTRIBUTION = "zero-downtime-pipelines"
MEMORY = 2e9  # bytes; no lesson takes more
DISK = 1e9  # bytes, for databases and data sets in the temporary folder


@dataclass(frozen=True)
class Finding:
    """What one check found: `remedy` is empty where all is well."""

    name: str
    found: str
    remedy: str = ""


def python() -> Finding:
    """The version of Python that this kernel runs on. One that is too old could not import `lib`."""
    return Finding("Python", platform.python_version())


def packages() -> Finding:
    """Every package that lessons ask for, in a version that they accept."""
    from packaging.requirements import Requirement

    remedy = "run make lab again: it completes the environment; then restart this kernel"
    try:
        requirements = map(Requirement, importlib.metadata.requires(DISTRIBUTION) or [])
    except importlib.metadata.PackageNotFoundError:
        return Finding("packages", f"{DISTRIBUTION} is not installed for this kernel", remedy)
    wrong, seen = [], 0
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate({"extra": "lab"}):
            continue
        seen += 1
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            version = "none"
        if version == "none" or not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} (needs {requirement.specifier})")
    return Finding("packages", ", ".join(wrong) or f"{seen} packages", remedy if wrong else "")


def memory() -> Finding:
    """Memory that is free, in the whole machine or in this container."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with_cache = Path("/proc/meminfo")
    if with_cache.exists() and (match := re.search(r"MemAvailable:\s+(\d+) kB", with_cache.read_text())):
        free = int(match[1]) * 1024
    remedy = "close other programs, or other kernels in JupyterLab (Kernel menu)" if free < MEMORY else ""
    return Finding("memory", f"{free / 1e9:.1f} GB free", remedy)


def disk() -> Finding:
    """Room in the temporary folder, where databases and data sets of the lessons lie."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    remedy = f"make room in {tempfile.gettempdir()}, or set TMPDIR to another folder" if free < DISK else ""
    return Finding("disk", f"{free / 1e9:.1f} GB free", remedy)


def processors() -> Finding:
    """Processors that this kernel may use. One is enough to run every lesson, but shows no speed-up of work."""
    count = usable_processors()
    remedy = "" if count > 1 else "with one processor, CPU-bound work can't speed up"
    return Finding("processors", str(count), remedy)


def loopback() -> Finding:
    """A server on 127.0.0.1 can be reached, as every lesson with processes needs."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname()[:2], 5).close()
    except OSError as error:
        remedy = "allow local connections in firewall or sandbox"
        return Finding("loopback", f"127.0.0.1: {error.strerror}", remedy)
    return Finding("loopback", "a connection to 127.0.0.1 works")


def database() -> Finding:
    """The PostgreSQL that came with the packages starts, answers and stops."""
    import psycopg

    from lib.stage.servers import postgres

    try:
        with postgres() as server, psycopg.connect(server.dsn) as connection:
            version = connection.execute("SHOW server_version").fetchone()
    except (OSError, RuntimeError, psycopg.Error) as error:
        remedy = "run make lab again; if that does not help, report this"
        return Finding("PostgreSQL", str(error).splitlines()[0], remedy)
    return Finding("PostgreSQL", f"{version[0] if version else 'unknown'} answers")


def docker() -> Finding:
    """Whether a container engine answers: optional, some lessons can use it."""
    from lib.stage.engine import engine
    from lib.stage.processes import ProcessError

    try:
        client = engine(timeout=5)
        found = f"engine {client.version()['Version']}"
        client.close()
    except ProcessError:
        found = "no engine answers; not needed, lessons run on processes"
    return Finding("Docker (optional)", found)


CHECKS = (python, packages, memory, disk, processors, loopback, database, docker)


def report(checks: Sequence[Callable[[], Finding]] = CHECKS) -> pd.DataFrame:
    """Run the checks; a table with the columns `found` and `remedy` (empty where all is well), by name.

    A check that fails in a way nobody thought of is a finding, too, and the others still run.
    """
    import pandas as pd

    findings = []
    for check in checks:
        try:
            findings.append(check())
        except Exception as error:  # noqa: BLE001 - whatever it is, the other checks still run
            found = f"{type(error).__name__}: {error}"
            findings.append(Finding(check.__name__, found, "report this: the check itself failed"))
    return pd.DataFrame(findings).rename(columns={"name": "check"}).set_index("check")
