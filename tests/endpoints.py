"""Replicas for tests of proxies and traffic: the bare endpoint, and servers that misbehave in one way each."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lib.stage.ports import run_on_free_port
from lib.stage.processes import Process

BARE = Path(__file__).with_name("bare.py")


@dataclass
class Bare:
    """A bare endpoint in a process of its own."""

    port: int
    process: Process


@contextlib.contextmanager
def bare(name: str) -> Iterator[Bare]:
    """A bare endpoint that answers with its name."""

    def run(port: int) -> Process:
        return process.run([sys.executable, BARE, str(port), name])

    def ready(port: int) -> bool:
        with contextlib.suppress(OSError):
            return fetch(f"http://127.0.0.1:{port}/")[0] == name
        return False

    with Process() as process:
        yield Bare(run_on_free_port(run, ready, name=name), process)


def fetch(url: str) -> tuple[str, str]:
    """The body of an answer, and the replica that the proxy names."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode(), answer.headers.get("X-Served-By", "")


@contextlib.contextmanager
def server(answer: Callable[[socket.socket, int], bool]) -> Iterator[str]:
    """A server in threads: `answer(connection, n)` gets the n-th request on a connection, from 1; False ends it."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            count = 0
            while connection.recv(65536):
                count += 1
                if not answer(connection, count):
                    return

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@contextlib.contextmanager
def http_server(answer: Callable[[BaseHTTPRequestHandler, str], tuple[int, str]]) -> Iterator[str]:
    """A server in threads: `answer(request, body)` gives the status and the text of the answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            status, text = answer(self, body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        request_queue_size = 512  # many connections at once are taken

    with Server(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{served.server_port}"
        finally:
            served.shutdown()
            thread.join()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
