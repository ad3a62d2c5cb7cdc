"""Check that this machine and this kernel can run the lessons; each check has a remedy for its failure."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lib.benchmark import usable_processors

if TYPE_CHECKING:
    import pandas as pd

DISTRIBUTION = "zero-downtime-pipelines"
MEMORY = 2e9  # bytes; no lesson needs more
DISK = 1e9  # bytes, for databases and data sets in the temporary folder
#: What a check found, and the remedy, which is empty if all is well.
Finding = tuple[str, str]


def python() -> Finding:
    """Return the Python version of this kernel. A version that is too old could not import `lib`."""
    return platform.python_version(), ""


def packages() -> Finding:
    """Check that every package the lessons need is installed in an accepted version."""
    from packaging.requirements import Requirement

    remedy = "run make lab again: it completes the environment; then restart this kernel"
    try:
        requirements = map(Requirement, importlib.metadata.requires(DISTRIBUTION) or [])
    except importlib.metadata.PackageNotFoundError:
        return f"{DISTRIBUTION} is not installed for this kernel", remedy
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
    return ", ".join(wrong) or f"{seen} packages", remedy if wrong else ""


def memory() -> Finding:
    """Return the free memory of the whole machine."""
    import psutil

    free = psutil.virtual_memory().available
    remedy = "close other programs, or other kernels in JupyterLab (Kernel menu)" if free < MEMORY else ""
    return f"{free / 1e9:.1f} GB free", remedy


def disk() -> Finding:
    """Return the free disk space of the temporary folder, which holds the lessons' databases and data sets."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    remedy = f"make room in {tempfile.gettempdir()}, or set TMPDIR to another folder" if free < DISK else ""
    return f"{free / 1e9:.1f} GB free", remedy


def processors() -> Finding:
    """Return how many processors this kernel may use. One is enough for every lesson, but shows no speed-up."""
    count = usable_processors()
    return str(count), "" if count > 1 else "with one processor, CPU-bound work can't speed up"


def database() -> Finding:
    """Check that the packaged PostgreSQL starts, answers on 127.0.0.1 and stops."""
    import psycopg

    from lib.stage.servers import postgres

    try:
        with postgres() as server, psycopg.connect(server.dsn) as connection:
            return f"{connection.info.parameter_status('server_version')} answers", ""
    except (OSError, RuntimeError, psycopg.Error) as error:
        remedy = "allow connections to 127.0.0.1 in the firewall or sandbox, and run make lab again"
        return str(error).splitlines()[0], remedy


def docker() -> Finding:
    """Check whether a container engine answers. It is optional: some lessons can use it."""
    from lib.stage.containers import check_engine
    from lib.stage.processes import ProcessError

    try:
        check_engine()
    except ProcessError:
        return "no engine answers; not needed, lessons run on processes", ""
    return "an engine answers", ""


CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": python,
    "packages": packages,
    "memory": memory,
    "disk": disk,
    "processors": processors,
    "PostgreSQL": database,
    "Docker (optional)": docker,
}


def report(checks: Mapping[str, Callable[[], Finding]] = CHECKS) -> pd.DataFrame:
    """Run the checks; return a table with the columns `found` and `remedy` (empty if all is well), by name.

    If a check itself fails, that is a finding too, and the others still run.
    """
    import pandas as pd

    findings = {}
    for name, check in checks.items():
        try:
            findings[name] = check()
        except Exception as error:  # noqa: BLE001 - whatever the error is, the other checks still run
            findings[name] = (f"{type(error).__name__}: {error}", "report this: the check itself failed")
    return pd.DataFrame.from_dict(findings, orient="index", columns=["found", "remedy"]).rename_axis("check")
