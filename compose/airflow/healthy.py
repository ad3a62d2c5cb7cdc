"""Exit with status 0 when a component of Airflow is healthy: `healthy.py scheduler`. For health checks, which must be cheap.

The API server knows the last heartbeat of each component. `airflow jobs check` reports the same, but loads all of Airflow:
seconds of CPU time, for each container, every time.
"""

import json
import sys
import urllib.request

HEALTH = "http://api-server:8080/api/v2/monitor/health"


def main(component: str) -> None:
    """component: metadatabase, scheduler, triggerer or dag_processor."""
    with urllib.request.urlopen(HEALTH, timeout=5) as answer:
        status = json.load(answer)[component]["status"]
    sys.exit(None if status == "healthy" else f"{component}: {status}")


if __name__ == "__main__":
    main(sys.argv[1])
