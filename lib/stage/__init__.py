"""What the lessons play on: processes, servers, containers, a proxy, loads. The stage imports no room.

Read the files in this order:

- `programs`: what runs until its `with` block ends, and a command that ends by itself
- `supervisor`, `processes`: processes that end with their owner
- `waiting`, `ports`, `locks`, `files`: a wait with an end; a free port; a lock that ends with its holder; files that are written whole
- `children`: functions of a notebook in processes of their own, which may be killed
- `containers`: containers as such processes, the image of a release, and what removes them
- `servers`: PostgreSQL and Valkey, as processes or in containers
- `router`: a real proxy that switches
- `traffic`, `live`: loads on a service and on a table, which forgive nothing
- `limited`: a service of a known capacity, and an open-loop load on it
- `scraping`: metrics as Prometheus reads them
- `airflow`: Airflow's API
"""
