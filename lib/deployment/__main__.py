"""Deploy a version of the demo service without downtime, in seven real steps.

    deploy-zero-downtime.sh <new_version>     a Git tag runs that tag's tree; any other name labels the working tree
    deploy-zero-downtime.sh status            what is running, what has died, what is in progress
    deploy-zero-downtime.sh resume            restart what has died, and continue an interrupted deployment
    deploy-zero-downtime.sh rollback          go back to the previous version
    deploy-zero-downtime.sh down              stop everything, and remove its data

The first deployment starts a database and a router. They run until `down`, like the deployed version. --target selects where:
local: as processes; compose: in containers, by Docker Compose; kubernetes: in the cluster of kubectl's current context, from
images in its registry. Targets do not see each other's deployments.
Exit status: 0 done, 1 bad arguments, or `status` found something dead, 2 refused or failed (the previous version keeps
running), 3 another deployment is in progress.
"""

from __future__ import annotations

import re
import sys
import tarfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from lib.deployment.platform import AbsentError, LastingPlatform
from lib.deployment.platforms.compose import Compose
from lib.deployment.platforms.detached import Detached
from lib.deployment.platforms.kubernetes import Kubernetes
from lib.deployment.rollout import BlueGreen, BusyError, DeploymentError
from lib.deployment.states import Release, State
from lib.stage.programs import ProcessError, run
from lib.stage.ranges import check_range
from lib.stage.traffic import USER
from lib.versioning.users import USERS

ROOT = Path(__file__).parents[2]
PLATFORMS: dict[str, Callable[[Path], LastingPlatform]] = {
    "local": Detached,
    "compose": Compose,
    "kubernetes": Kubernetes,
}
VERBS = ("status", "resume", "rollback", "down")
#: The steps, by the state in which each ends.
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


class Parser(ArgumentParser):
    """A parser whose errors end with status 1, as the script promises."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error; exit."""
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def parser() -> Parser:
    """Return the parser of the command line."""
    style = {"description": __doc__, "formatter_class": RawDescriptionHelpFormatter}
    made = Parser("deploy-zero-downtime.sh", **style)
    add = made.add_argument
    add("version", metavar="new_version", help=f"a version, or one of {', '.join(VERBS)}")
    add("--target", choices=PLATFORMS, default="local", help="where to deploy (default: local)")
    add("--schema", type=int, help="schema version of the release (default: the latest of its tree)")
    add("--replicas", type=int, help="how many (default: as many as run now, or 1)")
    add("--dry-run", action="store_true", help="print the plan, do nothing")
    add("--state-dir", type=Path, default=ROOT / ".state" / "deploy", help="the state of all targets")
    add("--port", type=int, default=0, help="the router's, for the first deployment (default: a free one)")
    add("--bake", type=float, default=5.0, help="seconds that the old version stays warm")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    made = parser()
    args = made.parse_args(arguments)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", args.version):
        made.error(f"version {args.version!r}: use only letters, digits, dots, +, _ and -")
    if args.dry_run and args.version in VERBS:
        made.error("--dry-run: give it only with a new version")
    directory = (args.state_dir / args.target).absolute()
    platform = PLATFORMS[args.target](directory)
    try:
        check_range(0, 65535, port=args.port)
        check_range(1, platform.most_replicas, replicas=args.replicas)
        rollout = BlueGreen(platform, directory, smoke_user=USER, bake=args.bake, progress=_print_step)
    except ValueError as error:
        made.error(str(error))
    try:
        if args.version == "status":
            return _status(rollout, platform)
        if args.version == "down":
            _down(rollout, platform)
        elif args.version in VERBS:
            _go_on(rollout, platform, args.version)
        elif args.dry_run:
            print(*rollout.plan(_as_many(rollout, args, _release(made, args, directory))), sep="\n")
        else:
            _deploy(rollout, platform, args, _release(made, args, directory))
        return 0
    except KeyboardInterrupt:
        coming = None
        with suppress(DeploymentError, ProcessError, OSError):
            coming = rollout.status().coming
        remedy = "use `resume` or `rollback`" if coming else "no deployment is in progress"
        print(f"\ninterrupted: {remedy}", file=sys.stderr)
        return 130
    except (DeploymentError, ProcessError, OSError) as error:
        print(error, file=sys.stderr)
        return 3 if isinstance(error, BusyError) else 2


# ── The verbs ────────────────────────────────────────────────────────────────────────────────────────────────────


def _deploy(rollout: BlueGreen, platform: LastingPlatform, args: Namespace, release: Release) -> None:
    with rollout.lock():
        deployed = rollout.directory / "deployment.json"
        if deployed.exists() and not platform.exists():
            deployed.unlink()
            print("the platform has ended, and the deployment with it: starting anew")
        address = platform.start(args.port)
        rollout.deploy(_as_many(rollout, args, release))
    print(f"address: {address}")
    _print_running(rollout)


def _as_many(rollout: BlueGreen, args: Namespace, release: Release) -> Release:
    """Return the release with as many replicas as run now, unless a number was given."""
    running = rollout.status().running
    return replace(release, replicas=running.replicas) if running and args.replicas is None else release


def _go_on(rollout: BlueGreen, platform: LastingPlatform, verb: str) -> None:
    with rollout.lock():
        if platform.exists():
            platform.start(0)  # restarts what has died
        elif (rollout.directory / "deployment.json").exists():
            raise AbsentError("the platform has ended, and its data with it: deploy a version to start again")
        getattr(rollout, verb)()
    _print_running(rollout)


def _status(rollout: BlueGreen, platform: LastingPlatform) -> int:
    now = rollout.status()
    _print_running(rollout)
    if now.coming:
        back = ", going back" if now.going_back else ""
        print(f"under way: {now.coming.name} is {now.state}{back}: use `resume` or `rollback`")
    if not platform.exists():
        print("the platform has ended, and its data with it" if now.running else "the platform is down")
        return 1 if now.running else 0
    died, active = platform.died(), platform.active()
    print(f"active: {active}, {len(platform.ports(active))} replicas")
    gone = now.running.replicas - len(platform.ports(now.colour)) if now.running else 0
    if gone > 0 and now.state != "baked":  # in that state they are being retired
        died.append(f"{gone} of {now.running.replicas} replicas of {now.colour}")
    for one in died:
        print(f"died: {one}; `resume` restarts it")
    return 1 if died else 0


def _down(rollout: BlueGreen, platform: LastingPlatform) -> None:
    with rollout.lock():
        if not platform.exists():
            print("nothing is running")
        platform.down()
        (rollout.directory / "deployment.json").unlink(missing_ok=True)  # unpacked releases stay


def _print_step(message: str) -> None:
    state, _, note = message.partition(": ")
    print(f"[{STEPS.get(state, state)}] {note}", flush=True)  # type: ignore[call-overload]


def _print_running(rollout: BlueGreen) -> None:
    running = rollout.status().running
    print(f"running: {running.name if running else 'nothing'}")


# ── Releases ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _release(made: Parser, args: Namespace, directory: Path) -> Release:
    """Return the requested release; an argument error if there is no such schema version, or no replica."""
    tree = _tree_of_tag(args.version, directory)
    if tree is None:
        print(f"{args.version} is not a Git tag: it labels the working tree")
    try:
        latest = _latest_schema(tree)
        schema = USERS.check_version(latest if args.schema is None else args.schema)
        check_range(1, latest, schema=schema)  # the tree of a tag may have fewer
        return Release(args.version, schema, replicas=args.replicas or 1, tree=tree and str(tree))
    except ValueError as error:
        made.error(str(error))


def _tree_of_tag(name: str, directory: Path) -> Path | None:
    """Unpack the files of a tag of this repository, once; None if there is no such tag, or no repository.

    Raises ProcessError if git cannot report whether the tag exists, because then it is unknown which code is meant.
    """
    if not (ROOT / ".git").exists():
        return None
    git, remedy = ["git", "-C", str(ROOT)], f"install it: only git can say whether {name} is a tag"
    commits = run(*git, "tag", "--list", name, "--format=%(objectname) %(*objectname)", remedy=remedy).split()
    if not commits:
        return None
    tree = directory / "releases" / commits[-1]  # an annotated tag is listed before its commit
    if not tree.exists():
        tree.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=tree.parent) as part:
            run(*git, "archive", "--output", f"{part}/tar", commits[-1], remedy=remedy)
            with tarfile.open(f"{part}/tar") as files:
                # Pythons before 3.11.4 have no filters; the archive is one of git's.
                files.extraction_filter = getattr(tarfile, "data_filter", None)
                files.extractall(f"{part}/tree")
            if not tree.exists():  # no other process was faster
                Path(part, "tree").rename(tree)
    return tree


def _latest_schema(tree: Path | None) -> int:
    if tree is None:
        return USERS.latest
    command = [sys.executable, "-P", "-c", "from lib.versioning.users import USERS; print(USERS.latest)"]
    return int(run(*command, env={"PYTHONPATH": str(tree)}, remedy=""))


if __name__ == "__main__":
    sys.exit(main())
