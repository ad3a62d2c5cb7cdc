"""A platform in a process that stays: for a command that ends, and whose replicas go on.

The process owns a database, a router and replicas, until SIGTERM.
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
from xmlrpc.client import Fault

from lib.deployment.platform import PlatformError
from lib.deployment.platforms.local import Local
from lib.deployment.platforms.remote import Remote, listen
from lib.deployment.replicas import ROOT
from lib.stage.files import replace_file
from lib.stage.servers import postgres

ADDRESS, NOTE = "platform.address", "platform.json"


class Detached(Remote):
    """The `LastingPlatform` that belongs to a state directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / ADDRESS)
        self.directory = directory

    def exists(self) -> bool:
        """See `LastingPlatform`: whether it answers."""
        try:
            return bool(self.active())
        except PlatformError as error:
            return isinstance(error.__cause__, Fault)  # one that fails is there

    def start(self, port: int) -> str:
        """See `LastingPlatform`."""
        note = self.directory / NOTE
        if not self.exists():
            note.unlink(missing_ok=True)
            log = self.directory / "platform.log"
            command = [sys.executable, "-m", __name__, str(self.directory), str(port)]
            with log.open("wb") as output:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                           start_new_session=True, cwd=ROOT)  # fmt: skip
            while not note.exists():
                if process.poll() is not None:
                    end = log.read_text()[-2000:]
                    raise PlatformError(f"the platform did not start; {log} ends with:\n{end}")
                time.sleep(0.05)
        return json.loads(note.read_text())["address"]

    def down(self) -> None:
        """See `LastingPlatform`."""
        if self.exists():  # so the process that is noted is the platform
            pid = json.loads((self.directory / NOTE).read_text())["pid"]
            os.kill(pid, signal.SIGTERM)
            with suppress(ProcessLookupError):
                while True:
                    with suppress(ChildProcessError):  # another process has started it
                        os.waitpid(pid, os.WNOHANG)
                    os.kill(pid, 0)
                    time.sleep(0.05)
        else:
            print("nothing is running")
        for name in (ADDRESS, NOTE, "routes.json"):
            (self.directory / name).unlink(missing_ok=True)


def _stay(directory: Path, port: int) -> None:
    """Own a database, a router and replicas until SIGTERM."""
    ended = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ended)
    with ExitStack() as stack:
        database = stack.enter_context(postgres())
        platform = stack.enter_context(Local(database.url, directory=directory, port=port))
        stack.enter_context(listen(platform, directory / ADDRESS))
        replace_file(directory / NOTE, json.dumps({"pid": os.getpid(), "address": platform.router.url}))
        signal.sigwait(ended)


if __name__ == "__main__":
    _stay(Path(sys.argv[1]), int(sys.argv[2]))
