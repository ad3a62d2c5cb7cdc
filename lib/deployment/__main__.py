"""Deploy a version of the demo service without downtime, in seven steps, each of them for real.

    deploy-zero-downtime.sh <new_version>     a Git tag runs that tag's tree; any other name labels the working tree
    deploy-zero-downtime.sh status            what runs, and what is under way
    deploy-zero-downtime.sh resume            go on where a deployment was interrupted
    deploy-zero-downtime.sh rollback          go back to what ran before
    deploy-zero-downtime.sh down              stop all, and remove its data

The first deployment starts a database and a router, which stay, with what was deployed, until `down`. Where they run, --target tells:
local: as processes; compose: in containers, by Docker Compose; kubernetes: in the cluster of kubectl's current context, from images that
are in its registry. What is deployed to one target, the others know nothing of.
Exit status: 0 done, 1 bad arguments, 2 refused or failed (what ran before runs on), 3 another deployment is at work.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

from lib.deployment.platform import PlatformError
from lib.deployment.platforms.compose import Compose
from lib.deployment.platforms.detached import Detached
from lib.deployment.platforms.kubernetes import Kubernetes
from lib.deployment.rollout import BlueGreen, BusyError, DeploymentError
from lib.deployment.states import Deployment, State, Target
from lib.stage.processes import ProcessError
from lib.stage.traffic import USER, Traffic, summary
from lib.versioning.users import USERS

ROOT = Path(__file__).parents[2]
VERBS = ("status", "resume", "rollback", "down")
Platform = Detached | Compose | Kubernetes
TARGETS: dict[str, Callable[[Path], Platform]] = {
    "local": Detached,
    "compose": Compose,
    "kubernetes": Kubernetes,
}
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
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def parser() -> Parser:
    made = Parser(
        "deploy-zero-downtime.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("version", metavar="new_version", help=f"a version, or one of {', '.join(VERBS)}")
    made.add_argument("--target", choices=TARGETS, default="local", help="where to (default: local)")
    made.add_argument(
        "--schema", type=int, help="schema version of the release (default: the latest of its tree)"
    )
    made.add_argument("--replicas", type=int, default=1)
    made.add_argument("--dry-run", action="store_true", help="print the plan, do nothing")
    made.add_argument(
        "--state-dir",
        type=Path,
        default=ROOT / ".state" / "deploy",
        help="with a folder for each target (default: .state/deploy)",
    )
    made.add_argument(
        "--port", type=int, default=0, help="of the router, for the first deployment (default: a free one)"
    )
    made.add_argument("--bake", type=float, default=5.0, help="seconds for which the old version stays warm")
    made.add_argument(
        "--traffic", type=float, metavar="RATE", help="send so many requests a second meanwhile, and count"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    args = parser().parse_args(arguments)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", args.version):
        print(f"version {args.version!r}: letters, digits, dots, +, _ and - only", file=sys.stderr)
        return 1
    if args.target == "kubernetes" and args.traffic:
        print(
            "--traffic: the address of a Service is one of the cluster; send it from there", file=sys.stderr
        )
        return 1
    directory = args.state_dir / args.target
    try:
        return _act(args, directory, TARGETS[args.target](directory))
    except KeyboardInterrupt:
        print("\ninterrupted: `resume` goes on, `rollback` goes back", file=sys.stderr)
        return 130
    except BusyError as error:
        print(error, file=sys.stderr)
        return 3
    except (DeploymentError, PlatformError, ProcessError) as error:
        print(error, file=sys.stderr)
        return 2


def _act(args: argparse.Namespace, directory: Path, platform: Platform) -> int:
    options: dict[str, Any] = {"smoke_user": USER, "bake": args.bake, "progress": _tell}
    if args.version == "status":
        return _status(directory, platform)
    if args.version == "down":
        platform.down()
        (directory / "deployment.json").unlink(missing_ok=True)  # releases that were unpacked stay
        return 0
    if args.version in VERBS or args.dry_run:
        rollout = BlueGreen(platform, directory, **options)
        if args.dry_run:
            print(*rollout.plan(_target(args, directory)), sep="\n")
            return 0
        return _done(rollout.resume() if args.version == "resume" else rollout.rollback())
    target = _target(args, directory)
    address = _start(directory, platform, args.port)
    with ExitStack() as stack:
        traffic = (
            stack.enter_context(Traffic(address, args.traffic, writes=0.2))
            if args.traffic and _runs(platform)
            else None
        )
        if traffic:
            options |= {"traffic": traffic.requests, "objective": {"p99_s": 5.0}}
        deployed = BlueGreen(platform, directory, **options).deploy(target)
    print(f"address: {address}")
    if traffic:
        print("traffic:", json.dumps(counts := summary(traffic.requests())))
        return 2 if counts["failed"] else _done(deployed)
    return _done(deployed)


def _start(directory: Path, platform: Platform, port: int) -> str:
    """The address of the router, once the platform is there."""
    directory.mkdir(parents=True, exist_ok=True)
    deployed = directory / "deployment.json"
    if deployed.exists() and not platform.exists():  # it has gone, with all it ran
        deployed.unlink()
        print("the platform has ended since, and what was deployed with it: beginning anew")
    return platform.start(port)


def _tell(progress: str) -> None:
    state, _, note = progress.partition(": ")
    print(f"[{STEPS.get(state, state)}] {note}", flush=True)  # type: ignore[call-overload]


def _done(now: Deployment) -> int:
    print(f"running: {now.running.release if now.running else 'nothing'}")
    return 0


def _runs(platform: Platform) -> bool:
    return bool(platform.ports(platform.active()))


def _status(directory: Path, platform: Platform) -> int:
    now = BlueGreen(platform, directory, smoke_user=USER).status()
    _done(now)
    if now.coming:
        print(
            f"under way: {now.coming.release} is {now.state}{', going back' * now.going_back}: resume, or rollback"
        )
    if platform.exists():
        active = platform.active()
        print(f"active: {active}, {len(platform.ports(active))} replicas")
    else:
        print("the platform is down")
    return 0


# ── Releases ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _target(args: argparse.Namespace, directory: Path) -> Target:
    tree = _tree_of_tag(args.version, directory)
    if tree is None:
        print(f"{args.version} is no Git tag: it labels the working tree")
    return Target(
        args.version, args.schema or _latest_schema(tree), replicas=args.replicas, tree=tree and str(tree)
    )


def _tree_of_tag(name: str, directory: Path) -> Path | None:
    """The files of a tag of this repository, unpacked once; None if there is no such tag."""
    git = ["git", "-C", str(ROOT)]
    found = subprocess.run(
        [*git, "rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}"],
        capture_output=True,
        text=True,
    )
    if found.returncode != 0:
        return None
    tree = directory / "releases" / found.stdout.strip()
    if not tree.exists():
        archive = subprocess.run(
            [*git, "archive", found.stdout.strip()], capture_output=True, check=True
        ).stdout
        part = tree.with_suffix(".part")
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(part, filter="data")
        part.rename(tree)
    return tree


def _latest_schema(tree: Path | None) -> int:
    if tree is None:
        return USERS.latest
    code = "from lib.versioning.users import USERS; print(USERS.latest)"
    command = [sys.executable, "-c", code]
    return int(
        subprocess.run(
            command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, check=True
        ).stdout
    )


if __name__ == "__main__":
    if len(sys.argv) == 1:
        parser().print_help()
        sys.exit(1)
    sys.exit(main())
