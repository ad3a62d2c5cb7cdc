"""Services replaced under traffic: switch, and count every failure.

Read the files in this order: `service` (what is replaced) with its `settings`, `replicas` (started, ready, stopped), `gates` (what a release has to pass),
`platform` (who owns what runs), `states`, `rollout` and `strategies` (the state machines), `platforms` (what it runs
on) and `__main__` (the command line). Proxy and load are on the stage: `lib.stage.router`, `lib.stage.traffic`.
"""
