"""Open the lessons in JupyterLab, on this machine only. `make lab` calls this after the set-up.

    python tools/lab.py [--port 9000]    all other options go to JupyterLab
    python tools/lab.py --language es    the lessons in Spanish
    python tools/lab.py --no-server      only make the copies in work/, for an editor or a server that runs already

It brings the learner's copies in `work/` up to date, then becomes the JupyterLab server, so that Ctrl-C (and y) or SIGTERM ends
the server with all its kernels. Settings are in `.jupyter/`; nothing in the user's own Jupyter configuration is changed. On a
JupyterHub, where a server runs already, this Python is added to its kernels instead.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import learner
import translations
from project import ROOT, STATE, activated

KERNEL = ["--name", "zero-downtime-pipelines", "--display-name", "Data pipelines without downtime"]


def lab_environment(environ: Mapping[str, str], language: str) -> dict[str, str]:
    """Return the environment variables for JupyterLab: our settings first, our kernel, and our own list of open tabs.

    Jupyter, IPython and Matplotlib write to the home folder. A read-only home folder is replaced.
    """
    config = os.pathsep.join(filter(None, [str(ROOT / ".jupyter"), environ.get("JUPYTER_CONFIG_PATH")]))
    own_home = {} if os.access(environ.get("HOME", ""), os.W_OK) else {"HOME": str(STATE / "home")}
    return activated(environ) | own_home | {
        "JUPYTER_CONFIG_PATH": config,
        "JUPYTERLAB_WORKSPACES_DIR": str(STATE / "workspaces"),
        "LESSONS_GUESSES": str(ROOT / "work" / ".guesses.jsonl"),
        "LESSONS_LANGUAGE": language,
    }  # fmt: skip


def lab_command(
    environ: Mapping[str, str], is_root: bool, port: int | None, folder: Path = ROOT
) -> list[str]:
    """Return the command line of the server, which shows the files of `folder`."""
    command = [sys.executable, *"-m jupyterlab --ip=127.0.0.1 --log-level=WARN".split()]
    command += [f"--ServerApp.root_dir={folder}", *["--allow-root"] * is_root]
    # Without a graphical browser, Python would start a text browser in this terminal.
    has_display = sys.platform == "darwin" or any(map(environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    command += ["--no-browser"] * (not has_display)
    return command + ([f"--port={port}"] if port else [])


def go_on_elsewhere(add_kernel: bool) -> str | None:
    """Print how to open the lessons in a running program, with a kernel of this Python. Returns an error message, if any."""
    install = [sys.executable, "-m", "ipykernel", "install", "--user", *KERNEL]
    if add_kernel and subprocess.run(install, stdout=subprocess.DEVNULL).returncode != 0:
        return "The kernel of the lessons could not be added: see On a JupyterHub in site/start.md."
    kernel = f"kernel {KERNEL[-1]!r}" if add_kernel else f"Python {sys.executable}"
    print(f"Open {ROOT}/work/00_start_here.ipynb, and choose the {kernel}.")


def main() -> None:
    parser = argparse.ArgumentParser(description="Open the lessons. Other options go to JupyterLab.")
    parser.add_argument("--port", type=int, help="the first port to try (default: 8888)")
    parser.add_argument(
        "--language", choices=["en", *translations.LANGUAGES], default="en", help="of the lessons"
    )
    parser.add_argument("--no-server", action="store_true", help="only make the copies in work/")
    options, passed_on = parser.parse_known_args()
    try:
        for message in learner.generate(translate=translations.into(options.language)):
            print(message)
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f"The learner's copies in work/ could not be made: {error}")
    if options.no_server or ("JUPYTERHUB_SERVICE_PREFIX" in os.environ and not passed_on):
        sys.exit(go_on_elsewhere(add_kernel=not options.no_server))
    print("Starting JupyterLab. It prints its address below; Ctrl-C, then y, stops it.", flush=True)
    command = lab_command(os.environ, os.geteuid() == 0, options.port) + passed_on
    os.chdir(ROOT)
    os.execve(sys.executable, command, lab_environment(os.environ, options.language))


if __name__ == "__main__":
    main()
