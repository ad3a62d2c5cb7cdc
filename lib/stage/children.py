"""Call functions of a notebook in child processes, which may be killed in the middle.

    statuses = call_each(pay, [(1,), (2,)])       # one after another, each call in a child process
    with start(consume, "billing") as process:    # in the background, until it ends or is killed
        process.kill()

A process receives a function as source code, together with the names it uses: other functions of the notebook, modules, and
constants that Python can read back from text. Later changes to the notebook's variables do not reach it. All child processes
end with the notebook's kernel.
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
    """Kill this process with SIGKILL. No `finally`, `with` or handler runs afterwards."""
    os.kill(os.getpid(), signal.SIGKILL)


def start(function: Callable[..., object], *arguments: Any) -> Process:
    """Call a function in a child process; return the process while the call is still running.

    Raises TypeError for a value that can't be written as code.
    """
    return _run(f"{_value(function)}(*{_value(arguments)})", function, arguments)


def call_each(
    function: Callable[..., object],
    calls: Sequence[tuple[Any, ...]],
    *,
    at_once: int = 1,
    timeout: float = 60,
) -> list[int]:
    """Call a function once for each tuple of arguments, each call in its own child process.

    at_once: how many children may run at a time; 1: one after another.
    Returns the exit status of each call: 0, or -9 if it was killed. Raises ProcessError, with the end of the calls' output, if
    one of them raised, or if all together take more than `timeout` seconds; raises TypeError as `start` does.
    """
    name = "_call_each_here"
    start_calls = f"{name}({_value(function)}, {_value(list(calls))}, {at_once})"
    code = f"from lib.stage.children import {name}\n{start_calls}"
    with _run(code, function, *calls) as process:
        process.complete(name=function.__name__, timeout=timeout)
        statuses: list[int] = json.loads(process.output().splitlines()[-1])
        return statuses


def _call_each_here(function: Callable[..., object], calls: Sequence[tuple[Any, ...]], at_once: int) -> None:
    """Fork a child for each call and print the exit statuses; exit with status 1 as soon as a call raises."""
    statuses, running = [0] * len(calls), dict[int, int]()
    gc.freeze()  # otherwise garbage collection in each child would copy memory pages
    for number, arguments in enumerate(calls):
        child = os.fork()
        if child == 0:
            function(*arguments)
            sys.stdout.flush()
            os._exit(0)  # skip the interpreter's teardown, which takes longer than most calls
        running[child] = number
        while len(running) >= at_once or (running and number == len(calls) - 1):
            child, status = os.wait()
            statuses[running.pop(child)] = exit_status = os.waitstatus_to_exitcode(status)
            if exit_status not in (0, -signal.SIGKILL):
                raise SystemExit(1)
    print(json.dumps(statuses), flush=True)


def _run(code: str, *values: Any) -> Process:
    """Start a program that defines the functions among `values` and then runs `code`."""
    names: dict[str, str] = {}
    for function in _functions(values):
        _define(function.__name__, function, names)
    process = Process()
    with process.stopped_on_failure():
        program = process.directory / PROGRAM  # in its own folder, because constants may hold a password
        program.write_text(FUTURE + "\n".join([*names.values(), code]))
        return process.run([sys.executable, program])


def _functions(value: Any) -> Iterator[FunctionType]:
    if isinstance(value, FunctionType):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _functions(part)


def _value(value: Any) -> str:
    """Return a value as code. Raises TypeError if Python could not read it back."""
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
            f"a child process can't receive a {kind}, {value!r:.60}: create it inside the function, or pass text or numbers"
        ) from None
    return repr(value)


def _define(name: str, value: Any, names: dict[str, str]) -> None:
    """Add to `names` the code that defines `name` as `value`, after the code of everything it needs."""
    if name in names:
        return
    if isinstance(value, ModuleType):
        names[name] = f"import {value.__name__} as {name}"
    elif isinstance(value, FunctionType) and value.__module__ == "__main__":
        source, names[name] = textwrap.dedent(inspect.getsource(value)), ""  # "": it may call itself
        used = _globals(compile(FUTURE + source, name, "exec"))
        for other in sorted(used & set(value.__globals__)):
            _define(other, value.__globals__[other], names)
        names |= {name: names.pop(name) + source}  # after the names that its defaults use
    elif isinstance(value, FunctionType | type):
        names[name] = f"from {value.__module__} import {value.__qualname__} as {name}"
    else:
        names[name] = f"{name} = {_value(value)}"


def _globals(code: CodeType) -> set[str]:
    """Return the global names that a code object and its inner functions use."""
    used = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = [_globals(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return used.union(*inner)
