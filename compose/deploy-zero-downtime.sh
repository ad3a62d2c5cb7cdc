#!/usr/bin/env bash
# Deploy a version of the demo service without downtime; without an argument it prints how.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python
if [[ ! -x $python ]]; then
    echo "$python does not exist: run 'make setup' in $root first." >&2
    exit 1
fi
export PYTHONPATH=$root
# -P: the code of this project, whatever lies in the folder from which it is called.
exec "$python" -P -m lib.deployment "$@"
