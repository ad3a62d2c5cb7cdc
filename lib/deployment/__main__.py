"""Deploy a version of the demo service without downtime, in seven steps, each of them for real.

    deploy-zero-downtime.sh <new_version>     a Git tag runs that tag's tree; any other name labels the working tree
    deploy-zero-downtime.sh status            what runs, and what is under way
    deploy-zero-downtime.sh resume            go on where a deployment was interrupted
    deploy-zero-downtime.sh rollback          go back to what ran before
    deploy-zero-downtime.sh down              stop all, and remove its data

The first deployment starts a database and a router, which stay, with what was deployed, until `down`. --target says where they run:
local: as processes; compose: in containers, by Docker Compose; kubernetes: in the cluster of kubectl's current context, from images that
are in its registry. The targets know nothing of each other's deployments.
Exit status: 0 done, 1 bad arguments, 2 refused or failed (what ran before runs on), 3 another deployment is at work.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from lib.deployment.platform import LastingPlatform, PlatformError
from lib.deployment.platforms.compose import Compose
from lib.deployment.platforms.detached import Detached
from lib.deployment.platforms.kubernetes import Kubernetes
from lib.deployment.rollout import BlueGreen, BusyError, DeploymentError
from lib.deployment.states import Release, State
from lib.stage.processes import ProcessError
from lib.stage.traffic import USER
from lib.versioning.users import USERS

ROOT = Path(__file__).parents[2]
PLATFORMS: dict[str, Callable[[Path], LastingPlatform]] = {
    "local": Detached,
    "compose": Compose,
    "kubernetes": Kubernetes,
}
VERBS = ("status", "resume", "rollback", "down")
#: The steps, by the state that each of them ends in.
STEPS: dict[State, str] = {
    "compatible": "1/7 schema compatibility",
    "created": "2/7 create the new version",
    "healthy": "3/7 wait for health checks",
    "tested": "4/7 smoke tests",
    "switched": "5/7 switch traffic",
    "verified": "6/7 verify after the switch",
    "baked": "6/7 keep the old version warm",
    "idle": "7/7 clean up the old version",
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors end with status 1, as the script promises."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error; exit."""
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def parser() -> Parser:
    """The parser of the command line."""
    made = Parser(
        "deploy-zero-downtime.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("version", metavar="new_version", help=f"a version, or one of {', '.join(VERBS)}")
    add("--target", choices=PLATFORMS, default="local", help="where to (default: local)")
    add("--schema", type=int, help="schema version of the release (default: the latest of its tree)")
    add("--replicas", type=int, default=1)
    add("--dry-run", action="store_true", help="print the plan, do nothing")
    add("--state-dir", type=Path, default=ROOT / ".state" / "deploy", help="has a folder for each target")
    add("--port", type=int, default=0, help="of the router, for the first deployment (default: a free one)")
    add("--bake", type=float, default=5.0, help="seconds for which the old version stays warm")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    made = parser()
    args = made.parse_args(arguments)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", args.version):
        made.error(f"version {args.version!r}: letters, digits, dots, +, _ and - only")
    if args.dry_run and args.version in VERBS:
        made.error("--dry-run: only with a new version")
    directory = args.state_dir / args.target
    platform = PLATFORMS[args.target](directory)
    rollout = BlueGreen(platform, directory, smoke_user=USER, bake=args.bake, progress=_print_step)
    try:
        if args.version == "status":
            _status(rollout, platform)
        elif args.version == "down":
            _down(rollout, platform)
        elif args.version in VERBS:
            getattr(rollout, args.version)()
            _print_running(rollout)
        elif args.dry_run:
            print(*rollout.plan(_release(made, args, directory)), sep="\n")
        else:
            _deploy(rollout, platform, _release(made, args, directory), args.port)
        return 0
    except KeyboardInterrupt:
        print("\ninterrupted: `resume` goes on, `rollback` goes back", file=sys.stderr)
        return 130
    except (DeploymentError, PlatformError, ProcessError) as error:
        print(error, file=sys.stderr)
        return 3 if isinstance(error, BusyError) else 2


# ── The verbs ────────────────────────────────────────────────────────────────────────────────────────────────────


def _deploy(rollout: BlueGreen, platform: LastingPlatform, release: Release, port: int) -> None:
    with rollout.lock():
        deployed = rollout.directory / "deployment.json"
        if deployed.exists() and not platform.exists():
            deployed.unlink()
            print("the platform has ended since, and what was deployed with it: beginning anew")
        address = platform.start(port)
        rollout.deploy(release)
    print(f"address: {address}")
    _print_running(rollout)


def _status(rollout: BlueGreen, platform: LastingPlatform) -> None:
    now = rollout.status()
    _print_running(rollout)
    if now.coming:
        back = ", going back" if now.going_back else ""
        print(f"under way: {now.coming.name} is {now.state}{back}: resume, or rollback")
    if platform.exists():
        active = platform.active()
        print(f"active: {active}, {len(platform.ports(active))} replicas")
    else:
        print("the platform is down")


def _down(rollout: BlueGreen, platform: LastingPlatform) -> None:
    with rollout.lock():
        if not platform.exists():
            print("nothing is running")
        platform.down()
        (rollout.directory / "deployment.json").unlink(missing_ok=True)  # releases that were unpacked stay


def _print_step(message: str) -> None:
    state, _, note = message.partition(": ")
    print(f"[{STEPS.get(state, state)}] {note}", flush=True)  # type: ignore[call-overload]


def _print_running(rollout: BlueGreen) -> None:
    running = rollout.status().running
    print(f"running: {running.name if running else 'nothing'}")


# ── Releases ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _release(made: Parser, args: argparse.Namespace, directory: Path) -> Release:
    """The release that is asked for; a bad argument if there is no such schema version, or no replica."""
    tree = _tree_of_tag(args.version, directory)
    if tree is None:
        print(f"{args.version} is no Git tag: it labels the working tree")
    try:
        schema = USERS.check_version(args.schema or _latest_schema(tree))
        return Release(args.version, schema, replicas=args.replicas, tree=tree and str(tree))
    except ValueError as error:
        made.error(str(error))


def _tree_of_tag(name: str, directory: Path) -> Path | None:
    """The files of a tag of this repository, unpacked once; None if there is no such tag."""
    git = ["git", "-C", str(ROOT)]
    query = [*git, "rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}"]
    found = subprocess.run(query, capture_output=True, text=True)
    if found.returncode != 0:
        return None
    commit = found.stdout.strip()
    tree = directory / "releases" / commit
    if not tree.exists():
        archive = subprocess.run([*git, "archive", commit], capture_output=True, check=True)
        part = tree.with_suffix(".part")
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(part, filter="data")
        part.rename(tree)
    return tree


def _latest_schema(tree: Path | None) -> int:
    if tree is None:
        return USERS.latest
    command = [sys.executable, "-c", "from lib.versioning.users import USERS; print(USERS.latest)"]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    return int(subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=True).stdout)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        parser().print_help()
        sys.exit(1)
    sys.exit(main())
