"""`make lab`: a server on this machine only, with our settings, that ends whole."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from importlib.metadata import files

import lab
import requests
from leftovers import descendants, still_running
from project import ROOT
from waiting import until


def listens(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


def test_the_server_moves_to_a_free_port_serves_and_ends_with_its_kernels() -> None:
    environ = lab.lab_environment(os.environ, "en")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        command = lab.lab_command({}, os.geteuid() == 0, taken)
        server = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True)
        try:
            text = ""
            while not (found := re.search(r"(http://127\.0\.0\.1:(\d+))/(\S+)\?token=(\w+)", text)):
                line = server.stderr.readline()
                assert line, text
                text += line
            address, port, page, token = found.groups()
            assert (int(port) != taken, page) == (True, "lab/tree/work/00_start_here.ipynb")
            until(lambda: listens(int(port)))  # it prints its address a moment before it listens
            with requests.Session() as session:
                session.headers["Authorization"] = f"token {token}"
                assert "JupyterLab" in session.get(f"{address}/{page}").text
                settings = f"{address}/lab/api/settings/@jupyterlab/apputils-extension:notification"
                assert session.get(settings).json()["schema"]["properties"]["fetchNews"]["default"] == "false"
                kernel = session.post(f"{address}/api/kernels", json={"name": "python3"}).json()
                assert kernel["name"] == "python3"
            started = descendants(server.pid)
            assert any("ipykernel" in command for command in started.values()), started
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=60)
            assert server.returncode == 0
        finally:
            server.kill()
    assert still_running(started) == []


def test_without_a_display_no_browser_is_opened_and_the_port_may_be_chosen() -> None:
    bare = lab.lab_command({}, True, None)
    assert {"--no-browser", "--allow-root"} <= set(bare) and not any("--port" in word for word in bare)
    chosen = lab.lab_command({"DISPLAY": ":0"}, False, 9000)
    assert "--port=9000" in chosen and not {"--no-browser", "--allow-root"} & set(chosen)


def test_the_extensions_that_are_turned_off_are_those_that_are_installed() -> None:
    """One that was renamed would come back without a word."""
    paths = [path.locate() for name in ("nbgrader", "jupytext") for path in files(name)]
    named = [path for path in paths if path.parent.name == "jupyter_server_config.d"]
    configs = [json.loads(path.read_text()) for path in named]
    installed = {name for config in configs for name in config["ServerApp"]["jpserver_extensions"]}
    text = (ROOT / ".jupyter" / "jupyter_server_config.py").read_text(encoding="utf-8")
    assert installed == set(re.findall(r'^        "(\w[\w.]*)",$', text, re.MULTILINE))
