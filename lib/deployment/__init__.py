"""Services replaced under traffic: switch, and count every failure.

Read the files in this order:

- `service`: the demo service, which is what a deployment replaces
- `states`: a release, and how far its deployment came
- `replicas`: the service as processes or containers, started, ready, stopped
- `gates`: what a release has to pass
- `platform`: what a rollout acts on
- `rollout`: blue-green as a state machine
- `strategies`: canary and rolling on the same state machine
- `platforms`: where a deployment runs
- `__main__`: the command line

Proxy and load are on the stage: `lib.stage.router`, `lib.stage.traffic`.
"""
