"""Celery's settings of Airflow, as they are, and a sign of life of each worker: a file that is touched with every heartbeat.

The usual check, `celery inspect ping`, starts a Python with all of Celery, and asks every worker through the broker. Five workers
that are checked like this keep two cores busy. Here the health check looks at the age of a file.
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
    """Called every two seconds from the loop that takes tasks off the broker: when the loop hangs, the file grows old."""
    ALIVE.touch()


def host_name() -> str:
    """The name of a worker that shares its host with others (`make airflow`), else the host's."""
    return os.environ.get("WORKER_NAME") or socket.getfqdn()
