"""Distribute work over workers: predict, then measure.

Read the files in this order:

- `laws`: what theory predicts before anything runs
- `fitting`: a law fitted to measurements
- `costs`: many small machines or one big one
- `simulation`: a cluster of any size, in simulated time
- `workloads`: the three small jobs that lesson 01 measures
- `settings`: which broker a worker uses, and when it acknowledges a task
- `tasks`: the tasks of a worker, and the record of each try
- `workers`: a pool of real workers, started, scaled and killed
- `metrics`: the metrics of a worker, for Prometheus
- `partitions`: a data set that a pool upgrades partition by partition
- `dataset_metrics`: the metrics of such a data set, for Prometheus
"""
