"""`make lab`: a server on this machine only, with our settings, that ends whole."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import lab
import pytest
from traces import processes, processes_of_run

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def wait_until_open(port: int) -> None:
    """The server prints its address a moment before it listens."""
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as knock:
            if knock.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ask(url: str, token: str, data: dict[str, Any] | None = None) -> tuple[int, bytes]:
    """GET a page of the server, or POST `data` to it."""
    body = None if data is None else json.dumps(data).encode()
    request = Request(url, body, {"Authorization": f"token {token}"})
    with urlopen(request, timeout=60) as answer:
        return answer.status, answer.read()


def test_the_server_moves_to_a_free_port_serves_and_ends_with_its_kernels(taken_port: int) -> None:
    command = lab.lab_command({}, os.geteuid() == 0, taken_port)
    environ = lab.lab_environment(os.environ)
    with subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True) as server:
        try:
            text = ""
            while not (found := re.search(r"(http://127\.0\.0\.1:(\d+))/(\S+)\?token=(\w+)", text)):
                line = server.stderr.readline()
                assert line, text
                text += line
            address, port, page, token = found.groups()
            assert (int(port) != taken_port, page) == (True, "lab/tree/work/00_start_here.ipynb")
            wait_until_open(int(port))
            status, html = ask(f"{address}/{page}", token)
            assert (status, b"JupyterLab" in html) == (200, True)
            settings = json.loads(
                ask(f"{address}/lab/api/settings/@jupyterlab/apputils-extension:notification", token)[1]
            )
            assert settings["schema"]["properties"]["fetchNews"]["default"] == "false"
            kernel = json.loads(ask(f"{address}/api/kernels", token, {"name": "python3"})[1])
            assert kernel["name"] == "python3"
            started = processes_of_run(server.pid, "", os.getpid())
            assert any("ipykernel" in process.command for process in started), started
            server.send_signal(signal.SIGTERM)
            server.stderr.read()
            assert server.wait(timeout=60) == 0
        finally:
            server.kill()
    assert {process.pid for process in started} & set(processes()) == set()


def test_settings_are_added_to_those_that_are_there() -> None:
    environ = lab.lab_environment({"PATH": "/usr/bin", "JUPYTER_CONFIG_PATH": "/mine"})
    assert environ["JUPYTER_CONFIG_PATH"] == f"{ROOT / '.jupyter'}{os.pathsep}/mine"
    assert environ["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}/usr/bin"
    assert lab.lab_environment({})["JUPYTER_CONFIG_PATH"] == str(ROOT / ".jupyter")


@pytest.mark.parametrize(
    ("environ", "is_root", "port", "options"),
    [
        ({}, False, None, ["--no-browser"]),
        ({"DISPLAY": ":0"}, False, None, []),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True, None, ["--allow-root"]),
        ({"DISPLAY": ":0"}, False, 9000, ["--port=9000"]),
    ],
    ids=["no-display", "display", "root", "port"],
)
def test_options(environ: dict[str, str], is_root: bool, port: int | None, options: list[str]) -> None:
    if sys.platform == "darwin":
        pytest.skip("macOS always has a display")
    command = lab.lab_command(environ, is_root, port)
    found = [word for word in command if word.startswith(("--no-browser", "--allow-root", "--port"))]
    assert found == options


def test_the_config_names_what_is_installed() -> None:
    """A server extension that was renamed would come back without a word."""
    from importlib.metadata import files

    installed = [
        path
        for name in ("nbgrader", "jupytext")
        for path in files(name)
        if "jupyter_server_config.d" in str(path)
    ]
    extensions = {
        name
        for path in installed
        for name in json.loads(path.locate().read_text(encoding="utf-8"))["ServerApp"]["jpserver_extensions"]
    }
    text = (ROOT / ".jupyter" / "jupyter_server_config.py").read_text(encoding="utf-8")
    assert extensions == set(re.findall(r'^        "(\w[\w.]*)",$', text, re.MULTILINE))
