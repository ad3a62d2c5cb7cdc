"""A pytest plugin that makes nbval as strict as this collection needs it: `PYTHONPATH=tools pytest -p nbval_frame --nbval …`.

What it adds to `--nbval`:

- cells run with `store_history=True`, as JupyterLab runs them, so that a trailing `;` hides an output here too;
- a kernel that dies fails the cell that killed it, at once, instead of waiting for the time-out;
- a cell that was never executed (no execution count), one that nbval would skip, and one with an unknown `nbval-…` tag
  fail: nbval would compare nothing and pass;
- a rule of the sanitize file that nbval would drop without a word is an error;
- the kernel is the Python that runs pytest; a cell may take two minutes (`--nbval-cell-timeout` overrides it);
- cells of lessons whose metadata say `"lesson": {"measures": true}` carry the mark `measures`.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from nbval import kernel as nbval_kernel
from nbval.plugin import IPyNbCell, get_sanitize_patterns, metadata_tags

NBVAL_TIMEOUT = 2000.0  # the default of nbval itself
CELL_TIMEOUT = 120.0
MESSAGE_TIMEOUT = (
    30.0  # nbval waits 5 s for a message that is already on its way; a busy machine may need longer
)
POLL = 1.0


def execute_cell_input(kernel: Any, source: str, allow_stdin: bool | None = None) -> str:
    """Execute a cell as JupyterLab does, with a history. Returns the id of the request."""
    return kernel.kc.execute(source, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)


def await_reply(kernel: Any, msg_id: str, timeout: float | None = None) -> None:
    """Wait for the answer to a request, as long as the kernel lives.

    Raises:
        Empty: no answer within `timeout` seconds.
        RuntimeError: the kernel died or refused the request.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        try:
            message = kernel.get_message("shell", timeout=POLL)
        except Empty:
            if not kernel.is_alive():
                raise RuntimeError(
                    "The kernel died while it ran this cell (killed, or out of memory?)."
                ) from None
            if deadline is not None and time.monotonic() > deadline:
                raise
            continue
        if message["parent_header"].get("msg_id") == msg_id:
            if message["content"]["status"] == "aborted":
                raise RuntimeError("The kernel aborted the request.")
            return


def refusal(cell: Any) -> str | None:
    """Why a cell would pass without being compared, or None when it is compared."""
    if cell.execution_count is None and cell.source.strip():
        return (
            "was never executed, so there is nothing to compare: execute the notebook and store its outputs."
        )
    for tag in cell.metadata.get("tags", []):
        if tag.startswith("nbval-") and tag not in metadata_tags:
            return f"has the tag {tag!r}, which nbval does not know and would ignore."
        if tag == "nbval-skip":
            return "has the tag 'nbval-skip': a cell that never runs tests nothing."
    return None


def sanitize_rules(text: str) -> list[tuple[str, str]]:
    """The (regex, replacement) pairs of a sanitize file.

    Raises:
        ValueError: a line is no comment and belongs to no pair, so that nbval would drop it silently.
    """
    rules = get_sanitize_patterns(text)
    lines = [line for line in text.splitlines() if re.match(r"\s*(regex|replace)\b", line)]
    if len(lines) != 2 * len(rules):
        raise ValueError(
            f"{len(lines)} 'regex:'/'replace:' lines make only {len(rules)} rules. A rule is 'regex: …' and, on the very "
            "next line, 'replace: …', each with exactly one space after the colon."
        )
    for regex, _ in rules:
        re.compile(regex)
    return rules


def pytest_configure(config: pytest.Config) -> None:
    """Patch nbval, set the defaults, and refuse a sanitize file with dead rules."""
    config.addinivalue_line("markers", "measures: times things, so it runs alone")
    nbval_kernel.RunningKernel.execute_cell_input = execute_cell_input
    nbval_kernel.RunningKernel.await_reply = await_reply
    if not config.option.nbval_kernel_name:
        config.option.nbval_current_env = True
    if not any(
        str(argument).startswith("--nbval-cell-timeout") for argument in config.invocation_params.args
    ):
        config.option.nbval_cell_timeout = CELL_TIMEOUT
    if config.option.nbval_sanitize_with:
        try:
            sanitize_rules(Path(config.option.nbval_sanitize_with).read_text(encoding="utf-8"))
        except (ValueError, re.error) as error:
            raise pytest.UsageError(f"{config.option.nbval_sanitize_with}: {error}") from error


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give each notebook cell its mark and a patient reader."""
    if isinstance(item, IPyNbCell):
        item.output_timeout = MESSAGE_TIMEOUT
        if item.parent.nb.metadata.get("lesson", {}).get("measures"):
            item.add_marker("measures")


@pytest.hookimpl(tryfirst=True)  # before a kernel is started
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a cell that nbval would let pass unseen."""
    if isinstance(item, IPyNbCell) and (reason := refusal(item.cell)):
        pytest.fail(f"Cell {item.cell_num} [{item.cell.get('id')}] {reason}", pytrace=False)
