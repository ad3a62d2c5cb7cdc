"""Work spread over workers: predict, then measure.

Read the files in this order:

- `laws`: what theory says before anything runs
- `fitting`: a law fitted to measurements
- `costs`: many small machines or one big one
- `simulation`: a cluster of any size, in a moment
- `workloads`: the three small jobs that lesson 01 measures
- `tasks` and `metrics`: what real workers do, and what they report
- `workers`: real workers, started, scaled and killed
- `partitions`: a data set upgraded on them
"""
