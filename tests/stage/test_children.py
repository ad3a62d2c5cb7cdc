"""Functions of a notebook, called in processes of their own: they get what they name, may be killed, and say why they failed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.stage import children
from lib.stage.children import die
from lib.stage.processes import Process, ProcessError

FACTOR, GREETING = 3, {"es": ["hola", None]}
SERVER = Process  # a class of `lib`: imported where it is needed
OPEN = open(os.devnull)  # what no other process can get


def times(number: int) -> int:
    return FACTOR * number


def go_on(seconds: float = FACTOR / 3000) -> None:
    time.sleep(seconds)


def note(folder: str, number: int, between: Callable[[], object] = go_on) -> None:
    """Write a file in a function inside the function, be killed perhaps, and write another one."""

    def write(name: str) -> None:
        Path(folder, name).write_text(f"{times(number)} {GREETING['es'][0]} {SERVER.__name__}")

    write(f"before-{number}")
    between()
    write(f"after-{number}")


def read_open() -> str:
    return OPEN.read()


for function in (times, go_on, note, read_open):
    function.__module__ = "__main__"  # as in a notebook


@pytest.mark.parametrize("at_once", [1, 2, 8])
def test_each_call_has_a_process_that_knows_what_the_function_names_and_may_be_killed(
    at_once: int, tmp_path: Path
) -> None:
    calls = [(str(tmp_path), 1, die), (str(tmp_path), 2), (str(tmp_path), 3, die)]
    assert children.call_each(note, calls, at_once=at_once) == [-9, 0, -9]
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    names = {"before-1": 3, "before-2": 6, "after-2": 6, "before-3": 9}
    assert written == {name: f"{number} hola Process" for name, number in names.items()}


def test_a_call_in_the_background_goes_on_until_it_is_killed(tmp_path: Path) -> None:
    with children.start(note, str(tmp_path), 1) as process:
        assert process.wait(60) == 0 and len(list(tmp_path.iterdir())) == 2
    with children.start(go_on, 600) as process:
        assert process.alive
        process.kill()
        assert process.returncode == -9


def test_a_call_that_raises_says_why() -> None:
    with pytest.raises(ProcessError, match=r"(?s)times ended with status 1.*TypeError: .*'NoneType'"):
        children.call_each(times, [(2,), (None,)])


@pytest.mark.parametrize("call", [(times, OPEN), (read_open,)], ids=["an argument", "a global name"])
def test_what_no_other_process_can_get_is_named_before_anything_starts(call: tuple) -> None:
    with pytest.raises(TypeError, match=r"can't receive a TextIOWrapper.*create it inside the function"):
        children.start(*call)
