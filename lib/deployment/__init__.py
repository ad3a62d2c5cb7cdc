"""Services replaced under traffic: switch, and count every failure.

Read the files in this order: `traffic` (a load that forgives nothing), `router` with `haproxy` and `nginx` (real proxies that
switch), `service` (what is replaced) with its `settings`, `replicas` (started, ready, stopped), `gates` (what a release has to pass),
`platform` (who owns what runs), `states`, `rollout` and `strategies` (the state machines), `__main__` (the command line) with its three
targets: `detached` (processes that stay), `compose` and `kubernetes`.
"""
