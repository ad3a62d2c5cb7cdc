"""Open the lessons in JupyterLab, on this machine only: what `make lab` does after the set-up.

It brings the learner's copies in `work/` up to date, then becomes the JupyterLab server, so that Ctrl-C (and y) or SIGTERM ends
the server with all its kernels. Settings are in `.jupyter/`; nothing in the user's own Jupyter configuration is changed.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import learner
from project import ROOT, STATE, activated


def lab_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that JupyterLab runs with: our settings first, our kernel, and our own memory of open tabs."""
    config = os.pathsep.join(filter(None, [str(ROOT / ".jupyter"), environ.get("JUPYTER_CONFIG_PATH")]))
    return activated(environ) | {
        "JUPYTER_CONFIG_PATH": config,
        "JUPYTERLAB_WORKSPACES_DIR": str(STATE / "workspaces"),
    }


def lab_command(
    environ: Mapping[str, str], is_root: bool, port: int | None, folder: Path = ROOT
) -> list[str]:
    """The command line of the server, which shows the files of `folder`."""
    command = [sys.executable, "-m", "jupyterlab", "--log-level=WARN", f"--ServerApp.root_dir={folder}"]
    command += ["--allow-root"] * is_root
    # Where no browser can open a window, Python would start a text browser in this terminal.
    has_display = sys.platform == "darwin" or any(map(environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    command += ["--no-browser"] * (not has_display)
    return command + ([f"--port={port}"] if port else [])


def main() -> None:
    parser = argparse.ArgumentParser(description="Open the lessons in JupyterLab (make lab).")
    parser.add_argument("--port", type=int, help="the first port to try (default: 8888)")
    options = parser.parse_args()
    try:
        for message in learner.generate():
            print(message)
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f"The learner's copies in work/ could not be made: {error}")
    print("Starting JupyterLab. It prints its address below; Ctrl-C, then y, stops it.", flush=True)
    command = lab_command(os.environ, os.geteuid() == 0, options.port)
    os.chdir(ROOT)
    os.execve(sys.executable, command, lab_environment(os.environ))


if __name__ == "__main__":
    main()
