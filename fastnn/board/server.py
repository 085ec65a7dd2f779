"""Serve a page to browsers on this computer: HTTP on 127.0.0.1, under an address that nobody can guess."""

from __future__ import annotations

import errno
import json
import math
import secrets
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from socket import socket
from typing import Any
from urllib.parse import unquote, urlsplit

from fastnn._validation import counter_value

HOST = "127.0.0.1"
MOST_CONNECTIONS = 32  # each has a thread
SECONDS = 10.0  # that a client may take to send a request or to read a part of the answer
KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
}
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address is a secret
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


@dataclass(frozen=True)
class Reply:
    """The answer to a request: its content, and the suffix that tells what it is (a key of KINDS)."""

    content: bytes
    kind: str


Events = Iterator[Any]
Routes = Callable[[str, str], Reply | Events | None]
"""Answers (method, path below the token); an iterator is sent as server-sent events, None is a 404."""


class PageServer:
    """An HTTP server in a thread of its own, which ends with `close`, with the object or with the process.

    It listens on 127.0.0.1 only. Every address starts with a random token, so other users of this computer
    and other pages in the browser cannot use it; requests under another host name are refused, so that a
    foreign name that resolves to 127.0.0.1 is no way in (DNS rebinding).

    Args:
        routes: Function that answers the requests. It must not keep the owner of the server alive.
        port: Port to listen on; 0 takes a free one.

    Raises ValueError for a port outside 0 to 65535, OSError if it is in use.
    """

    def __init__(self, routes: Routes, port: int = 0) -> None:
        if counter_value(port, "port") > 65535:
            raise ValueError(f"port must be at most 65535, not {port}")
        token = secrets.token_urlsafe(16)
        try:
            self._server = _Server(routes, port, token)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            why = "in use" if error.errno == errno.EADDRINUSE else "not allowed"
            raise OSError(
                error.errno, f"port {port} is {why}: choose another port, or 0 for any free one"
            ) from None
        self.url = f"http://{HOST}:{self._server.server_port}/{token}/"
        options = {"poll_interval": 0.05}  # seconds that `close` waits at most
        thread = threading.Thread(None, self._server.serve_forever, "fastnn page", (), options, daemon=True)
        thread.start()
        self._end = weakref.finalize(self, _end, self._server, thread)

    def close(self) -> None:
        """Stop listening. Connections that are being answered end by themselves."""
        self._end()


def _end(server: ThreadingHTTPServer, thread: threading.Thread) -> None:
    server.shutdown()
    thread.join()
    server.server_close()


def static(name: str) -> Reply | None:
    """Return one of the package's own files; None if there is no such file."""
    known = {path.name: path for path in files("fastnn.board").joinpath("static").iterdir()}
    if name not in known:
        return None
    return Reply(known[name].read_bytes(), name.rpartition(".")[2])


def as_json(content: object) -> bytes:
    """Write JSON. NaN and infinity, which JSON does not have, become null."""
    return json.dumps(_finite(content), separators=(",", ":"), allow_nan=False).encode()


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {str(name): _finite(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that hangs must not delay the end of the program
    request_queue_size = MOST_CONNECTIONS
    allow_reuse_address = False  # on Windows, it would share a port that is in use

    def __init__(self, routes: Routes, port: int, token: str) -> None:
        self.routes, self.token = routes, token
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((HOST, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """Say nothing about a client that went away."""


class _Handler(BaseHTTPRequestHandler):
    timeout = SECONDS
    server_version, sys_version = "fastnn", ""
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        port = self.server.server_port
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            return self._send(Reply(b"wrong host\n", "txt"), 421)
        token, _, path = urlsplit(self.path).path[1:].partition("/")
        if not secrets.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            return self._send(Reply(b"open the address that fastnn printed\n", "txt"), 403)
        answer = self.server.routes(self.command, unquote(path))
        if answer is None:
            return self._send(Reply(b"not found\n", "txt"), 404)
        return self._send(answer) if isinstance(answer, Reply) else self._stream(answer)

    def _send(self, reply: Reply, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", KINDS.get(reply.kind, "text/plain; charset=utf-8"))
        self.send_header("Content-Length", str(len(reply.content)))
        self._end_headers()
        self.wfile.write(reply.content)

    def _stream(self, events: Events) -> None:
        """Send server-sent events (HTML standard, section 9.2) until they end or the client goes away."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self._end_headers()
        for event in events:
            self.wfile.write(b"data: " + as_json(event) + b"\n\n")

    def _end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the terminal belongs to the training."""
