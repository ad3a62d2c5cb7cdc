"""Replicas for tests of proxies and traffic: the bare endpoint, and servers that misbehave in one way each."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lib.stage.ports import run_on_free_port
from lib.stage.processes import Process

BARE = Path(__file__).with_name("bare.py")


class Bare:
    """A bare endpoint in a process of its own."""

    def __init__(self, name: str) -> None:
        self.name, self.process = name, Process()
        self.port = run_on_free_port(self._run, self._ready, name=name)

    def _run(self, port: int) -> Process:
        return self.process.run([sys.executable, BARE, str(port), self.name])

    def _ready(self, port: int) -> bool:
        with contextlib.suppress(OSError):
            return fetch(f"http://127.0.0.1:{port}/")[0] == self.name
        return False


@contextlib.contextmanager
def bare(name: str) -> Iterator[Bare]:
    """A bare endpoint that answers with its name."""
    endpoint = Bare(name)
    with endpoint.process:
        yield endpoint


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
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

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
