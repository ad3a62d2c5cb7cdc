"""Functions of a notebook, called in processes of their own, which may be killed in the middle.

    statuses = call_each(pay, [(1,), (2,)])       # one after another, each call in a child process
    with start(consume, "billing") as process:    # in the background, until it ends or is killed
        process.kill()

A process gets a function as source code, with what it names: other functions of the notebook, modules, and constants that
Python can read back from text. It does not see the variables of the notebook change. All of them end with the notebook's kernel.
"""

from __future__ import annotations

import ast
import dis
import gc
import inspect
import json
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any

from lib.stage.processes import Process

PROGRAM, FUTURE = "program.py", "from __future__ import annotations\n"


def die() -> None:
    """End this process by SIGKILL. No `finally`, no `with` and no handler runs after it."""
    os.kill(os.getpid(), signal.SIGKILL)


def start(function: Callable[..., object], *arguments: Any) -> Process:
    """Call a function in a process of its own; return the process while the call goes on.

    Raises TypeError for what can't be written down as code.
    """
    return _run(f"{_value(function)}(*{_value(arguments)})", function, arguments)


def call_each(
    function: Callable[..., object],
    calls: Sequence[tuple[Any, ...]],
    *,
    at_once: int = 1,
    timeout: float = 60,
) -> list[int]:
    """Call a function once for each tuple of arguments, each call in a child process of its own.

    at_once: so many children may run at a time; with 1, one after another.
    Returns the exit status of each call: 0, or -9 if it was killed. Raises ProcessError, with the end of what the calls
    wrote, when one of them raised, or when all together take more than `timeout` seconds; TypeError as `start` does.
    """
    name = "_call_each_here"
    start_calls = f"{name}({_value(function)}, {_value(list(calls))}, {at_once})"
    code = f"from lib.stage.children import {name}\n{start_calls}"
    with _run(code, function, *calls) as process:
        process.complete(name=function.__name__, timeout=timeout)
        statuses: list[int] = json.loads(process.output().splitlines()[-1])
        return statuses


def _call_each_here(function: Callable[..., object], calls: Sequence[tuple[Any, ...]], at_once: int) -> None:
    """Fork a child for each call and print their statuses; exit with status 1 as soon as a call raises."""
    statuses, running = [0] * len(calls), dict[int, int]()
    gc.freeze()  # else each child would copy what it collects
    for number, arguments in enumerate(calls):
        child = os.fork()
        if child == 0:
            function(*arguments)
            sys.stdout.flush()
            os._exit(0)  # without taking its modules apart, which takes longer than most calls
        running[child] = number
        while len(running) >= at_once or (running and number == len(calls) - 1):
            child, status = os.wait()
            statuses[running.pop(child)] = exit_status = os.waitstatus_to_exitcode(status)
            if exit_status not in (0, -signal.SIGKILL):
                raise SystemExit(1)
    print(json.dumps(statuses), flush=True)


def _run(code: str, *values: Any) -> Process:
    """Start a program that ends with `code`, in which the functions among `values` are defined."""
    names: dict[str, str] = {}
    for function in _functions(values):
        _define(function.__name__, function, names)
    process = Process()
    with process.stopped_on_failure():
        program = process.directory / PROGRAM  # in a folder of its own, since constants may hold a password
        program.write_text(FUTURE + "\n".join([*names.values(), code]))
        return process.run([sys.executable, program])


def _functions(value: Any) -> Iterator[FunctionType]:
    if isinstance(value, FunctionType):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _functions(part)


def _value(value: Any) -> str:
    """A value as code. Raises TypeError if Python could not read it back."""
    if isinstance(value, FunctionType):
        return value.__name__
    if isinstance(value, tuple | list):
        inner = "".join(f"{_value(part)}, " for part in value)
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    try:
        ast.literal_eval(repr(value))
    except (ValueError, SyntaxError):
        kind = type(value).__name__
        raise TypeError(
            f"a process of its own can't get a {kind}, {value!r:.60}: make it inside the function, or pass text or numbers"
        ) from None
    return repr(value)


def _define(name: str, value: Any, names: dict[str, str]) -> None:
    """Add to `names` the code that makes `name` mean `value`, and before it whatever that needs."""
    if name in names:
        return
    if isinstance(value, ModuleType):
        names[name] = f"import {value.__name__} as {name}"
    elif isinstance(value, FunctionType) and value.__module__ == "__main__":
        source, names[name] = textwrap.dedent(inspect.getsource(value)), ""  # "": it may name itself
        used = _globals(compile(FUTURE + source, name, "exec"))
        for other in sorted(used & set(value.__globals__)):
            _define(other, value.__globals__[other], names)
        names |= {name: names.pop(name) + source}  # behind what its defaults name
    elif isinstance(value, FunctionType | type):
        names[name] = f"from {value.__module__} import {value.__qualname__} as {name}"
    else:
        names[name] = f"{name} = {_value(value)}"


def _globals(code: CodeType) -> set[str]:
    """The global names that a piece of code uses, and the functions inside it."""
    used = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = [_globals(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return used.union(*inner)
