"""pyproject.toml, requirements.lock and environment.yml say the same."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from rattler import MatchSpec, VersionSpec
from rattler import Version as CondaVersion

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ["3.11", "3.12", "3.13"]
# conda-forge's name of a package, where it is not that of PyPI.
CONDA_NAMES = {
    "dask": "dask-core",
    "docker": "docker-py",
    "duckdb": "python-duckdb",
    "fastjsonschema": "python-fastjsonschema",
    "matplotlib": "matplotlib-base",
    "prometheus-client": "prometheus_client",
    "redis": "redis-py",
}
# What an extra of a dependency stands for: conda knows no extras.
BEHIND_EXTRAS = {"celery[redis]": "redis", "psycopg[binary]": "psycopg-binary"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def declared(project: dict[str, Any]) -> list[Requirement]:
    """All dependencies of the project, those of its extras included."""
    lists = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    return [Requirement(line) for lines in lists for line in lines]


@pytest.fixture(scope="module")
def lock_text() -> str:
    return (ROOT / "requirements.lock").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def locked(lock_text: str) -> dict[str, Requirement]:
    """The pins of the lock by name."""
    pins = re.findall(r"^([^\s#].*?) ?\\?$", lock_text, re.MULTILINE)
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, pins)}


@pytest.fixture(scope="module")
def conda() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def conda_specs(conda: dict[str, Any]) -> dict[str, MatchSpec]:
    lines = [line for line in conda["dependencies"] if isinstance(line, str)]
    specs = [MatchSpec(line, strict=True) for line in lines]
    return {spec.name.normalized: spec for spec in specs}


@pytest.fixture(scope="module")
def conda_pip(conda: dict[str, Any]) -> list[str]:
    [section] = [line["pip"] for line in conda["dependencies"] if isinstance(line, dict)]
    return section


def pinned(locked: dict[str, Requirement], name: str) -> str:
    [specifier] = locked[canonicalize_name(name)].specifier
    assert specifier.operator == "=="
    return specifier.version


def names_of(requirements: list[Requirement]) -> Iterator[str]:
    """The PyPI names behind requirements, those that extras stand for included."""
    for requirement in requirements:
        yield canonicalize_name(requirement.name)
        for extra in requirement.extras:
            yield BEHIND_EXTRAS[f"{requirement.name}[{extra}]"]


def test_lock_pins_every_dependency_within_its_bounds(
    declared: list[Requirement], locked: dict[str, Requirement]
) -> None:
    wrong = [str(need) for need in declared if not need.specifier.contains(pinned(locked, need.name))]
    assert wrong == []
    assert set(names_of(declared)) <= set(locked)


def test_a_dependency_is_declared_once(declared: list[Requirement]) -> None:
    names = [canonicalize_name(need.name) for need in declared]
    assert sorted(names) == sorted(set(names))


def test_floors_are_the_tested_releases(declared: list[Requirement], locked: dict[str, Requirement]) -> None:
    """A floor says "not tested below": it must be a prefix of what is pinned, or it has been forgotten."""
    for need in declared:
        [floor] = need.specifier
        assert floor.operator == ">="
        release = Version(floor.version).release
        assert Version(pinned(locked, need.name)).release[: len(release)] == release, str(need)


def test_lock_has_a_hash_for_each_pin_and_no_address(lock_text: str, locked: dict[str, Requirement]) -> None:
    blocks = re.split(r"^(?=[^\s#])", lock_text, flags=re.MULTILINE)
    pins = [block for block in blocks if block.strip() and not block.startswith("#")]
    assert len(pins) == len(locked) > 100
    assert [block for block in pins if not re.search(r"--hash=sha256:[0-9a-f]{64}", block)] == []
    assert not re.search(r"://|@ file|^-|find-links|index-url|/opt/|/home/|/root/", lock_text, re.MULTILINE)


def test_lock_pins_one_version_for_all_pythons(lock_text: str) -> None:
    """So that the stored outputs of the lessons come from the same releases everywhere."""
    names = re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*?\])?==", lock_text, re.MULTILINE)
    assert sorted(names) == sorted(set(names))


def test_lock_leaves_out_what_makes_each_start_slow(locked: dict[str, Requirement]) -> None:
    """jsonschema imports rfc3987-syntax where it is there, which takes seconds, in pytest and in JupyterLab alike."""
    assert {"rfc3987-syntax", "lark"} & set(locked) == set()
    assert {"jsonschema", "jupyter-events"} <= set(locked)


def test_the_lock_is_made_by_one_documented_command() -> None:
    import lock

    command = lock.lock_command(Path("uv"), "pyproject.toml", upgrade=False)
    assert {"--universal", "--generate-hashes", "--no-emit-index-url", "--all-extras"} <= set(command)
    assert command[-3:] == ["pyproject.toml", "--output-file", "requirements.lock"]
    assert sorted(lock.LOCKS) == sorted(
        ["pyproject.toml", *(str(path.relative_to(ROOT)) for path in ROOT.glob("[!.]*/*/requirements.in"))]
    )
    assert "make lock" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_conda_says_the_same_as_pyproject(
    declared: list[Requirement], conda_specs: dict[str, MatchSpec], conda_pip: list[str]
) -> None:
    by_pip = {canonicalize_name(Requirement(line).name) for line in conda_pip if not line.startswith("-e")}
    wanted = {CONDA_NAMES.get(name, name) for name in names_of(declared) if name not in by_pip}
    assert set(conda_specs) - {"python"} == wanted
    assert by_pip <= set(names_of(declared))


def test_conda_versions_are_the_locked_ones(
    conda_specs: dict[str, MatchSpec], locked: dict[str, Requirement]
) -> None:
    pypi_names = {theirs: ours for ours, theirs in CONDA_NAMES.items()}
    for name, spec in conda_specs.items():
        if name != "python":
            locked_version = pinned(locked, pypi_names.get(name, name))
            versions = VersionSpec(spec.version)
            assert versions.matches(CondaVersion(locked_version)), f"{spec} is not {locked_version}"
            assert not versions.matches(CondaVersion("0.0.1")), f"{spec} takes anything"


def test_conda_pip_lines_are_the_locked_ones(conda_pip: list[str], locked: dict[str, Requirement]) -> None:
    assert conda_pip[-1] == "-e ."
    for line in conda_pip[:-1]:
        need = Requirement(line)
        assert str(need.specifier) == f"=={pinned(locked, need.name)}"


def test_conda_takes_packages_from_one_place(conda: dict[str, Any]) -> None:
    assert conda["channels"] == ["conda-forge", "nodefaults"]


def test_supported_pythons_are_the_same_everywhere(
    project: dict[str, Any], conda_specs: dict[str, MatchSpec]
) -> None:
    import setup

    assert [f"{setup.OLDEST[0]}.{minor}" for minor in range(setup.OLDEST[1], setup.NEWEST[1] + 1)] == PYTHONS
    assert project["project"]["requires-python"] == ">=3.11,<3.14"
    assert {f"python{python}" for python in PYTHONS} <= set(setup.NAMES)
    assert str(conda_specs["python"].version).strip("=.*") in PYTHONS
