"""Replace services under traffic: switch, and count every failure.

Read the files in this order:

- `service`: the demo service, which deployments replace
- `states`: a release, and the state of its deployment
- `replicas`: instances of the service, as processes or containers
- `gates`: the checks that a release must pass
- `platform`: the interface of a place where replicas run
- `rollout`: blue-green deployment as a state machine
- `strategies`: canary and rolling deployment on the same state machine
- `platforms`: implementations: local, Compose, Kubernetes
- `__main__`: the command line

The proxy and the load are on the stage: `lib.stage.router`, `lib.stage.traffic`.
"""
