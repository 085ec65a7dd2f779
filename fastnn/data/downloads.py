"""Download files from servers that may be slow, endless or hostile.

Only http and https are spoken, also after a redirect: urllib would open ftp links, too. A download has a
limit of bytes, and one of time for all of it: the timeout of a socket starts anew with each byte.

Imported when used: http and ssl take 30 ms.
"""

import http.client
import socket
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit

from fastnn.data.errors import DatasetError
from fastnn.data.unpacking import read_up_to

SCHEMES = ("http", "https")
AGENT = "Mozilla/5.0 (compatible; fastnn)"  # many servers refuse Python-urllib
KEPT = "%/:=&?~#+!$,;'@()*[]"  # characters of a URL that are not quoted


class Downloads:
    """Downloads of at most `limit` bytes that take at most `seconds` each, apart from the look-up of names.

    Several threads may call `get` at the same time.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit, self._seconds = limit, seconds
        self._running: list[_Connections] = []

    def get(self, url: str) -> bytes:
        """Return the content. Raises DatasetError, whose message is the reason, if that is not possible."""
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise DatasetError("no valid URL") from error
        if parts.scheme.lower() not in SCHEMES or not parts.netloc:
            raise DatasetError("no http or https URL")
        request = urllib.request.Request(quote(url, safe=KEPT), headers={"User-Agent": AGENT})
        connections = _Connections()
        timer = threading.Timer(self._seconds, connections.end)
        timer.daemon = True
        self._running.append(connections)
        timer.start()
        try:
            with _opener(connections).open(request, timeout=self._seconds) as response:
                content = bytes(read_up_to(response, self._limit + 1))
        except HTTPError as error:
            error.close()
            # No words of the server: they may have control characters.
            raise DatasetError(f"HTTP {error.code}" + ", a redirect" * (error.code // 100 == 3)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            cause = error.reason if isinstance(error, URLError) else error
            late = connections.ended or isinstance(cause, TimeoutError)
            reason = f"not within {self._seconds:g} s" if late else f"no answer ({type(cause).__name__})"
            raise DatasetError(reason) from error
        finally:
            timer.cancel()
            self._running.remove(connections)
            connections.close()
        if connections.ended:  # the content may be cut
            raise DatasetError(f"not within {self._seconds:g} s")
        if len(content) > self._limit:
            raise DatasetError(f"more than {self._limit:,} bytes")
        return content

    def stop(self) -> None:
        """Let all running downloads fail."""
        for connections in self._running.copy():
            connections.end()


class _Connections:
    """The connections of a download: one, and another after each redirect."""

    def __init__(self) -> None:
        self.ended = False
        self._sockets: list[socket.socket] = []

    def add(self, connected: socket.socket) -> None:
        self._sockets.append(connected)
        if self.ended:
            raise TimeoutError

    def end(self) -> None:
        """Shut the connections down: a thread that reads from one gets the end of the file."""
        self.ended = True
        for connected in self._sockets:
            with suppress(OSError):
                socket.socket.shutdown(connected, socket.SHUT_RDWR)  # below TLS, which would take its time

    def close(self) -> None:
        """Close what is open: urllib leaves it to the garbage collector after some errors in a redirect."""
        for connected in self._sockets:
            if (descriptor := connected.detach()) != -1:
                socket.close(descriptor)


def _opener(connections: _Connections) -> urllib.request.OpenerDirector:
    """An opener that knows http, https, redirects, and the proxies of the environment."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        _handler(urllib.request.HTTPHandler, http.client.HTTPConnection, connections),
        _handler(urllib.request.HTTPSHandler, http.client.HTTPSConnection, connections),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _handler(
    kind: type[urllib.request.BaseHandler], connection: type[http.client.HTTPConnection], known: _Connections
) -> urllib.request.BaseHandler:
    """A handler of urllib whose connections are added to `known`."""

    class Connection(connection):  # type: ignore[valid-type,misc]
        def connect(self) -> None:
            super().connect()
            known.add(self.sock)

    class Handler(kind):  # type: ignore[valid-type,misc]
        def do_open(self, _: Callable[..., Any], *args: Any, **options: Any) -> Any:
            return super().do_open(Connection, *args, **options)

    return Handler()
