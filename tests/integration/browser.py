"""A real JupyterLab and a real browser for tests: what a learner does with the mouse, and what she then sees.

with jupyterlab(folder) as server, chromium() as browser:
    lesson = open_lesson(browser, server, "work/04_schema_versions.ipynb")
    run_all(lesson, cells=60)
    save(lesson)                                   # then the file holds what the page shows
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from integration import BROWSERS
from lab import lab_command, lab_environment
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from waiting import until

from lib.deployment.replicas import answers
from lib.stage.ports import run_on_free_port
from lib.stage.processes import Process

CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
# No sandbox: it cannot be had by root. The rest: no packet leaves this machine.
QUIET = """
    --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync
""".split()
OPENED, FINISHED = 120_000, 600_000  # milliseconds, for a busy machine


@contextlib.contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """The JupyterLab of `make lab`, for the files of `folder`; gives the address of a file, but for its path. It ends with its kernels."""
    token = secrets.token_hex(16)
    with Process() as process:
        environ = lab_environment(os.environ, "en") | {
            "JUPYTER_TOKEN": token,
            "LESSONS_GUESSES": str(process.directory / "guesses.jsonl"),
            "JUPYTERLAB_SETTINGS_DIR": str(process.directory / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(process.directory / "workspaces"),
        }

        def start(port: int) -> Process:
            command = [*lab_command({}, os.geteuid() == 0, port, folder), "--ServerApp.port_retries=0"]
            return process.run(command, env=environ, cwd=folder)

        def ready(port: int) -> bool:
            return answers(port, f"/api/status?token={token}")

        port = run_on_free_port(start, ready, name="JupyterLab", timeout=120)
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={token}"


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window, which keeps its settings in a home folder of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home, sync_playwright() as playwright:
        mine = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
        launched = {"executable_path": CHROMIUM, "args": QUIET, "env": mine | {"HOME": home}}
        with playwright.chromium.launch(**launched) as browser:
            yield browser


def open_lesson(browser: Browser, server: str, name: str) -> Page:
    """Open a notebook and wait until its kernel is there. `name` is its path in the server's folder."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(server.format(name))
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=OPENED)
    return page


def run_all(page: Page, cells: int) -> None:
    """Choose Run All from the menu and wait until `cells` code cells have run, the last of which is not folded.

    The number comes from the file, not from the page. A folded cell shows no prompt, but those after it wait for it.
    """
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator('[data-command="runmenu:run-all"]').click()
    texts = "[...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].map(one => one.textContent)"
    page.wait_for_function(
        f"count => {{ const shown = {texts}.filter(text => text); "
        "return document.querySelectorAll('.jp-CodeCell').length == count && shown.length > count / 4 "
        "&& shown.every(text => /^\\[\\d+\\]:$/.test(text)); }",
        arg=cells,
        timeout=FINISHED,
    )


def save(page: Page, file: Path) -> None:
    """Save by the keyboard, and wait until the file has changed."""
    before = file.stat().st_mtime_ns
    page.keyboard.press("Control+s")
    until(lambda: page.wait_for_timeout(100) or file.stat().st_mtime_ns != before)


def figures(page: Page) -> list[Locator]:
    """The pictures in the outputs."""
    return page.locator(".jp-OutputArea-output img").all()
