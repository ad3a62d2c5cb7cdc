"""Processes that die with their owner: real ones, ended in every way that a notebook kernel may end."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from leftovers import left_in, processes_in
from owners import line, owner

from lib.stage.locks import file_lock
from lib.stage.processes import Process, ProcessError

pytestmark = pytest.mark.filterwarnings("error")  # a supervisor that fails is covered for, with a warning
SLEEP = [sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(300)"]
# Deaf to SIGTERM, with a descendant in a session of its own whose parent is gone: a daemon.
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("daemon", os.getpid(), "up", flush=True)
        time.sleep(300)
    os._exit(0)
os.wait()
time.sleep(300)
"""
PROGRAMS = f"SLEEP = {SLEEP!r}\nSTUBBORN = [sys.executable, '-S', '-c', {STUBBORN!r}]\n"


def has_said(process: Process, text: str) -> Callable[[], bool]:
    return lambda: text in process.output()


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}/exe").exists()


def test_output_status_directory_and_environment(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INHERITED", "inherited")
    code = "import os; print(os.environ['INHERITED'], os.environ['ADDED'], os.getcwd()); raise SystemExit(7)"
    command = [sys.executable, "-S", "-c", code]
    with Process().run(command, env={"ADDED": "ñ"}, cwd=temporary) as process:
        assert process.wait(60) == 7
        assert not process.alive
        assert process.output() == f"inherited ñ {temporary}\n"
        assert process.directory.parent == temporary
        assert process.directory.stat().st_mode & 0o777 == 0o700
    assert not process.directory.exists()
    process.stop()


def test_stop_signal_comes_first(temporary: Path) -> None:
    code = "import signal, sys, time; signal.signal(signal.SIGUSR1, lambda *_: sys.exit(3));"
    code += "print('up', flush=True); time.sleep(300)"
    with Process().run([sys.executable, "-S", "-c", code], stop_signal=signal.SIGUSR1) as process:
        process.wait_until(has_said(process, "up"), name="up")
    assert process.returncode == 3


@pytest.mark.parametrize("by_itself", [False, True])
def test_daemons_end_with_the_process(by_itself: bool, temporary: Path) -> None:
    code = STUBBORN.rsplit("time.sleep", 1)[0] + "time.sleep(0.2)" if by_itself else STUBBORN
    process = Process().run([sys.executable, "-S", "-c", code], grace=0.2)
    process.wait_until(has_said(process, "up"), name="stubborn")
    daemon = int(process.output().split()[1])
    if by_itself:
        assert process.wait(60) == 0
    else:
        assert os.getsid(daemon) != os.getsid(process.pid or 0)
        process.stop()
        assert process.returncode == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(daemon, 0)
    process.stop()


def test_memory_is_that_of_all_its_processes(temporary: Path) -> None:
    code = "import os, time; os.fork(); held = b'x' * 40_000_000; print('up', flush=True); time.sleep(300)"
    with Process() as process:
        process.run([sys.executable, "-S", "-c", code])
        process.wait_until(lambda: process.output().count("up") == 2, name="both")
        assert 80e6 < process.memory() < 160e6
        process.kill()
        assert process.memory() == 0


@pytest.mark.parametrize("program", ["no-such-program", "/etc/passwd"])
def test_a_program_that_cannot_start(temporary: Path, program: str) -> None:
    with pytest.raises(ProcessError, match=f"Cannot start '{program}': .*Error"):
        Process().run([program])


def test_a_supervisor_that_cannot_start_is_not_left(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would warn of a child that nobody has waited for, and warnings are errors here."""
    monkeypatch.setattr("tempfile.tempdir", str(temporary / "missing"))
    with pytest.raises(ProcessError, match="did not start: FileNotFoundError"):
        Process()
    gc.collect()


def test_not_ready_and_not_complete_show_the_log(temporary: Path) -> None:
    code = "print('\\n'.join(map(str, range(100)))); print('boom'); raise SystemExit(3)"
    with Process().run([sys.executable, "-c", code]) as process:
        message = r"(?s)^Thing ended with status 3 before it was ready\. Its log ends with:\n    86\n.*\n    boom\nDo this\.$"
        with pytest.raises(ProcessError, match=message):
            process.wait_until(lambda: False, name="Thing", remedy="Do this.")
        with pytest.raises(ProcessError, match=r"(?s)Job ended with status 3.*\n    boom"):
            process.complete(name="Job")
        process.run([sys.executable, "-c", "pass"]).complete(name="Job")
        process.run(SLEEP)
        with pytest.raises(ProcessError, match="still running"):
            process.run(SLEEP)
        with pytest.raises(ProcessError, match=r"Thing was not ready within 0\.3 s"):
            process.wait_until(lambda: False, name="Thing", timeout=0.3)
        with pytest.raises(ProcessError, match=r"Job did not end within 0\.2 s"):
            process.complete(name="Job", timeout=0.2)


def test_a_dropped_handle_stops_its_process(temporary: Path) -> None:
    process = Process().run(SLEEP)
    supervisor = process._supervisor  # its own warning that it is still running is not what is tested
    del process
    gc.collect()
    assert supervisor.wait(60) == 0


def test_twenty_at_once_with_daemons_and_their_owner_killed(temporary: Path) -> None:
    code = """
processes = [Process().run(SLEEP if n % 2 else STUBBORN, grace=1.0) for n in range(20)]
for process in processes:
    process.wait_until(lambda: "up" in process.output(), name="up")
print(*(process.pid for process in processes), *(p.output().split()[1] for p in processes[::2]), flush=True)
time.sleep(300)
"""
    with owner(PROGRAMS + code) as process:
        pids = [int(pid) for pid in line(process).split()]
        assert len(pids) == 30
        assert len(processes_in(temporary)) == 20  # the supervisors, by their command lines
        assert len(list(temporary.iterdir())) == 20
        process.kill()
        assert left_in(temporary) == []
    assert [pid for pid in pids if not is_gone(pid)] == []


def test_a_forked_child_does_not_hold_the_pipe(temporary: Path) -> None:
    code = """
process = Process().run(SLEEP)
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    process.stop()  # not its own: does nothing
    os.write(writing, b"alive" if process.alive else b"dead")
    os.close(1), os.close(2)
    time.sleep(300)
print(child, os.read(reading, 5), process.alive, flush=True)
time.sleep(300)
"""
    with owner(PROGRAMS + code) as process:
        child, *seen = line(process).split()
        process.kill()
        try:
            assert seen == ["b'dead'", "True"]
            assert left_in(temporary) == []
            os.kill(int(child), 0)  # it lives still
        finally:
            os.kill(int(child), signal.SIGKILL)


def test_ctrl_c_reaches_the_owner_only(temporary: Path) -> None:
    code = """
process = Process().run(SLEEP)
try:
    print("up", flush=True)
    time.sleep(300)
except KeyboardInterrupt:
    time.sleep(0.3)
    print(process.alive)
"""
    with owner(PROGRAMS + code) as process:
        assert line(process) == "up"
        os.killpg(process.pid, signal.SIGINT)
        assert line(process) == "True"
        process.wait(60)
    assert left_in(temporary) == []


def test_ignored_and_blocked_signals_are_not_inherited(temporary: Path) -> None:
    code = """
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
process = Process().run(["grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"])
process.wait()
print(*process.output().split())
"""
    # The C library keeps signals for itself (32 and 33), which no program can set: `make` leaves them ignored.
    settable = sum(1 << (number - 1) for number in signal.valid_signals())
    with owner(code) as process:
        words = line(process).split()
    assert words[::2] == ["SigBlk:", "SigIgn:"]
    assert [int(mask, 16) & settable for mask in words[1::2]] == [0, 0]


def test_a_killed_supervisor(temporary: Path) -> None:
    process = Process().run(SLEEP)
    pid = process.pid or 0
    process._supervisor.kill()
    process._supervisor.wait()
    assert not process.alive
    assert process.wait(60) is None
    message = rf"The supervisor of process {pid} failed \(status -9\): end that process, and remove {process.directory}"
    with pytest.warns(UserWarning, match=message):
        process.stop()
    os.kill(pid, signal.SIGKILL)
    shutil.rmtree(process.directory)


def test_a_terminated_supervisor_stops_its_process(temporary: Path) -> None:
    process = Process().run(SLEEP)
    process._supervisor.terminate()
    assert process.wait(60) == -signal.SIGTERM
    assert left_in(temporary) == []
    process.stop()


def test_used_from_many_threads(temporary: Path) -> None:
    with Process().run(SLEEP) as process:
        threads = [threading.Thread(target=process.wait) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert process.alive
        process.kill()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Process.stop, [Process().run(SLEEP) for _ in range(2)] * 2))


def test_a_lock_whose_file_was_removed_is_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with file_lock(path) as held, file_lock(path) as other:
        assert held and not other
        path.unlink()
    with file_lock(path) as held:
        assert held
