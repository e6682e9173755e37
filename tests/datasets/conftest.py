"""A real HTTP server on 127.0.0.1 that behaves as badly as it is told to."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest


@dataclass
class Server:
    """What it serves at every address but those in `missing`, and how; it may be changed between requests."""

    content: bytes
    ranges: bool = True
    block: int = 1
    """A range starts at the multiple of it before the place asked for, as a cache may answer."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes each of the first answers breaks off."""
    busy: int = 0
    """How many of the first requests are answered with 503."""
    missing: bool = False
    base_url: str = ""
    asked: list[str | None] = field(default_factory=list)
    """The Range header of every request so far."""


@contextmanager
def _serving(content: bytes, **behaviour: object) -> Iterator[Server]:
    server = Server(content, **behaviour)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append(wanted)
            if server.missing:
                return self.send_error(404)
            if server.busy:
                server.busy -= 1
                return self.send_error(503)
            start, total = 0, len(server.content)
            if wanted and server.ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-")) // server.block * server.block
                if start >= total:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{total}")
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(total - start))
            self.end_headers()
            end = start + server.cuts.pop(0) if server.cuts else total
            self.wfile.write(server.content[start:end])
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing: the tests' output is for the tests."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.base_url = f"http://127.0.0.1:{listener.server_port}"
    Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()


@pytest.fixture
def serving() -> Callable[..., AbstractContextManager[Server]]:
    """`with serving(content, cuts=[100]) as server:`, see Server for what it can be told."""
    return _serving
