"""Where a deployment runs: `detached` (processes that stay), `compose` and `kubernetes`."""
