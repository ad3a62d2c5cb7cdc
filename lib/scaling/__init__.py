"""Work spread over workers: predict, then measure.

Read the files in this order:

- `laws`: what theory says before anything runs
- `fitting`: a law fitted to measurements
- `costs`: many small machines or one big one
- `simulation`: a cluster of any size, in simulated time
- `workloads`: the three small jobs that lesson 01 measures
- `settings`: which broker a worker serves, and when a task counts as delivered
- `tasks`: what a worker does, and what it notes about each try
- `workers`: a pool of real workers, started, scaled and killed
- `metrics`: what a worker reports to Prometheus
- `partitions`: a data set upgraded by a pool, partition by partition
- `dataset_metrics`: what such a data set reports to Prometheus
"""
