"""Lesson 15's release: what stage 4 takes of the learner's; both forms agree with the migration; services and workers run a tree."""

from __future__ import annotations

import contextlib
import io
import linecache
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import psycopg
import pytest
from lessons import LESSONS, ROOT, code_cells, is_solution, read

from lib.deployment.platforms.local import Local
from lib.deployment.replicas import call
from lib.deployment.states import Release
from lib.stage.servers import Server
from lib.versioning import DataVersionManager, make_users
from lib.versioning.users import in_all_forms

PACKED = ZipFile(LESSONS / "data/capstone/reviewed.zip")
REVIEWED = PACKED.read("version_4.py").decode()
MERGED: dict[str, Any] = {"__name__": "version_4"}
exec(REVIEWED, MERGED)  # noqa: S102 (a file of ours)
HISTORY, both = MERGED["USERS"], MERGED["in_all_forms"]
LESSON = read(LESSONS / "15_capstone.ipynb")
NewDatabase = Callable[[], Server]
OLD = {"name": "Núria Ñíguez", "phone": "+34 600 123 456"}
NEW = {"full_name": "Núria Ñíguez", "phone_country": "+34", "phone_number": "600 123 456"}


def test_the_packed_answers_are_the_solutions() -> None:
    packed = PACKED.read("reviewed.py").decode()
    solutions = {cell.id: cell.source for cell in code_cells(LESSON) if is_solution(cell)}
    for number in (1, 3, 4, 5, 6, 7):
        lines = solutions[f"exercise-15-{number}"].splitlines(keepends=True)
        assert "".join(line for line in lines if "### " not in line) in packed


YOURS = """\
def both_forms(user):
    if "full_name" in user:
        return user | {"name": user["full_name"]}
    return user | {"full_name": user.get("name"), "phone_country": None, "phone_number": None}
"""


def chosen(dsn: str, **answers: str) -> tuple[set[str], str]:
    """The parts that stage 4 replaces by reviewed ones, with these answers to stages 1 to 3; and what the tag adds to them."""
    cells = {cell.id: cell.source for cell in code_cells(LESSON)}
    names: dict[str, Any] = {"__name__": "__main__"}
    wanted = ("setup", "parameters", "define", "data-15")
    with contextlib.chdir(LESSONS), contextlib.redirect_stdout(io.StringIO()) as said:
        for identity, source in cells.items():
            if identity.startswith(wanted) and "draw" not in identity:
                exec(source, names)  # noqa: S102 (the lesson's own code)
        for name, source in answers.items():
            linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
            exec(compile(source, name, "exec"), names)  # noqa: S102
        with psycopg.connect(dsn, autocommit=True) as connection:
            parts, tag = names["chosen"](connection)
    reviewed = {line.partition(":")[0] for line in said.getvalue().splitlines() if "reviewed" in line}
    assert {name for name, part in parts.items() if part is not names.get(name)} == reviewed
    return reviewed, tag


def test_stage_4_takes_what_the_learner_made_and_says_what_is_wrong(new_database: NewDatabase) -> None:
    ids = {"steps_v4": 1, "both_forms": 3, "expand_sql": 4, "backfill_sql": 5, "mend": 6, "evidence": 7}
    cells = {cell.id: cell.source for cell in code_cells(LESSON)}
    right = {name: cells[f"exercise-15-{number}"] for name, number in ids.items()}
    reviewed, tag = chosen(new_database().dsn, **right)
    assert not reviewed and "SplitField(name='phone'" in tag and right["both_forms"] in tag
    wrong = {
        "steps_v4": "def steps_v4(): return [versioning.RenameField('name', 'full_name')]",
        "both_forms": YOURS,
        "expand_sql": right["expand_sql"].replace("full_name", "fullname"),
        "backfill_sql": right["backfill_sql"].replace("COALESCE(full_name, name)", "name"),
        "evidence": "def evidence(first, second): raise TypeError",
    }
    reviewed, tag = chosen(new_database().dsn, **wrong)
    assert reviewed == set(ids) and "SplitField" not in tag and "both_forms" not in tag


def test_a_release_that_is_in_no_phase_writes_one_form() -> None:
    assert in_all_forms(OLD) == OLD


def test_both_forms_pass_the_check_of_the_learners_own() -> None:
    """The cases of exercise 15.3: what is filled, what stays, what is refused; and that the argument is not changed."""
    cells = {cell.id: cell.source for cell in code_cells(LESSON)}
    names = {"both_forms": both}
    for identity in ("data-15-3", "data-15-3-cases", "check-15-3"):
        exec(cells[identity], names)  # noqa: S102 (the lesson's own code)


def test_both_forms_are_those_of_the_migration() -> None:
    manager = DataVersionManager(HISTORY)
    for user in make_users(300, seed=1, version=3):
        up = manager.upgrade_data(user, 4)
        assert both(user) == user | {name: value for name, value in up.items() if name != "schema_version"}
        assert {**both(up), "schema_version": 3} == both(user)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of v4.0.0."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "lib", tree / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "lib/versioning/version_4.py").write_text(REVIEWED, encoding="utf-8")
    with (tree / "lib/versioning/users.py").open("a") as file:
        file.write("\n\nfrom lib.versioning.version_4 import USERS, in_all_forms\n")
    return tree


def test_green_writes_both_forms_and_each_reads_the_other(new_database: NewDatabase, tree: Path) -> None:
    base = {"created_at": "2024-01-01", "updated_at": "2024-01-01", "email": None}
    with Local(new_database().url) as platform:
        [blue] = platform.create("blue", Release("v3.0.0", 3))
        [green] = platform.create("green", Release("v4.0.0", 4, tree=str(tree)))
        for identity, port, form in (("a", blue, OLD), ("b", green, OLD), ("c", green, NEW)):
            assert call(port, "/users", base | form | {"id": identity})[0] == 201
        for identity in "abc":
            status, user = call(green, f"/users/{identity}")
            assert status == 200 and (OLD | NEW).items() <= user.items()
            status, user = call(blue, f"/users/{identity}")
            assert status == 200 and OLD.items() <= user.items() and not set(NEW) & set(user)
        status, answer = call(green, "/users", base | OLD | {"full_name": "Rui Gil"})
        assert (status, answer["detail"]) == (422, ["name and full_name contradict each other"])
