"""pyproject.toml, the locks and environment.yml say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import setup
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from rattler import MatchSpec, VersionSpec
from rattler import Version as CondaVersion

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: What is for learning: `requirements.lock` and environment.yml have it, and requirements-dev.lock has the rest, too.
LEARNING = [Requirement(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["lab"]]
OTHERS = [lines for extra, lines in PROJECT["optional-dependencies"].items() if extra != "lab"]
DECLARED = LEARNING + [Requirement(line) for lines in OTHERS for line in lines]
#: What `make lock` goes through after the project's own two locks.
[FOLDERS] = map(str.split, re.findall(r"for folder in (.*); do", (ROOT / "Makefile").read_text("utf-8")))
LOCKS = ["requirements.lock", "requirements-dev.lock", *(f"{folder}/requirements.lock" for folder in FOLDERS)]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
# PyPI's name of a package, by that of conda-forge where it is another; and what an extra stands for: conda knows no extras.
CONDA_NAMES = {f"{name}-py": name for name in ("docker", "redis")}
CONDA_NAMES |= {f"python-{name}": name for name in ("duckdb", "fastjsonschema")}
CONDA_NAMES |= {"matplotlib-base": "matplotlib", "prometheus_client": "prometheus-client"}
BEHIND_EXTRAS = {"celery[redis]": "redis", "psycopg[binary]": "psycopg-binary"}


def versions(name: str) -> dict[str, str]:
    """The pinned versions of a lock by package."""
    pins = re.findall(r"^([^\s#].*?) ?\\?$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    needs = map(Requirement, pins)
    found = {canonicalize_name(need.name): str(need.specifier).removeprefix("==") for need in needs}
    # One version for all Pythons, so that the stored outputs of the lessons come from the same releases everywhere.
    assert len(found) == len(pins)
    return found


def names_of(requirements: list[Requirement]) -> set[str]:
    """The PyPI names behind requirements, those that extras stand for included."""
    extras = {BEHIND_EXTRAS[f"{need.name}[{extra}]"] for need in requirements for extra in need.extras}
    return extras | {canonicalize_name(need.name) for need in requirements}


def test_a_lock_pins_every_dependency_at_its_floor() -> None:
    """A floor says "not tested below": it must be a prefix of what is pinned, or it has been forgotten."""
    locked = versions("requirements-dev.lock")
    assert names_of(DECLARED) <= set(locked) and names_of(LEARNING) <= set(versions("requirements.lock"))
    for need in DECLARED:
        version = locked[canonicalize_name(need.name)]
        [floor] = [one for one in need.specifier if one.operator == ">="]
        release = Version(floor.version).release
        assert need.specifier.contains(version) and Version(version).release[: len(release)] == release, need


def test_a_learner_gets_the_releases_of_the_tests_and_nothing_that_only_they_need() -> None:
    learning, everything = versions("requirements.lock"), versions("requirements-dev.lock")
    assert learning.items() <= everything.items()
    assert {"playwright", "sphinx", "py-rattler", "dask", "ruff"} <= set(everything) - set(learning)
    names = [canonicalize_name(need.name) for need in DECLARED]
    assert sorted(names) == sorted(set(names)), "a dependency is declared once"
    # jsonschema imports this where it is there, which takes seconds, in pytest and in JupyterLab alike.
    assert "rfc3987-syntax" not in everything


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_a_hash_for_each_pin_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    pins = [block for block in re.split(r"^(?=[^\s#])", text, flags=re.MULTILINE) if "==" in block]
    assert len(pins) == len(versions(name)) > 0
    assert [pin for pin in pins if not re.search(r"--hash=sha256:[0-9a-f]{64}", pin)] == []
    assert not re.search(r"://|@ file|^-|find-links|index-url|/opt/|/home/|/root/", text, re.MULTILINE)


def test_each_file_of_requirements_has_a_lock() -> None:
    there = [path.parent for path in ROOT.rglob("requirements.in") if ".venv" not in path.parts]
    assert sorted(FOLDERS) == sorted(str(folder.relative_to(ROOT)) for folder in there)


def test_conda_has_what_learning_needs_at_the_locked_versions() -> None:
    locked = versions("requirements.lock")
    lines = [line for line in CONDA["dependencies"] if isinstance(line, str)]
    specs = {spec.name.normalized: spec for spec in (MatchSpec(line, strict=True) for line in lines)}
    assert str(specs.pop("python").version).strip("=.*") in PYTHONS
    [by_pip] = [line["pip"] for line in CONDA["dependencies"] if isinstance(line, dict)]
    assert by_pip.pop() == "-e ."
    pinned = {need.name: str(need.specifier) for need in map(Requirement, by_pip)}
    assert pinned == {name: f"=={locked[name]}" for name in pinned}
    wanted = names_of(LEARNING) - set(pinned)
    found = {CONDA_NAMES.get(name, name): spec for name, spec in specs.items()}
    assert set(found) == wanted | {"pip"}
    for name in wanted:
        asked = VersionSpec(found[name].version)
        assert asked.matches(CondaVersion(locked[name])) and not asked.matches(CondaVersion("0.0.1")), name
    assert CONDA["channels"] == ["conda-forge", "nodefaults"]


def test_the_supported_pythons_are_the_same_everywhere() -> None:
    assert [f"3.{minor}" for minor in range(setup.OLDEST[1], setup.NEWEST[1] + 1)] == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"  # no upper bound: a newer one is tried
    classifiers = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert classifiers == PYTHONS
    named = ", ".join(PYTHONS[:-1]) + f" or {PYTHONS[-1]}"
    for page in ("README.md", "Makefile", "compose/airflow/Dockerfile", "compose/service/Dockerfile"):
        assert named in (ROOT / page).read_text(encoding="utf-8"), page
