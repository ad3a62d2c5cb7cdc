"""The stage for the lessons: processes, servers, containers, a proxy and loads. It imports no room.

Read the files in this order:

- `programs`: the base of everything that runs until its `with` block ends; running a command
- `supervisor`, `processes`: processes that end when their owner ends
- `waiting`, `ports`, `locks`, `files`: waiting with a timeout; a free port; a lock that ends with its holder; atomic writes of files
- `children`: functions of a notebook in child processes that may be killed
- `containers`: containers run as such processes, the image of a release, and the cleanup of both
- `servers`: PostgreSQL and Valkey, as processes or in containers
- `router`: a real proxy that switches
- `traffic`, `live`: loads on a service and on a table, without retries
- `limited`: a service with a known capacity, and an open-loop load on it
- `scraping`: metrics as Prometheus reads them
- `airflow`, `native_airflow`: Airflow's API; an Airflow on Celery without containers (`make airflow`)
"""
