"""Deploy a version of the demo service without downtime, in seven steps, each of them for real.

    deploy-zero-downtime.sh <new_version>     a Git tag runs that tag's tree; any other name labels the working tree
    deploy-zero-downtime.sh status            what runs, and what is under way
    deploy-zero-downtime.sh resume            go on where a deployment was interrupted
    deploy-zero-downtime.sh rollback          go back to what ran before
    deploy-zero-downtime.sh down              stop all, and remove its data

The first deployment starts a database and a router, which stay, with what was deployed, until `down`.
Exit status: 0 done, 1 bad arguments, 2 refused or failed (what ran before runs on), 3 another deployment is at work.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn

from lib.deployment.platform import Local, PlatformError, Remote, serve
from lib.deployment.rollout import BlueGreen, BusyError, DeploymentError
from lib.deployment.states import Deployment, State, Target
from lib.deployment.traffic import USER, Traffic, summary
from lib.versioning.users import USERS

ROOT = Path(__file__).parents[2]
VERBS = ("status", "resume", "rollback", "down")
TARGETS = ("local", "compose", "kubernetes")
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
    made.add_argument("--target", choices=TARGETS, default="local", help="where to (only local so far)")
    made.add_argument(
        "--schema", type=int, help="schema version of the release (default: the latest of its tree)"
    )
    made.add_argument("--replicas", type=int, default=1)
    made.add_argument("--dry-run", action="store_true", help="print the plan, do nothing")
    made.add_argument(
        "--state-dir", type=Path, default=ROOT / ".state" / "deploy", help="default: .state/deploy"
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
    if args.target != "local":
        print(f"--target {args.target}: only local works so far; leave the option out", file=sys.stderr)
        return 1
    try:
        return _down(args.state_dir) if args.version == "down" else _act(args)
    except KeyboardInterrupt:
        print("\ninterrupted: `resume` goes on, `rollback` goes back", file=sys.stderr)
        return 130
    except BusyError as error:
        print(error, file=sys.stderr)
        return 3
    except (DeploymentError, PlatformError) as error:
        print(error, file=sys.stderr)
        return 2


def _act(args: argparse.Namespace) -> int:
    options: dict[str, Any] = {"smoke_user": USER, "bake": args.bake, "progress": _tell}
    platform = Remote(_socket(args.state_dir))
    if args.version == "status":
        return _status(args.state_dir, platform)
    if args.version in VERBS or args.dry_run:
        rollout = BlueGreen(platform, args.state_dir, **options)
        if args.dry_run:
            print(*rollout.plan(_target(args)), sep="\n")
            return 0
        return _done(rollout.resume() if args.version == "resume" else rollout.rollback())
    target = _target(args)
    address = _platform(args.state_dir, args.port)
    with ExitStack() as stack:
        traffic = (
            stack.enter_context(Traffic(address, args.traffic, writes=0.2))
            if args.traffic and _runs(platform)
            else None
        )
        if traffic:
            options |= {"traffic": traffic.requests, "objective": {"p99_s": 5.0}}
        deployed = BlueGreen(platform, args.state_dir, **options).deploy(target)
    print(f"address: {address}")
    if traffic:
        print("traffic:", json.dumps(counts := summary(traffic.requests())))
        return 2 if counts["failed"] else _done(deployed)
    return _done(deployed)


def _tell(progress: str) -> None:
    state, _, note = progress.partition(": ")
    print(f"[{STEPS.get(state, state)}] {note}", flush=True)  # type: ignore[call-overload]


def _done(now: Deployment) -> int:
    print(f"running: {now.running.release if now.running else 'nothing'}")
    return 0


def _runs(platform: Remote) -> bool:
    return bool(platform.ports(platform.active()))


def _status(directory: Path, platform: Remote) -> int:
    now = BlueGreen(platform, directory, smoke_user=USER).status()
    _done(now)
    if now.coming:
        print(
            f"under way: {now.coming.release} is {now.state}{', going back' * now.going_back}: resume, or rollback"
        )
    try:
        active = platform.active()
        print(f"active: {active}, {len(platform.ports(active))} replicas")
    except PlatformError:
        print("the platform is down")
    return 0


# ── Releases ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _target(args: argparse.Namespace) -> Target:
    tree = _tree_of_tag(args.version, args.state_dir)
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
            [*git, "archive", found.stdout.strip(), "lib"], capture_output=True, check=True
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


# ── The platform, in a process that stays ────────────────────────────────────────────────────────────────────────


def _socket(directory: Path) -> Path:
    return directory / "platform.sock"


def _platform(directory: Path, port: int) -> str:
    """The address of the router, once the platform is there: it is started where it is not."""
    directory.mkdir(parents=True, exist_ok=True)
    note, log = directory / "platform.json", directory / "platform.log"
    try:
        Remote(_socket(directory)).active()
    except PlatformError:
        note.unlink(missing_ok=True)
        if (
            deployment := directory / "deployment.json"
        ).exists():  # of a platform that has gone, with all it ran
            deployment.unlink()
            print("the platform has ended since, and what was deployed with it: beginning anew")
        with log.open("wb") as output:
            command = [sys.executable, "-m", "lib.deployment.__main__", "--serve", str(directory), str(port)]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                       start_new_session=True, cwd=ROOT)  # fmt: skip
        while not note.exists():
            if process.poll() is not None:
                raise PlatformError(
                    f"the platform did not start; {log} ends with:\n{log.read_text()[-2000:]}"
                ) from None
            time.sleep(0.05)
    return json.loads(note.read_text())["address"]


def _serve(directory: Path, port: int) -> None:
    """Own a database, a router and replicas until SIGTERM."""
    from lib.servers import postgres

    ended = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ended)
    with ExitStack() as stack:
        database = stack.enter_context(postgres())
        platform = stack.enter_context(Local(database.url, directory=directory, port=port))
        stack.enter_context(serve(platform, _socket(directory)))
        part = directory / "platform.json.part"
        part.write_text(json.dumps({"pid": os.getpid(), "address": platform.router.url}))
        part.rename(directory / "platform.json")
        signal.sigwait(ended)


def _down(directory: Path) -> int:
    """Stop the platform and forget what was deployed; releases that were unpacked stay."""
    try:
        Remote(_socket(directory)).active()  # so the process that is noted is the platform
        pid = json.loads((directory / "platform.json").read_text())["pid"]
        os.kill(pid, signal.SIGTERM)
        with suppress(ProcessLookupError):
            while True:
                os.kill(pid, 0)
                time.sleep(0.05)
    except PlatformError:
        print("nothing is running")
    for name in ("platform.json", "deployment.json", "routes.json"):
        (directory / name).unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        _serve(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        if len(sys.argv) == 1:
            parser().print_help()
            sys.exit(1)
        sys.exit(main())
