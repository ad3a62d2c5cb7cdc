"""Owners of processes, for tests: other Python processes, each in a session that stands for its terminal."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The first call of gettempdir makes a file, which Ctrl-C at that moment would leave.
PRELUDE = """
import os, signal, sys, tempfile, time
from lib.stage.processes import Process
from lib.stage.servers import postgres, valkey
tempfile.gettempdir()
"""
#: Owns more and more of what MAKE makes, until it is interrupted; keeps the exception as IPython does, and lives on.
INTERRUPTED = """
kept = []
try:
    print("starting", flush=True)
    while True:
        kept.append(MAKE)
except KeyboardInterrupt as error:
    kept_error = error
for one in kept:
    one.stop()
print("interrupted", flush=True)
time.sleep(300)
"""


@contextlib.contextmanager
def owner(code: str, prefix: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """Run `code` in another Python process, the owner of what it starts; killed at the end."""
    command = [*prefix, sys.executable, "-c", PRELUDE + code]
    into = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True, **into) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """The next line that an owner prints."""
    assert process.stdout
    return process.stdout.readline().rstrip("\n")
