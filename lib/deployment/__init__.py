"""Services replaced under traffic: switch, and count every failure.

Read the files in this order:

- `settings` and `service`: the demo service, which is what a deployment replaces
- `replicas`: the service as processes or containers, started, ready, stopped
- `gates`: what a release has to pass
- `states`: what a rollout remembers of itself
- `platform`: what a rollout acts on
- `rollout` and `strategies`: the state machines
- `platforms`: where a deployment runs
- `__main__`: the command line

Proxy and load are on the stage: `lib.stage.router`, `lib.stage.traffic`.
"""
