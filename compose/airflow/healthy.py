"""Exit with status 0 when a component of Airflow is healthy: `healthy.py scheduler`. For health checks, which must be light.

The API server knows of each component when it gave its last sign of life. `airflow jobs check` would tell the same, but it
loads all of Airflow for that: seconds of a core, for each container, every time.
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
