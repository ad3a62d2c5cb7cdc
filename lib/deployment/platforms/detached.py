"""A platform of processes in a process that stays: for a command that ends, and whose replicas are to go on.

It is the owner of a database, a router and replicas (`lib.deployment.platform`), until SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from lib.deployment.platform import Local, PlatformError, Remote, serve
from lib.deployment.replicas import ROOT
from lib.stage.files import replace_file


class Detached(Remote):
    """The platform that belongs to a state directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "platform.sock")
        self.directory, self._note = directory, directory / "platform.json"

    def exists(self) -> bool:
        """Whether it answers."""
        with suppress(PlatformError):
            self.active()
            return True
        return False

    def start(self, port: int) -> str:
        """Start it where it does not run; return the address of the router. Port 0: a free one."""
        if not self.exists():
            self._note.unlink(missing_ok=True)
            log = self.directory / "platform.log"
            with log.open("wb") as output:
                command = [
                    sys.executable,
                    "-m",
                    "lib.deployment.platforms.detached",
                    str(self.directory),
                    str(port),
                ]
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                           start_new_session=True, cwd=ROOT)  # fmt: skip
            while not self._note.exists():
                if process.poll() is not None:
                    raise PlatformError(
                        f"the platform did not start; {log} ends with:\n{log.read_text()[-2000:]}"
                    )
                time.sleep(0.05)
        return json.loads(self._note.read_text())["address"]

    def down(self) -> None:
        """Stop it, with all it owns."""
        if self.exists():  # so the process that is noted is the platform
            pid = json.loads(self._note.read_text())["pid"]
            os.kill(pid, signal.SIGTERM)
            with suppress(ProcessLookupError):
                while True:
                    with suppress(ChildProcessError):  # another process has started it
                        os.waitpid(pid, os.WNOHANG)
                    os.kill(pid, 0)
                    time.sleep(0.05)
        else:
            print("nothing is running")
        for name in ("platform.json", "routes.json"):
            (self.directory / name).unlink(missing_ok=True)


def _stay(directory: Path, port: int) -> None:
    """Own a database, a router and replicas until SIGTERM."""
    from lib.stage.servers import postgres

    ended = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ended)
    with ExitStack() as stack:
        database = stack.enter_context(postgres())
        platform = stack.enter_context(Local(database.url, directory=directory, port=port))
        stack.enter_context(serve(platform, directory / "platform.sock"))
        note = {"pid": os.getpid(), "address": platform.router.url}
        replace_file(directory / "platform.json", json.dumps(note))
        signal.sigwait(ended)


if __name__ == "__main__":
    _stay(Path(sys.argv[1]), int(sys.argv[2]))
