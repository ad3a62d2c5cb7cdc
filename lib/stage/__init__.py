"""What the lessons play on: processes, servers, containers, a proxy, loads. The stage imports no room.

Read the files in this order: `programs` (a started process or container, by one interface), `supervisor` and `processes` (processes that
end with their owner), `ports` and `locks`, `servers` (PostgreSQL and Valkey), `images`, `keeper` and `containers` (the same in
containers), `router` with `haproxy` and `nginx` (real proxies that switch), `traffic` and `live` (loads on a service and on a table, which
forgive nothing), `scraping` (metrics as Prometheus reads them), `airflow` (Airflow's API).
"""
