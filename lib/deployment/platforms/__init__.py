"""Platforms: the places where a deployment can run.

Read the files in this order:

- `local`: router and replicas as processes or containers that end with their owner
- `detached`: the local platform in a process that keeps running, called over a socket
- `compose`: services of Docker Compose
- `kubernetes`: deployments in a cluster
"""
