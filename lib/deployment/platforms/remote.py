"""A platform that another process owns, called by XML-RPC: controllers come and go, and the platform stays."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPException
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from xml.parsers.expat import ExpatError
from xmlrpc.client import Error, Fault, ProtocolError, ServerProxy
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

from lib.deployment.platform import Platform, PlatformError
from lib.deployment.states import Release
from lib.stage.files import replace_file
from lib.stage.router import Colour

METHODS = ("ports", "retire", "switch", "active", "in_flight")  # their arguments and results are plain
#: What XML 1.0 has no way to write, such as the colours of a log.
UNWRITABLE = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


@contextmanager
def listen(platform: Platform, file: Path) -> Iterator[None]:
    """Let controllers in other processes call a platform, until the block ends.

    file: where they find its address on 127.0.0.1. A secret is part of the address, and only this user may read the file.
    """
    path = f"/{secrets.token_urlsafe()}"

    class Handler(SimpleXMLRPCRequestHandler):
        rpc_paths = (path,)

    class Server(ThreadingMixIn, SimpleXMLRPCServer):
        daemon_threads = True  # a controller may be killed in the middle of a call

        def _dispatch(self, method: str, params: Any) -> Any:
            try:
                return super()._dispatch(method, params)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                raise Fault(1, UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", reason)) from error

    def create(colour: Colour, release: dict[str, Any]) -> list[int]:
        return platform.create(colour, Release(**release))

    with Server(("127.0.0.1", 0), Handler, logRequests=False, allow_none=True) as server:
        server.register_function(create)
        for method in METHODS:
            server.register_function(getattr(platform, method), method)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            replace_file(file, f"http://127.0.0.1:{server.server_address[1]}{path}", mode=0o600)
            yield
        finally:
            file.unlink(missing_ok=True)
            server.shutdown()
            thread.join()


class Remote:
    """The platform whose address is in a file: it has the methods of `Platform`, and adds PlatformError to what they raise."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __getattr__(self, method: str) -> Any:
        if method not in ("create", *METHODS):
            raise AttributeError(method)
        return partial(self._call, method)

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            with ServerProxy(self.file.read_text(), allow_none=True) as platform:
                return getattr(platform, method)(*arguments)
        except Fault as error:
            raise PlatformError(error.faultString) from error
        except (OSError, Error, HTTPException, ExpatError) as error:
            # The text of a ProtocolError has the address, and so the secret.
            reason = f"{error.errcode} {error.errmsg}" if isinstance(error, ProtocolError) else error
            raise PlatformError(f"{self.file}: no platform answers there ({reason})") from None
