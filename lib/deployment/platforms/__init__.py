"""Where a deployment runs.

Read the files in this order:

- `local`: router and replicas as processes or containers that end with their owner
- `remote`: a platform in another process, called over a port of 127.0.0.1
- `detached`: the local platform in a process that stays
- `commands`: how `docker` and `kubectl` are called
- `compose`: services of Docker Compose
- `kubernetes`: deployments in a cluster
"""
