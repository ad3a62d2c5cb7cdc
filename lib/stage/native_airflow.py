"""Airflow on Celery without Docker, on this machine only: what `make airflow` does after the set-up.

    python -m lib.stage.native_airflow [--workers 2] [--port 8080]

The same release, settings and DAGs as in compose/: an environment of its own in `.state/airflow` (made once, a minute or two), PostgreSQL
and Valkey from Python packages, an API server, a scheduler, a DAG processor, and workers. Ctrl-C stops all of it. What the DAGs write is
in `.state/airflow/data`; runs and logs are gone with the database.
"""

import argparse
import base64
import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import venv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import yaml

from lib.stage.ports import ask, free_port
from lib.stage.processes import Process, ProcessError
from lib.stage.servers import postgres, valkey

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".state" / "airflow"
VENV = FOLDER / "venv"
LOG = FOLDER / "install.log"
COMPOSE = ROOT / "compose"
LOCK = COMPOSE / "airflow" / "requirements.lock"
WORKER = "celery worker --without-gossip --without-mingle --skip-serve-logs".split()


def install() -> None:
    """Make the environment of the lock, unless it is there."""
    stamp, wanted = VENV / ".complete", f"{sys.version}\n{VENV}\n{LOCK.read_text(encoding='utf-8')}"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    print("Airflow's environment (once, a minute or two)", flush=True)
    venv.create(VENV, with_pip=True, clear=True)
    python = str(VENV / "bin" / "python")
    pip = [python, "-I", "-m", "pip", "install", "--no-deps", "--require-hashes"]
    with LOG.open("w", encoding="utf-8") as log:
        done = subprocess.run([*pip, "--only-binary", ":all:", "-r", str(LOCK)], stdout=log, stderr=log)
    if done.returncode != 0:
        sys.exit(f"Airflow could not be installed; the end of {LOG.relative_to(ROOT)} says why.")
    stamp.write_text(wanted, encoding="utf-8")


def settings(home: Path, port: int, database: str, broker: str) -> dict[str, str]:
    """The variables of all components: those of the Compose file, with the addresses and secrets of this run.

    database: address for SQLAlchemy, its scheme left away.
    """
    text = (COMPOSE / "docker-compose.scale.yml").read_text(encoding="utf-8")
    # A variable's value: the default that the file gives, or else a secret of this run, in the form of a Fernet key.
    values = defaultdict[str, str](lambda: base64.urlsafe_b64encode(os.urandom(32)).decode())
    variable = re.compile(r"\$\{(\w+)(?::-([^}]*))?[^}]*\}")
    shared = {
        name: variable.sub(lambda found: values[found[1]] if found[2] is None else found[2], value)
        for name, value in yaml.safe_load(text)["x-environment"].items()
    }
    return shared | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__CELERY__BROKER_URL": broker,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+postgresql+psycopg2{database}",
        "AIRFLOW__CORE__DAGS_FOLDER": str(COMPOSE / "dags"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "worker_settings.host_name",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2{database}",
        "LESSONS_DATA": str(FOLDER / "data"),
        "NO_PROXY": "127.0.0.1",
        "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, COMPOSE / "airflow"))),
    }


def answers(port: int) -> bool:
    """Whether Airflow's API server answers on a port of this machine."""
    with contextlib.suppress(OSError):
        return ask(f"http://127.0.0.1:{port}/api/v2/version", timeout=2)[0] == 200
    return False


@contextlib.contextmanager
def running(workers: int, port: int, **more: str) -> Iterator[tuple[str, str, list[Process]]]:
    """Airflow: its address, the password of its user `admin`, and its processes. Raises ProcessError.

    more: variables for all components, such as other settings than those of the Compose file.
    """
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(Process()).directory  # gone when we are, however we end
        database, broker = stack.enter_context(postgres()), stack.enter_context(valkey())
        environ = settings(home, port, database.dsn.removeprefix("postgresql"), broker.url) | more
        password = secrets.token_urlsafe(16)
        passwords = home / "passwords.json"
        passwords.touch(mode=0o600)
        passwords.write_text(f'{{"admin": "{password}"}}', encoding="utf-8")

        def start(*command: str, **own: str) -> Process:
            process = stack.enter_context(Process())
            return process.run([VENV / "bin" / "airflow", *command], env={**environ, **own}, cwd=home)

        start("db", "migrate").complete(name="airflow db migrate", timeout=180)
        api = start("api-server")
        api.wait_until(lambda: answers(port), name="Airflow's API server", timeout=120)
        processes = [api, start("scheduler"), start("dag-processor")]
        for number in range(1, workers + 1):
            name = f"worker-{number}"
            processes.append(start(*WORKER, "--celery-hostname", f"{name}@localhost", WORKER_NAME=name))
        yield f"http://127.0.0.1:{port}", password, processes


def main() -> None:
    """Run Airflow until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Airflow without Docker (make airflow).")
    parser.add_argument("--workers", type=int, default=2, help="Celery workers (default: %(default)s)")
    parser.add_argument("--port", type=int, help="port of 127.0.0.1 (default: a free one)")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    install()
    print("Airflow is being started (half a minute)", flush=True)
    try:
        with running(options.workers, options.port or free_port()) as (url, password, processes):
            print(f"{url}, user admin, password {password}", flush=True)
            print("The DAG is upgrade_users. Ctrl-C stops all.", flush=True)
            while not stop.wait(1.0):
                for ended in (process for process in processes if not process.alive):
                    sys.exit(f"A part of Airflow has ended. Its log ends with:\n{ended.output()}")
            print("\nStopping", flush=True)
    except ProcessError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
