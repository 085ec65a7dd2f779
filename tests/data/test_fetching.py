"""`fn.data.fetch_images`: lists of pictures, from a local server that also misbehaves."""

import hashlib
import io
import socket
import threading
import time
import zlib
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from fastnn.data import DatasetError, DatasetNotFoundError, downloads, fetch_images

QUICK = {"size": (8, 8), "progress": False, "timeout": 5.0}


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def picture(seed, shape=(20, 30, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


class Server(ThreadingHTTPServer):
    """Serves `files`, {path: bytes}, and functions of the handler; counts what is asked for."""

    daemon_threads = True

    def __init__(self):
        self.files, self.asked = {}, []
        self.leave = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        if callable(content):
            with suppress(OSError):  # the client has left
                content(self)
        elif content is None:
            self.send_error(404, "gone \x1b[31m")
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.leave.set()
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def faces(server, tmp_path):
    """Write a list: rows (class, path on the server or URL, content that the list means, box)."""

    def write(*rows, header="name\timage_id\turl\tbbox\tsha256"):
        lines = [header]
        for number, (name, url, content, *box) in enumerate(rows):
            digest = hashlib.sha256(content).hexdigest().upper()
            full = server.url + url if url.startswith("/") else url
            lines.append("\t".join([name, str(number), full, *(box or [""]), digest]))
        path = tmp_path / "faces.txt"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def test_pictures_are_cropped_grey_and_resized(server, faces, tmp_path):
    pixels = picture(0)
    server.files = {"/a b.png": png(pixels), "/ä.png": png(picture(1))}
    path = faces(
        ("Ännä", "/a b.png", png(pixels), "10,4,18,12"),
        ("Bob", "/ä.png", png(picture(1)), "20,10,40,50"),
        ("Bob", "/a b.png", png(pixels), ""),
    )
    server.files = {"/a%20b.png": png(pixels), "/%C3%A4.png": png(picture(1))}
    found = fetch_images(path, tmp_path / "store", **QUICK)
    assert found.names == ["Bob", "Ännä"]
    assert found.y.tolist() == [1, 0, 0]
    assert (found.x.shape, found.x.dtype, found.skipped) == ((3, 8, 8, 3), np.uint8, [])
    np.testing.assert_array_equal(found.x[0], pixels[4:12, 10:18])
    inside = Image.fromarray(picture(1)[10:, 20:]).resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found.x[1], inside)  # the box is clipped
    grey = fetch_images(path, tmp_path / "store", **{**QUICK, "size": (5, 4)}, grey=True, download=False)
    assert grey.x.shape == (3, 5, 4)
    assert len(server.asked) == 2  # another size needs no download
    assert sorted(p.name for p in (tmp_path / "store").iterdir()) == sorted(
        hashlib.sha256(png(picture(seed))).hexdigest() for seed in (0, 1)
    )


def test_dead_and_altered_pictures_are_reported_and_left_out(server, faces, tmp_path):
    good, text = png(picture(0)), b"<html>this picture is gone</html>"
    server.files = {"/good": good, "/altered": png(picture(1)), "/text": text}
    path = faces(
        ("a", "/dead", good[::-1]),
        ("b", "/altered", png(picture(2))),
        ("b", "/good", good),
        ("b", "/text", text),
        ("b", "/good", good, "50,50,60,60"),
        ("b", "/good", good, "1,2,3"),
        ("b", "file:///etc/passwd", b"1"),
        ("b", "ftp://127.0.0.1/a", b"2"),
        ("b", "no url", b"3"),
        ("b", "http://127.0.0.1:1/refused", b"4"),
        ("b", "http://[broken/", b"5"),
        ("b", "", b"6"),
        ("b", "http://127.0.0.1:99999999/port", b"7"),
    )
    with pytest.warns(
        UserWarning, match=r"fetch_images: 12 of 13 pictures of .* are left out: 4 no http or ht"
    ):
        found = fetch_images(path, tmp_path / "store", **QUICK)
    assert found.names == ["a", "b"]  # labels do not depend on what could be downloaded
    assert found.y.tolist() == [1]
    reasons = {each.line: each.reason for each in found.skipped}
    assert list(reasons) == [2, 3, *range(5, 15)]
    assert reasons[2] == "HTTP 404"
    assert reasons[3] == f"another SHA-256: {hashlib.sha256(png(picture(1))).hexdigest()}"
    assert reasons[5].startswith("no readable picture: cannot identify")
    assert reasons[6] == "no readable picture: the box (50, 50, 60, 60) has no pixels of a picture of 30 x 20"
    assert reasons[7] == "no box left,top,right,bottom in the list"
    assert {reasons[8], reasons[9], reasons[10], reasons[13]} == {"no http or https URL"}
    assert reasons[11] == "no answer (ConnectionRefusedError)"
    assert reasons[12] == "no valid URL"
    assert reasons[14].startswith("no answer")
    assert found.skipped[0].url == f"{server.url}/dead"


def test_an_interrupted_download_goes_on_with_what_is_missing(server, faces, tmp_path, monkeypatch):
    server.files = {f"/{seed}": png(picture(seed)) for seed in range(6)}
    path = faces(*(("a", f"/{seed}", png(picture(seed))) for seed in range(6)))
    write = downloads.Downloads.get

    def interrupted(self, url):
        if url.endswith("/4"):
            raise KeyboardInterrupt
        return write(self, url)

    monkeypatch.setattr(downloads.Downloads, "get", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch_images(path, tmp_path / "store", **QUICK)
    kept = {file.name for file in (tmp_path / "store").iterdir()}
    before = len(server.asked)  # the server may still get a request of that call, for what is missing
    monkeypatch.undo()
    # What a killed process may leave: a temporary file. And a file that somebody has changed.
    (tmp_path / "store" / f".{hashlib.sha256(png(picture(5))).hexdigest()}.999999999-ab.tmp").write_text("x")
    changed = hashlib.sha256(png(picture(0))).hexdigest()
    (tmp_path / "store" / changed).write_bytes(b"damaged")
    found = fetch_images(path, tmp_path / "store", **QUICK)
    assert len(found.y) == 6
    names = {f"/{seed}": hashlib.sha256(png(picture(seed))).hexdigest() for seed in range(6)}
    missing = {path for path, name in names.items() if name not in kept - {changed}}
    assert set(server.asked[before:]) == missing
    assert len(list((tmp_path / "store").iterdir())) == 6


def test_one_of_two_urls_is_enough(server, faces, tmp_path):
    server.files = {"/good": png(picture(0))}
    path = faces(("a", "/dead", png(picture(0))), ("a", "/good", png(picture(0))))
    assert len(fetch_images(path, tmp_path / "store", **QUICK).y) == 2


def redirect(to):
    def answer(handler):
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.end_headers()

    return answer


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.leave.is_set():
        handler.wfile.write(bytes(1 << 16))


def trickle(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.server.leave.wait(0.02):
        handler.wfile.write(b"x")


def slow_headers(handler):
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Endless: ")
    while not handler.server.leave.wait(0.02):
        handler.wfile.write(b"x")


def silent(handler):
    handler.server.leave.wait()


def cut(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b"half")


def garbage(handler):
    handler.wfile.write(b"\x00\xff" * 100)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (redirect("file:///etc/passwd"), "HTTP 302, a redirect"),
        (redirect("ftp://127.0.0.1/a"), "no answer"),
        (redirect("/hostile"), "HTTP 302, a redirect"),
        (redirect("http://[broken"), "no answer"),
        (endless, "more than 100,000 bytes"),
        (trickle, "not within 0.3 s"),
        (slow_headers, "not within 0.3 s"),
        (silent, "not within 0.3 s"),
        (cut, "another SHA-256"),
        (garbage, "no answer"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_hostile_servers(server, faces, tmp_path, answer, reason):
    server.files = {"/hostile": answer, "/good": png(picture(0))}
    path = faces(("a", "/good", png(picture(0))), ("a", "/hostile", b"another"))
    start = time.monotonic()
    with pytest.warns(UserWarning, match="1 of 2 pictures"):
        found = fetch_images(path, tmp_path / "store", **{**QUICK, "timeout": 0.3}, limit=100_000)
    assert time.monotonic() - start < 4
    assert found.skipped[0].reason.startswith(reason)
    assert len(list((tmp_path / "store").iterdir())) == 1


def test_redirects_to_another_picture_are_followed(server, faces, tmp_path):
    server.files = {"/old": redirect("/new"), "/new": png(picture(0))}
    path = faces(("a", "/old", png(picture(0))))
    assert len(fetch_images(path, tmp_path / "store", **QUICK).y) == 1


def test_a_huge_picture_is_not_unpacked(server, faces, tmp_path):
    """12 kB of a PNG file that states 100,000 x 100,000 pixels."""

    def chunk(kind, content):
        body = kind + content
        return len(content).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    side = (100_000).to_bytes(4, "big")
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", side + side + b"\x08\x00\x00\x00\x00")
    bomb += chunk(b"IDAT", zlib.compress(bytes(10_000_000))) + chunk(b"IEND", b"")
    server.files = {"/bomb": bomb, "/good": png(picture(0))}
    path = faces(("a", "/bomb", bomb), ("a", "/good", png(picture(0))))
    with pytest.warns(UserWarning, match="1 no readable picture"):
        found = fetch_images(path, tmp_path / "store", **QUICK)
    assert "10000000000 pixels" in found.skipped[0].reason


def test_no_thread_and_no_connection_is_left(server, faces, tmp_path):
    server.files = {"/hostile": trickle, "/good": png(picture(0))}
    path = faces(("a", "/good", png(picture(0))), ("a", "/hostile", b"another"))
    with pytest.warns(UserWarning, match="1 of 2"):
        fetch_images(path, tmp_path / "store", **{**QUICK, "timeout": 0.3})
    names = {thread.name for thread in threading.enumerate()}
    assert not [name for name in names if name.startswith("fastnn-download")]


def test_classes_are_chosen_and_commas_separate_columns(server, tmp_path):
    server.files = {"/a": png(picture(0))}
    digest = hashlib.sha256(png(picture(0))).hexdigest()
    path = tmp_path / "faces.csv"
    lines = [f'{name},{digest},{server.url}/a,"1,1,9,9"' for name in ("x", "y", "z")]
    path.write_text("\ufeffLabel, SHA256 ,URL,bbox\r\n" + "\r\n".join(lines))
    found = fetch_images(path, tmp_path / "store", **QUICK, classes=["z", "x"])
    assert (found.names, found.y.tolist()) == (["z", "x"], [1, 0])
    with pytest.raises(DatasetError, match="has no class 'w': choose from x, y, z"):
        fetch_images(path, tmp_path / "store", **QUICK, classes=["w"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must begin with a header that has url, sha256, and one of name, label, class"),
        (b"name,url\na,b\n", r"the first line has 'name, url'"),
        (b"name\turl\tsha256\n", "names no pictures"),
        (b"name,url,sha256\n,http://a/,00\n", "names no pictures"),
        (b"name,url,sha256\na,http://a/,00\n", "1 of 1 pictures .* are left out: 1 no SHA-256 in the list"),
        (b"name,url,sha256\na\n", "1 no SHA-256 in the list"),
        (b"name,url,sha256\na,../../x,../../etc/passwd\n", "1 no SHA-256 in the list"),
        (b"name,url,sha256\n\xff\xfe", "is no CSV file in UTF-8"),
        (b"name,url,sha256\n" + b"a" * 200_000, "is no CSV file in UTF-8: field larger"),
    ],
)
def test_unsuitable_lists(tmp_path, content, message):
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        fetch_images(path, tmp_path / "store", **QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, "timeout must be a number above 0, not 0"),
        ({"timeout": float("inf")}, "timeout must be a number above 0"),
        ({"limit": True}, "limit must be a number above 0, not True"),
        ({"limit": "1"}, "limit must be a number above 0"),
        ({"size": (0, 3)}, "size must be"),
        ({"classes": "a"}, "classes must be the names in the list, each once"),
    ],
)
def test_invalid_arguments_leave_no_folder(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        fetch_images(tmp_path / "list.csv", tmp_path / "store", **{**QUICK, **options})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_list(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="no such file"):
        fetch_images(tmp_path / "list.csv", tmp_path / "store", **QUICK)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_may_not_be_a_file(faces, tmp_path):
    path = faces(("a", "/a", b"1"))
    with pytest.raises(NotADirectoryError, match=r"faces\.txt is a file: choose a folder"):
        fetch_images(path, path, **QUICK)


def test_stop_ends_a_download(server):
    server.files = {"/silent": silent}
    running = downloads.Downloads(10, 60.0)
    errors = []

    def get():
        with pytest.raises(DatasetError) as caught:
            running.get(f"{server.url}/silent")
        errors.append(str(caught.value))

    thread = threading.Thread(target=get)
    thread.start()
    while not server.asked:
        time.sleep(0.01)
    running.stop()
    thread.join(timeout=10)
    assert errors == ["not within 60 s"]


def test_a_server_that_does_not_speak_tls():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(DatasetError, match="not within"):
            downloads.Downloads(10, 0.2).get(f"https://127.0.0.1:{port}/")
