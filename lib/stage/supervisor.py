"""The supervisor of one process: it ends that process, and all it started, when the owner has gone.

`lib.stage.processes` runs this file as a script, one for each process: `supervisor.py DIRECTORY UID GID`. The
owner holds the other end of the pipe that is standard input here. However the owner ends, the pipe then
closes, and the supervisor stops the process, kills what is left of it and removes DIRECTORY. Standard library
only, and little of it: a lesson may start twenty of these at once.

Messages are JSON, one a line. In: `run`, `signal`, `stop`. Out: `ready`, `pid`, `exit`, `error`.
"""

import contextlib
import ctypes
import fcntl
import json
import math
import os
import re
import select
import signal
import subprocess
import sys
import time

OWN_CHILDREN = f"/proc/self/task/{os.getpid()}/children"
PR_SET_CHILD_SUBREAPER, IPC_RMID = 36, 0
STALE_SECONDS = 60  # a directory this young may not be locked yet


def say(**message: object) -> None:
    with contextlib.suppress(BrokenPipeError):  # the owner has gone: the closed pipe tells that too
        os.write(1, json.dumps(message).encode() + b"\n")


def catch_signals() -> int:
    """A descriptor that becomes readable, with the signal's number, on each signal.

    Whatever is started inherits ignored and blocked signals, so all are set back first; handlers, unlike
    SIG_IGN, are not inherited. SIGPIPE stays ignored here: `subprocess` resets it in children.
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


def lock(directory: str) -> int:
    """A descriptor that locks a directory as a live supervisor's; OSError when another one has it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def remove_stale(directory: str, owners: set[int]) -> None:
    """Remove siblings of `directory` whose supervisor was killed (a machine that was switched off, say)."""
    import shutil

    parent, own = os.path.split(directory)
    name = re.compile(re.escape(own[:-16]) + "[0-9a-f]{16}")
    for entry in os.scandir(parent):
        with contextlib.suppress(OSError):
            found = entry.stat(follow_symlinks=False)
            old = time.time() - found.st_mtime > STALE_SECONDS
            if name.fullmatch(entry.name) and old and found.st_uid in owners:
                descriptor = lock(entry.path)
                shutil.rmtree(entry.path)
                os.close(descriptor)


def remove_shared_memory(creators: set[int | None]) -> None:
    """Remove System V segments of processes that were killed; the kernel keeps them (PostgreSQL has one)."""
    with contextlib.suppress(FileNotFoundError), open("/proc/sysvipc/shm") as table:
        for _, number, _, _, creator, _, attached, *_ in map(str.split, list(table)[1:]):
            if int(creator) in creators and attached == "0":
                ctypes.CDLL(None).shmctl(int(number), IPC_RMID, None)


class Supervisor:
    """Runs one process at a time and knows all its descendants."""

    def __init__(self) -> None:
        self.child: int | None = None  # also the number of its session and its process group
        self.stop_signal, self.orphan_grace = int(signal.SIGTERM), 1.0
        self.stopping, self.deadline = False, math.inf
        self.listening, self.inbox = True, b""
        # Descendants may leave the group, as PostgreSQL's backends do. On Linux their orphans come to us.
        self.adopts = os.path.exists(OWN_CHILDREN)
        if self.adopts:
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def serve(self, wake: int) -> None:
        while not self.stopping or (self.child is not None and time.monotonic() < self.deadline):
            timeout = max(0.0, self.deadline - time.monotonic()) if self.stopping else None
            ready = select.select([wake, 0] if self.listening else [wake], [], [], timeout)[0]
            if wake in ready:
                if set(os.read(wake, 4096)) - {signal.SIGCHLD}:
                    self.end(self.orphan_grace)
                self.reap()
            if 0 in ready:
                self.listen()

    def listen(self) -> None:
        data = os.read(0, 65536)
        if not data:
            self.listening = False
            return self.end(self.orphan_grace)
        *lines, self.inbox = (self.inbox + data).split(b"\n")
        for message in map(json.loads, lines):
            if "run" in message:
                self.run(**message["run"])
            elif "stop" in message:
                self.end(message["stop"])
            elif self.child is not None:
                os.kill(-self.child if message["group"] else self.child, message["signal"])

    def run(
        self,
        argv: list[str],
        env: dict[str, str],
        cwd: str,
        log: str,
        user: list[int] | None,
        stop_signal: int,
        orphan_grace: float,
    ) -> None:
        as_user = {"user": user[0], "group": user[1], "extra_groups": []} if user else {}
        try:
            with open(log, "ab") as output:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **env},
                    cwd=cwd,
                    start_new_session=True,
                    **as_user,
                )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            return say(error=f"{type(error).__name__}: {error}")
        process.returncode = 0  # it is reaped below: Popen must not try to
        self.child, self.stop_signal, self.orphan_grace = process.pid, stop_signal, orphan_grace
        say(pid=process.pid)

    def end(self, grace: float) -> None:
        """Ask the process to stop, once; after `grace` seconds it is killed. The shortest grace counts."""
        if self.child is not None and not self.stopping:
            os.kill(self.child, self.stop_signal)
        self.stopping, self.deadline = True, min(self.deadline, time.monotonic() + grace)

    def reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self.child:
                    self.kill_all(ended[1])

    def kill_all(self, status: int = 0) -> None:
        """SIGKILL to the process and every descendant; return when none is left.

        `status`: that of the process, if it has ended by itself.
        """
        dead = {self.child}
        with contextlib.suppress(ChildProcessError):
            while True:
                for target in ([] if self.child is None else [-self.child]) + self.children():
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(target, signal.SIGKILL)
                while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                    dead.add(ended[0])
                    status = ended[1] if ended[0] == self.child else status
                time.sleep(0.002)
        remove_shared_memory(dead)
        if self.child is not None:
            self.child = None
            say(exit=os.waitstatus_to_exitcode(status))

    def children(self) -> list[int]:
        if not self.adopts:
            return []
        with open(OWN_CHILDREN) as file:
            return [int(pid) for pid in file.read().split()]


def main(directory: str, uid: int, gid: int) -> None:
    wake = catch_signals()
    supervisor = Supervisor()
    os.mkdir(directory, 0o700)
    try:
        descriptor = lock(directory)
        os.chown(directory, uid, gid)
        say(ready=True)
        supervisor.serve(wake)
    finally:
        supervisor.kill_all()
        import shutil

        shutil.rmtree(directory)
    remove_stale(directory, {os.geteuid(), uid})
    os.close(descriptor)


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    except Exception as error:
        say(error=repr(error))
        raise
