"""A bare endpoint, so that what a test measures is the proxy: `bare.py PORT NAME`.

`/?seconds=1` takes a second.

On SIGTERM it ends at once, whatever is under way.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys

import uvloop


class Endpoint(asyncio.Protocol):
    """One connection."""

    def __init__(self, name: str) -> None:
        self.name, self.inbox = name.encode(), b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.inbox += data
        while b"\r\n\r\n" in self.inbox:
            head, _, self.inbox = self.inbox.partition(b"\r\n\r\n")
            seconds = re.search(rb"seconds=([\d.]+)", head)
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.name) + self.name
            wait = float(seconds[1]) if seconds else 0.0
            asyncio.get_running_loop().call_later(wait, self.write, answer)

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)


async def main(port: int, name: str) -> None:
    loop, ending = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    await loop.create_server(lambda: Endpoint(name), "127.0.0.1", port)
    await ending.wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
