"""Airflow's unchanged Celery settings, plus a heartbeat of each worker: a file that is touched regularly.

The usual check, `celery inspect ping`, starts a Python with all of Celery, and asks every worker through the broker. Checking five
workers in this way keeps two cores busy. Here the health check looks at the age of a file.
"""

import os
import socket
from pathlib import Path
from typing import Any

from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG
from celery.signals import heartbeat_sent

ALIVE = Path("/tmp/worker-alive")
CELERY_CONFIG = DEFAULT_CELERY_CONFIG


@heartbeat_sent.connect
def _touch(**_: Any) -> None:
    """Touch the file, every two seconds, from the loop that takes tasks from the broker: if the loop hangs, the file gets old."""
    ALIVE.touch()


def host_name() -> str:
    """Return the name of a worker that shares its host with others (`make airflow`), otherwise the host name."""
    return os.environ.get("WORKER_NAME") or socket.getfqdn()
