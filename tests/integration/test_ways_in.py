"""The ways in beside `make lab`, in a clean folder and as a user who is not root: a dev container, Binder, a hub, a proxy."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from lessons import LESSONS, ROOT, read
from run_tests import UNWANTED
from traces import MARK, UNTRACKED

from lib.deployment.replicas import answers
from lib.stage.ports import run_on_free_port
from lib.stage.processes import Process, user_ids

DEVCONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
USER = "nobody" if os.geteuid() == 0 else None
TOKEN = "a-token-of-this-test"


@dataclass
class Stranger:
    """Somebody else: a copy of the project, a home folder, and the `.venv` that the set-up makes."""

    folder: Path
    home: Path

    def command(self, *argv: str, **more: str) -> list[str]:
        """A command in a shell that knows nothing of this run, and whose `python` is that of `.venv`, as Binder's is its own."""
        ours = re.compile(rf"{MARK}|VIRTUAL_ENV|(JUPYTER|IPYTHON|MPL|UV_).*|{'|'.join(UNWANTED)}")
        clean = {name: value for name, value in os.environ.items() if not ours.fullmatch(name)}
        # Root's Pythons are not for others.
        path = "/usr/local/bin:/usr/bin:/bin" if USER else os.environ["PATH"]
        own = {"HOME": str(self.home), "TMPDIR": str(self.home), "PATH": f"{self.folder}/.venv/bin:{path}"}
        environ = clean | own | {"JUPYTER_TOKEN": TOKEN} | more
        return ["env", "-i", *(f"{name}={value}" for name, value in environ.items()), *argv]

    def run(self, *argv: str, status: int = 0, **more: str) -> str:
        """Run a command to its end; returns what it printed."""
        who = dict(zip(("user", "group"), user_ids(USER), strict=True), extra_groups=[]) if USER else {}
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(self.command(*argv, **more), cwd=self.folder, text=True, **streams, **who)
        assert done.returncode == status, done.stdout[-4000:]
        return done.stdout

    @contextlib.contextmanager
    def serve(self, *argv: str, base: str, **more: str) -> Iterator[str]:
        """Start a server, and give the address of `base` on it."""

        def ready(port: int) -> bool:
            return answers(port, f"{base}api/status?token={TOKEN}")

        def start(port: int) -> Process:
            options = [f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.base_url={base}"]
            return process.run(self.command(*argv, *options, **more), cwd=self.folder)

        with Process(user=USER) as process:
            port = run_on_free_port(start, ready, name=argv[0], timeout=300)
            yield f"http://127.0.0.1:{port}{base}"


@pytest.fixture(scope="module")
def stranger() -> Iterator[Stranger]:
    """A copy in which the commands of the dev container have run."""
    parent = Path(tempfile.mkdtemp())
    mine = Stranger(parent / "lessons", parent / "home")
    try:
        mine.home.mkdir()
        shutil.copytree(ROOT, mine.folder, ignore=shutil.ignore_patterns(*UNTRACKED))
        if USER:
            subprocess.run(["chown", "-R", f"{USER}:nogroup", parent], check=True)
        for step in ("onCreateCommand", "updateContentCommand"):
            mine.run("sh", "-c", DEVCONTAINER[step])
        yield mine
    finally:
        shutil.rmtree(parent)


def asked(address: str, path: str = "") -> requests.Response:
    """The answer to a browser that follows where it is sent."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"{address}{path}", params={"token": TOKEN}, timeout=60)


def test_a_dev_container_opens_the_learners_copy_with_the_python_of_the_lessons(stranger: Stranger) -> None:
    custom = DEVCONTAINER["customizations"]
    assert all((stranger.folder / path).is_file() for path in custom["codespaces"]["openFiles"])
    python = custom["vscode"]["settings"]["python.defaultInterpreterPath"]
    python = python.replace("${containerWorkspaceFolder}", str(stranger.folder))
    assert stranger.run(python, "-c", "import lib; print(lib.__file__)").startswith(str(stranger.folder))


def test_binder_shows_the_first_lesson_and_no_solution(stranger: Stranger) -> None:
    shutil.rmtree(stranger.folder / "work")
    installed = stranger.run(*"pip install -r .binder/requirements.txt".split())
    assert "Requirement already satisfied: jupyterlab==" in installed
    stranger.run("./.binder/postBuild")
    command = ["./.binder/start", "jupyter", "notebook", "--ip=127.0.0.1"]  # what repo2docker starts
    with stranger.serve(*command, base="/user/ana/", JUPYTERHUB_SERVICE_PREFIX="/user/ana/") as address:
        first = asked(address)
        assert first.status_code == 200 and "JupyterLab" in first.text
        assert first.url.partition("?")[0] == f"{address}lab/tree/00_start_here.ipynb"
        news = asked(address, "lab/api/settings/@jupyterlab/apputils-extension:notification").json()
        assert news["schema"]["properties"]["fetchNews"]["default"] == "false", "settings as in `make lab`"
        listed = asked(address, "api/contents/").json()["content"]
    work = stranger.folder / "work"
    assert {entry["name"] for entry in listed} == {path.name for path in work.glob("[!.]*")}
    solved, shown = (
        "\n".join(cell.source for path in folder.glob("*.ipynb") for cell in read(path).cells)
        for folder in (LESSONS, work)
    )
    solutions = re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", solved, re.DOTALL)
    assert [solution for solution in solutions if solution in shown] == [] and len(solutions) > 30
    assert [path for path in work.rglob("*.*") if b"BEGIN SOLUTION" in path.read_bytes()] == []


def test_behind_a_proxy_and_with_a_read_only_home_the_lab_works(stranger: Stranger, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    command = ["python", "tools/lab.py", "--no-browser"]
    with stranger.serve(*command, base="/lessons/", HOME=str(tmp_path)) as address:
        first = asked(address)
        assert first.status_code == 200 and f"{address}lab/tree/work/00_start_here.ipynb?" in first.url
        headers = {"Authorization": f"token {TOKEN}"}
        kernel = requests.post(f"{address}api/kernels", headers=headers, json={"name": "python3"}, timeout=60)
        assert kernel.status_code == 201, kernel.text
    assert list(tmp_path.iterdir()) == [] and (stranger.folder / ".state" / "home").is_dir()


def test_on_a_hub_the_python_of_the_lessons_becomes_a_kernel(stranger: Stranger, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    hub = {"JUPYTERHUB_SERVICE_PREFIX": "/user/ana/"}
    said = stranger.run("python", "tools/lab.py", **hub)
    [spec] = stranger.home.glob(".local/share/jupyter/kernels/*/kernel.json")
    found = json.loads(spec.read_text(encoding="utf-8"))
    assert found["argv"][0] == f"{stranger.folder}/.venv/bin/python"
    lesson = f"{stranger.folder}/work/00_start_here.ipynb"
    assert f"Open {lesson}, and choose the kernel '{found['display_name']}'" in said
    assert "site/start.md" in stranger.run("python", "tools/lab.py", status=1, HOME=str(tmp_path), **hub)
