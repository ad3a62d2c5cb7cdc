"""A stub of `kubectl`, and of a cluster: a small state machine, written from kubectl's documentation. No pod runs here.

    PATH with a `kubectl` that calls this file, STUB_KUBECTL=state.json

It knows the commands that `lib.deployment.platforms.kubernetes` gives, and refuses any other. A release whose name contains "unready"
never gets ready. `port-forward` serves what a pod of the demo service would: health, version, and users in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

State = dict[str, Any]
EMPTY: State = {"secrets": [], "service": None, "deployments": {}, "made": 0, "log": []}


def fail(message: str) -> NoReturn:
    sys.exit(f"error: {message}")


def pods(state: State, selector: dict[str, str]) -> list[dict[str, Any]]:
    found = []
    for deployment in state["deployments"].values():
        labels = {"app": "users", "colour": deployment["colour"]}
        if selector.items() <= labels.items():
            ready = str("unready" not in deployment["release"])
            status = {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}
            found += [
                {"metadata": {"name": name, "labels": labels}, "status": status}
                for name in deployment["pods"]
            ]
    return found


def get(state: State, args: argparse.Namespace) -> None:
    kind, *names = args.words
    items: list[dict[str, Any]]
    if kind == "secret":
        items = [{"metadata": {"name": name}} for name in names if name in state["secrets"]]
    elif kind == "service":
        service = {"metadata": {"name": "users"}, "spec": {"selector": state["service"]}}
        items = [service] if state["service"] is not None else []
    elif kind == "pods":
        items = pods(state, args.selector)
    elif kind == "endpointslices":
        served = pods(state, state["service"])
        ends = [
            {
                "conditions": {"ready": pod["status"]["conditions"][0]["status"] == "True"},
                "targetRef": pod["metadata"],
            }
            for pod in served
        ]
        items = [{"metadata": {"name": "users-1"}, "endpoints": ends}]
    else:
        fail(f'the server doesn\'t have a resource type "{kind}"')
    if names and not items and not args.ignore_not_found:
        fail(f'from server (NotFound): {kind}s "{names[0]}" not found')
    if args.output == "name":
        print(*(f"{kind}/{item['metadata']['name']}" for item in items), sep="\n", end="\n" * bool(items))
    elif items or not names:
        print(json.dumps(items[0] if names else {"items": items}))


def apply(state: State, args: argparse.Namespace) -> None:
    folder = Path(args.kustomize)
    if folder.name == "shared":
        state["service"] = {"app": "users"} | (
            state["service"] or {}
        )  # what a patch has added is not in the file, and stays
        return
    told = json.loads((folder / "kustomization.yaml").read_text())
    [base] = told["resources"]
    if not (folder / base / "kustomization.yaml").exists():
        fail(f"accumulating resources from '{base}': no such directory")
    [replicas], [image], [config] = told["replicas"], told["images"], told["configMapGenerator"]
    values = dict(literal.split("=", 1) for literal in config["literals"])
    template = {"release": image["newTag"], "schema": int(values["SCHEMA"]), "colour": folder.name}
    before = state["deployments"].get(replicas["name"], {"pods": []})
    kept = before["pods"][: replicas["count"]] if template.items() <= before.items() else []
    new = [f"{replicas['name']}-{state['made'] + n}" for n in range(replicas["count"] - len(kept))]
    state["made"] += len(new)
    state["deployments"][replicas["name"]] = template | {"pods": kept + new}


def rollout(state: State, args: argparse.Namespace) -> None:
    what, name = args.words[1].split("/")
    if what == "statefulset":
        return
    if name not in state["deployments"]:
        fail(f'from server (NotFound): deployments.apps "{name}" not found')
    if "unready" in state["deployments"][name]["release"]:
        fail("timed out waiting for the condition")
    print(f'deployment "{name}" successfully rolled out')


def patch(state: State, args: argparse.Namespace) -> None:
    if state["service"] is None:
        fail('from server (NotFound): services "users" not found')
    state["service"] |= json.loads(args.patch)["spec"]["selector"]


def delete(state: State, args: argparse.Namespace) -> None:
    if args.kustomize:
        state["service"] = None
    elif "deployment" in args.words[0]:
        if args.cascade != "foreground":
            fail("pods would go on for a while")  # kubectl's default; not what is asked for here
        gone = [
            name
            for name, one in state["deployments"].items()
            if args.selector.items() <= {"app": "users", "colour": one["colour"]}.items()
        ]
        for name in gone:
            del state["deployments"][name]


def port_forward(state: State, args: argparse.Namespace) -> None:
    name, users = args.words[0].removeprefix("pod/"), dict[str, dict[str, Any]]()
    keys = dict[str, str]()
    [deployment] = [one for one in state["deployments"].values() if name in one["pods"]]

    class Pod(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/ready":
                self.answer(503 if "unready" in deployment["release"] else 200, {})
            elif self.path == "/version":
                self.answer(200, {"release": deployment["release"], "schema_version": deployment["schema"]})
            else:
                user = users.get(self.path.rpartition("/")[2])
                self.answer(200 if user else 404, user or {})

        def do_POST(self) -> None:
            user = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key = self.headers["Idempotency-Key"]
            self.answer(200 if key in keys else 201, users.setdefault(keys.setdefault(key, user["id"]), user))

        def do_DELETE(self) -> None:
            self.answer(
                204 if users.pop(urllib.parse.unquote(self.path.rpartition("/")[2]), None) else 404, None
            )

        def answer(self, status: int, body: Any) -> None:
            print("Handling connection for", self.server.server_address[1], flush=True)
            data = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer((args.address, 0), Pod) as server:
        print(
            f"Forwarding from {args.address}:{server.server_address[1]} -> {args.words[1].removeprefix(':')}",
            flush=True,
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        threading.Event().wait()


COMMANDS = {
    "get": get, "apply": apply, "rollout": rollout, "patch": patch, "delete": delete, "port-forward": port_forward
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="kubectl")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--selector", type=lambda text: dict(pair.split("=") for pair in text.split(",")))
    parser.add_argument("--ignore-not-found", action="store_true")
    parser.add_argument("--output", choices=["name", "json"])
    parser.add_argument("--cascade", nargs="?", const="background")  # so the value needs an equals sign
    for option in ("kustomize", "timeout", "type", "patch", "address"):
        parser.add_argument(f"--{option}")
    args = parser.parse_intermixed_args()
    path = Path(os.environ["STUB_KUBECTL"])
    state = EMPTY | (json.loads(path.read_text()) if path.exists() else {})
    state["log"].append(" ".join([args.command, *args.words]))
    if args.command != "port-forward":
        try:
            COMMANDS[args.command](state, args)
        finally:
            part = path.with_suffix(
                f".{os.getpid()}"
            )  # a controller that was killed leaves its last command running
            part.write_text(json.dumps(state))
            part.replace(path)
    else:
        port_forward(state, args)


if __name__ == "__main__":
    main()
