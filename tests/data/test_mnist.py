"""`fn.data.mnist` with IDX files: the real files, names, inconsistent files, and downloads."""

import gzip
import hashlib
import importlib
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from fastnn.data import DatasetError, DatasetNotFoundError, cifar10, mnist, write_idx
from fastnn.data.folders import default_folder

# Not `import fastnn.data.mnist`, because that name is the function in the package.
module = importlib.import_module("fastnn.data.mnist")

NAMES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]


# --- the real data ---


@pytest.fixture(scope="module")
def real_folder():
    if "FASTNN_DATA" not in os.environ:
        pytest.skip("the real MNIST is looked for in $FASTNN_DATA/mnist only, and FASTNN_DATA is not set")
    return Path(os.environ["FASTNN_DATA"], "mnist")


def test_the_real_files_load(real_folder):
    (x_train, y_train), (x_test, y_test) = mnist(download=False)
    for x, y, size in [(x_train, y_train, 60_000), (x_test, y_test, 10_000)]:
        assert x.shape == (size, 28, 28)
        assert x.dtype == np.uint8
        assert y.shape == (size,)
        assert y.dtype == np.int64
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(y_train).tolist() == train
    assert np.bincount(y_test).tolist() == test
    assert y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    # The uncompressed files consist of the header and these bytes.
    for x, header, name in [
        (x_train, "00000803 0000ea60", NAMES[0]),
        (x_test, "00000803 00002710", NAMES[2]),
    ]:
        content = bytes.fromhex(f"{header} 0000001c 0000001c") + x.tobytes()
        assert hashlib.sha256(content).hexdigest() == module.SHA256[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_real_files_have_the_expected_sha256(real_folder, name):
    file = module._find(real_folder)[name]
    module._check_sha256(file, module.SHA256[name])


# --- local files ---


@pytest.fixture
def arrays():
    """Four arrays like those of MNIST with fewer images, by file name."""
    rng = np.random.default_rng(0)
    shapes = [(20, 28, 28), (20,), (10, 28, 28), (10,)]
    return {
        name: rng.integers(0, 256 if len(shape) == 3 else 10, shape, np.uint8)
        for name, shape in zip(NAMES, shapes, strict=True)
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of MNIST in this test, which does not exist yet; tests read nothing outside `tmp_path`."""
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "data" / "mnist"


def write_all(folder, arrays, spelling="{}"):
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        write_idx(folder / spelling.format(name), array)


def assert_holds(parts, arrays):
    found = [array for part in parts for array in part]
    for array, expected in zip(found, arrays.values(), strict=True):
        np.testing.assert_array_equal(array, expected)
    assert [array.dtype for array in found] == [np.uint8, np.int64] * 2


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("separator", ["-", "."])
def test_all_spellings_of_the_names_are_found(folder, arrays, separator, suffix):
    write_all(
        folder, {name.replace("-idx", f"{separator}idx"): a for name, a in arrays.items()}, "{}" + suffix
    )
    assert_holds(mnist(download=False), arrays)


def test_a_folder_with_the_name_of_a_file_is_ignored(folder, arrays):
    write_all(folder, arrays, "{}.gz")
    (folder / NAMES[0]).mkdir()
    assert_holds(mnist(download=False), arrays)


@pytest.mark.parametrize("load", [mnist, cifar10])
def test_user_without_a_home_folder_is_told_what_to_set(homeless, monkeypatch, load):
    monkeypatch.delenv("FASTNN_DATA", raising=False)
    with pytest.raises(DatasetNotFoundError, match="pass its folder, or set FASTNN_DATA or XDG_CACHE_HOME"):
        load()


def test_home_in_the_default_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FASTNN_DATA", "~/sets")
    assert default_folder("mnist") == tmp_path / "sets" / "mnist"


def test_default_folders(folder, tmp_path, monkeypatch, arrays):
    given, cache, home = tmp_path / "given", tmp_path / "cache", tmp_path / "home" / ".cache"
    others = {name: array[:5] for name, array in arrays.items()}
    write_all(folder, others)
    write_all(given, arrays)
    assert_holds(mnist(given, download=False), arrays)
    assert_holds(mnist(str(given), download=False), arrays)
    assert_holds(mnist(download=False), others)
    write_all(cache / "fastnn" / "mnist", arrays)
    assert_holds(mnist(download=False), others)
    monkeypatch.delenv("FASTNN_DATA")
    assert_holds(mnist(download=False), arrays)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    write_all(home / "fastnn" / "mnist", others)
    assert_holds(mnist(download=False), others)


def test_the_error_for_missing_files_says_what_to_do(folder):
    with pytest.raises(DatasetNotFoundError) as info:
        mnist(download=False)
    for part in [str(folder), "FASTNN_DATA", *NAMES]:
        assert part in str(info.value)
    assert not folder.exists()


@pytest.mark.parametrize("name", NAMES)
def test_an_incomplete_folder_is_not_completed_by_a_download(folder, arrays, name, monkeypatch):
    monkeypatch.setattr(module, "MIRRORS", None)  # a download would raise TypeError
    write_all(folder, arrays)
    (folder / name).unlink()
    with pytest.raises(DatasetNotFoundError, match=f"missing are {name};"):
        mnist()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (NAMES[0], lambda a: a[1:], r"train-labels.*: labels must be uint8 \(19,\)"),
        (NAMES[0], lambda a: a[:, 1:], r"train-images.*: images must be uint8 \(N, 28, 28\), not .*27"),
        (NAMES[0], lambda a: a.reshape(20, 784), "train-images.*: images must be"),
        (NAMES[2], lambda a: a.view(np.int8), "t10k-images.*: images must be .* not int8"),
        (NAMES[2], lambda a: np.uint8(7), "t10k-images.*: images must be"),
        (NAMES[1], lambda a: a.astype(np.int32), "train-labels.*: labels must be .* not int32"),
        (NAMES[3], lambda a: a[:, np.newaxis], r"t10k-labels.*: labels must be .* not uint8 \(10, 1\)"),
        (NAMES[3], lambda a: np.where(np.arange(10) == 4, 10, a).astype(np.uint8), "0 to 9, not 10"),
    ],
)
def test_inconsistent_files_are_rejected(folder, arrays, name, change, message):
    write_all(folder, arrays | {name: change(arrays[name])})
    with pytest.raises(DatasetError, match=message):
        mnist()


def test_a_damaged_file_is_not_downloaded_again(folder, arrays):
    write_all(folder, arrays)
    (folder / NAMES[1]).write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="train-labels-idx1-ubyte: not an IDX file"):
        mnist()
    assert (folder / NAMES[1]).read_bytes() == b"damaged"


# --- downloads ---


class Server(ThreadingHTTPServer):
    """Both mirrors, on this machine.

    `files` maps the path of a URL to the bytes of the response, `cut` has the paths for which the connection
    breaks after half of the bytes, and `log` lists the requests.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.log = {}, set(), []
        self.mirrors = tuple(f"http://127.0.0.1:{self.server_port}/{name}/" for name in ("one", "two"))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.log.append(self.path)
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path in self.server.cut else content)

    def log_message(self, *args):
        """Write nothing to standard error."""


@pytest.fixture
def server(arrays, tmp_path, monkeypatch):
    """A `Server` in place of both mirrors, with all files and the SHA-256 of their contents."""
    pytest.importorskip("pooch", reason="a download needs pooch")
    write_all(tmp_path / "source", arrays)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        sha256 = {}
        for name in NAMES:
            content = (tmp_path / "source" / name).read_bytes()
            sha256[name] = hashlib.sha256(content).hexdigest()
            # Each mirror compresses the files differently.
            server.files[f"/one/{name}.gz"] = gzip.compress(content, 1)
            server.files[f"/two/{name}.gz"] = gzip.compress(content, 9)
        monkeypatch.setattr(module, "SHA256", sha256)
        monkeypatch.setattr(module, "MIRRORS", server.mirrors)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def paths(mirror, names=NAMES):
    return [f"/{mirror}/{name}.gz" for name in names]


def test_missing_files_are_downloaded_once(folder, arrays, server, capsys):
    assert_holds(mnist(), arrays)
    assert server.log == paths("one")
    assert sorted(os.listdir(folder)) == sorted(f"{name}.gz" for name in NAMES)
    assert "100%" in capsys.readouterr().err  # the progress bar
    assert_holds(mnist(), arrays)  # from the folder, without further requests
    assert len(server.log) == 4


def test_downloaded_files_have_the_usual_permissions(folder, server):
    mnist()
    (folder / "usual").touch()
    assert {file.stat().st_mode for file in folder.iterdir()} == {(folder / "usual").stat().st_mode}


def test_files_decompressed_by_the_server_are_accepted(folder, arrays, server):
    server.files = {path: gzip.decompress(content) for path, content in server.files.items()}
    assert_holds(mnist(), arrays)


def test_the_second_mirror_replaces_one_that_is_down(folder, arrays, server, monkeypatch):
    with Server() as closed:
        pass
    monkeypatch.setattr(module, "MIRRORS", (closed.mirrors[0], server.mirrors[1]))
    assert_holds(mnist(), arrays)
    assert server.log == paths("two")


def break_connection(server, path):
    server.cut.add(path)


def remove(server, path):
    del server.files[path]


def send_another_file(server, path):
    server.files[path] = server.files["/one/t10k-labels-idx1-ubyte.gz"]


def send_damaged_gzip(server, path):
    server.files[path] = server.files[path][:-20]


def send_error_page(server, path):
    server.files[path] = b"<html>please log in</html>"


FAILURES = [break_connection, remove, send_another_file, send_damaged_gzip, send_error_page]


@pytest.mark.parametrize("fail", FAILURES)
def test_the_second_mirror_continues_where_the_first_fails(folder, arrays, server, fail):
    fail(server, paths("one")[1])
    assert_holds(mnist(), arrays)
    assert server.log == [*paths("one", NAMES[:2]), *paths("two", NAMES[1:])]
    assert len(os.listdir(folder)) == 4


@pytest.mark.parametrize("fail", FAILURES)
def test_a_failed_download_leaves_no_files(folder, server, fail):
    for mirror in ("one", "two"):
        fail(server, paths(mirror)[2])
    with pytest.raises(DatasetNotFoundError) as info:
        mnist()
    assert os.listdir(folder) == []
    for part in [*server.mirrors, str(folder), "FASTNN_DATA", *NAMES]:
        assert part in str(info.value)


def test_an_interrupted_download_leaves_no_files(folder, arrays, server, monkeypatch):
    import pooch

    download = pooch.HTTPDownloader.__call__

    def interrupt(self, url, output_file, *args):
        download(self, url, output_file, *args)
        if NAMES[2] in url:
            os.truncate(output_file, 100)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pooch.HTTPDownloader, "__call__", interrupt)
        with pytest.raises(KeyboardInterrupt):
            mnist()
    assert os.listdir(folder) == []
    assert_holds(mnist(), arrays)


def test_an_unwritable_folder_raises(folder, server):
    folder.parent.write_text("a file where a folder should be")
    with pytest.raises(DatasetNotFoundError, match="the download failed: "):
        mnist()
    assert server.log == []


def test_a_missing_pooch_raises_an_error_that_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DatasetNotFoundError, match=r"pip install 'fastnn-kernels\[demo\]'") as info:
        mnist()
    assert "FASTNN_DATA" in str(info.value)
    assert os.listdir(folder) == []
