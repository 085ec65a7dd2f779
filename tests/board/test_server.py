"""The server of pages: who may ask, what is answered, and clients that hang."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from fastnn.board import server
from fastnn.board.server import PageServer, Reply, as_json, static


def answer(method, path):
    if path == "events":
        return ({"number": number, "value": float("nan")} for number in range(3))
    if path == "broken":
        raise RuntimeError("a bug")
    return Reply(f"{method} {path}".encode(), "txt") if path.startswith("echo") else static(path)


@pytest.fixture
def page():
    page = PageServer(answer)
    yield page
    page.close()


def request(page, path="echo", *, host=None, token=None, method="GET"):
    """Return the status and the body of an answer."""
    address = urlsplit(page.url)
    connection = HTTPConnection(address.hostname, address.port, timeout=20)
    connection.putrequest(method, f"/{token or address.path.strip('/')}/{path}", skip_host=True)
    connection.putheader("Host", address.netloc if host is None else host)
    connection.endheaders()
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, body


def test_the_address_answers(page):
    assert request(page) == (200, b"GET echo")
    assert request(page, method="POST") == (200, b"POST echo")
    assert request(page, "echo%20%C3%A4?query") == (200, "GET echo ä".encode())
    assert request(page, "nothing") == (404, b"not found\n")
    assert request(page, host=urlsplit(page.url).netloc.replace("127.0.0.1", "localhost"))[0] == 200


def test_only_this_computer_can_connect(page):
    assert page._server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("token", ["guessed", "ä", "%00", "x" * 5000])
def test_a_wrong_token_is_refused(page, token):
    status, body = request(page, token=urllib.request.quote(token))
    assert status == 403
    assert b"GET echo" not in body


def test_tokens_differ():
    pages = [PageServer(answer) for _ in range(2)]
    tokens = {urlsplit(page.url).path for page in pages}
    assert len(tokens) == 2
    assert all(len(token) >= 20 for token in tokens)
    for page in pages:
        page.close()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "", "localhost.evil.example"])
def test_foreign_hosts_are_refused(page, host):
    """A page elsewhere whose name resolves to 127.0.0.1 sends its own name (DNS rebinding)."""
    assert request(page, host=host) == (421, b"wrong host\n")


def test_headers_keep_the_address_secret_and_scripts_out(page):
    with urllib.request.urlopen(page.url + "echo") as reply:
        assert reply.headers["Referrer-Policy"] == "no-referrer"
        assert reply.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]


def test_events_are_valid_json(page):
    with urllib.request.urlopen(page.url + "events") as reply:
        assert reply.headers["Content-Type"] == "text/event-stream"
        lines = [line for line in reply if line.strip()]
    assert [json.loads(line.removeprefix(b"data: ")) for line in lines] == [
        {"number": number, "value": None} for number in range(3)
    ]


def test_json_has_no_nan():
    assert (
        as_json({"a": [1.5, float("inf")], 2: (float("nan"), "ä")})
        == b'{"a":[1.5,null],"2":[null,"\\u00e4"]}'
    )


@pytest.mark.parametrize(
    "path", ["../server.py", "..%2fserver.py", "static", "style.css/", "/etc/passwd", "%00"]
)
def test_only_the_static_files_are_served(page, path):
    assert request(page, path)[0] == 404


@pytest.mark.parametrize("name", ["live.html", "runs.html", "live.js", "runs.js", "charts.js", "style.css"])
def test_static_files_are_in_the_package(page, name):
    status, body = request(page, name)
    assert status == 200
    assert len(body) > 500


def test_static_files_load_nothing_from_elsewhere(page):
    for name in ("live.html", "runs.html", "live.js", "runs.js", "charts.js", "style.css"):
        text = static(name).content.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text


def test_a_busy_port_is_named(page):
    port = urlsplit(page.url).port
    with pytest.raises(OSError, match=f"port {port} is in use: choose another port, or 0"):
        PageServer(answer, port)


@pytest.mark.parametrize("port", [-1, 65536, 1.5, "http", None])
def test_invalid_ports(port):
    with pytest.raises((ValueError, TypeError), match="port"):
        PageServer(answer, port)


def test_clients_that_hang_do_not_stop_others(page, monkeypatch):
    monkeypatch.setattr(server._Handler, "timeout", 0.3)
    address = urlsplit(page.url)
    silent = [socket.create_connection((address.hostname, address.port)) for _ in range(5)]
    for number, client in enumerate(silent):
        client.sendall(b"GET / HTTP/1.1\r\nHost: " + b"a" * number)
    assert request(page)[0] == 200
    for client in silent:
        client.settimeout(20)
        assert client.recv(100) == b""  # closed by the server
        client.close()


def test_a_client_that_does_not_read_is_given_up(monkeypatch):
    monkeypatch.setattr(server._Handler, "timeout", 0.3)
    ended = threading.Event()

    def endless(method, path):
        def events():
            try:
                while True:
                    yield "x" * 100_000
            finally:
                ended.set()

        return events()

    page = PageServer(endless)
    address = urlsplit(page.url)
    client = socket.create_connection((address.hostname, address.port))
    client.sendall(f"GET {address.path}events HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
    assert ended.wait(20)
    client.close()
    page.close()


def test_too_many_connections_are_closed(page):
    address = urlsplit(page.url)
    clients = [
        socket.create_connection((address.hostname, address.port)) for _ in range(server.MOST_CONNECTIONS)
    ]
    extra = socket.create_connection((address.hostname, address.port))
    extra.settimeout(20)
    assert extra.recv(100) == b""
    for client in (*clients, extra):
        client.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            assert request(page)[0] == 200
            return
        except OSError:  # the server has not noticed yet that the clients went away
            time.sleep(0.05)
    pytest.fail("the connections were not freed")


@pytest.mark.filterwarnings("error")
def test_an_error_in_an_answer_closes_the_connection_silently(page, capfd):
    with pytest.raises((OSError, urllib.error.URLError)):
        urllib.request.urlopen(page.url + "broken", timeout=20)
    assert request(page)[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_closed_page_frees_its_port_and_its_thread():
    before = set(threading.enumerate())
    page = PageServer(answer)
    port = urlsplit(page.url).port
    page.close()
    page.close()
    again = PageServer(answer, port)
    again.close()
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if thread.name == "fastnn page"]


def test_a_forgotten_page_is_closed():
    page = PageServer(answer)
    url = page.url
    del page
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=20)
