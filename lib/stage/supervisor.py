"""The supervisor of one process: it stops that process and all its descendants when the owner ends.

`lib.stage.processes` runs this file as a script, one for each process: `supervisor.py DIRECTORY UID GID`. Standard input here
is a pipe whose other end the owner holds. However the owner ends, the pipe closes. The supervisor then stops the process, kills
the remaining descendants and removes DIRECTORY. It imports only a little of the standard library, because a lesson may start
twenty supervisors at the same time.

Messages are JSON, one a line. In: what to run. Out: `ready`, `pid`, `exit`, `error`.
"""

import contextlib
import ctypes
import json
import math
import os
import select
import signal
import subprocess
import sys
import time

OWN_CHILDREN = f"/proc/self/task/{os.getpid()}/children"
PR_SET_CHILD_SUBREAPER, IPC_RMID = 36, 0


def say(**message: object) -> None:
    """Send the owner a message. A pipe writes up to 4,096 bytes atomically, so the owner never reads half a message."""
    with contextlib.suppress(BrokenPipeError):  # the owner has ended, which the closed pipe reports as well
        os.write(1, json.dumps(message).encode() + b"\n")


def catch_signals() -> int:
    """Return a descriptor from which the number of each signal can be read.

    A child process inherits ignored and blocked signals, so all are reset first; handlers, unlike SIG_IGN, are not
    inherited. SIGPIPE stays ignored here: `subprocess` resets it in children.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
        signal.signal(number, signal.SIG_DFL)
    wake, wakened = os.pipe()
    os.set_blocking(wakened, False)
    signal.set_wakeup_fd(wakened, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    return wake


def remove_shared_memory(creators: set[int]) -> None:
    """Remove the System V shared memory of killed processes; the kernel does not (PostgreSQL has one segment)."""
    with contextlib.suppress(FileNotFoundError), open("/proc/sysvipc/shm") as table:
        for _, number, _, _, creator, _, attached, *_ in map(str.split, list(table)[1:]):
            if int(creator) in creators and attached == "0":
                ctypes.CDLL(None).shmctl(int(number), IPC_RMID, None)


class Supervisor:
    """Runs one process at a time and tracks all its descendants."""

    def __init__(self) -> None:
        self.child: int | None = None  # also the id of its session and its process group
        self.stop_signal, self.grace = int(signal.SIGTERM), 0.0
        self.deadline = math.inf  # finite once it has been asked to end; everything is killed then
        self.inbox = b""
        self.dead: dict[int, int] = {}  # the exit statuses of descendants, by process id
        # Descendants may leave the group, as PostgreSQL's backends do. On Linux, this process becomes the parent of their orphans.
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def supervise(self, wake: int) -> None:
        """Run until the process has been asked to stop and has ended, or its grace time is over."""
        while (left := self.deadline - time.monotonic()) > 0 and (left == math.inf or self.child is not None):
            sources, timeout = ([wake, 0], None) if left == math.inf else ([wake], left)
            ready = select.select(sources, [], [], timeout)[0]
            if wake in ready:
                if set(os.read(wake, 4096)) - {signal.SIGCHLD}:
                    self.end()
                self.reap()
                if self.child in self.dead:
                    self.kill_all()
            if 0 in ready:
                self.listen()

    def listen(self) -> None:
        data = os.read(0, 65536)
        if not data:
            return self.end()
        *lines, self.inbox = (self.inbox + data).split(b"\n")
        for line in lines:
            self.run(**json.loads(line))

    def run(self, log: str, env: dict[str, str], stop_signal: int, grace: float, **options: object) -> None:
        """Start the process. options: of `subprocess.Popen`."""
        env = {**os.environ, **env}
        try:
            with open(log, "ab") as output:  # all its processes append to it
                output.truncate(0)
                streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
                process = subprocess.Popen(env=env, start_new_session=True, **streams, **options)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            return say(error=f"{type(error).__name__}: {error}"[:500])
        process.returncode = 0  # it is reaped below, so Popen must not try to reap it
        self.dead = {}
        self.child, self.stop_signal, self.grace = process.pid, stop_signal, grace
        say(pid=process.pid)

    def end(self) -> None:
        """Ask the process to stop, once; after its grace time it is killed."""
        if self.deadline == math.inf:
            self.deadline = time.monotonic() + self.grace
            if self.child is not None:
                os.kill(self.child, self.stop_signal)

    def reap(self) -> bool:
        """Reap the descendants that have ended; return whether any is left."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self.dead[ended[0]] = ended[1]
            return True
        return False

    def kill_all(self) -> None:
        """Kill the process and every descendant with SIGKILL; return when none is left."""
        left = True
        while left:
            for target in ([] if self.child is None else [-self.child]) + self.children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(target, signal.SIGKILL)
            if left := self.reap():
                time.sleep(0.002)
        remove_shared_memory(set(self.dead))
        if self.child is not None:
            say(exit=os.waitstatus_to_exitcode(self.dead[self.child]))
            self.child = None

    def children(self) -> list[int]:
        with contextlib.suppress(FileNotFoundError), open(OWN_CHILDREN) as file:
            return [int(pid) for pid in file.read().split()]
        return []


def main(directory: str, uid: int, gid: int) -> None:
    wake = catch_signals()
    supervisor = Supervisor()
    os.mkdir(directory, 0o700)
    try:
        os.chown(directory, uid, gid)
        say(ready=True)
        supervisor.supervise(wake)
    finally:
        supervisor.kill_all()
        import shutil

        shutil.rmtree(directory)


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    except Exception as error:
        say(error=repr(error)[:500])
        raise
