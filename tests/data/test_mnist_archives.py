"""`fn.data.mnist` with mnist.pkl.gz and mnist-original.mat; hostile pickles are refused and run nothing."""

import gzip
import pickle

import numpy as np
import pytest

from fastnn.data import DatasetError, mnist
from fastnn.data.pickled import read_arrays


@pytest.fixture
def images():
    """30 images with all values of a byte, so that the largest value is 255."""
    x = np.random.default_rng(0).integers(0, 256, (30, 28, 28), np.uint8)
    x[:, 0, 0] = 255
    return x, np.arange(30) % 10


def write(folder, content, name="mnist.pkl.gz"):
    (folder / name).write_bytes(gzip.compress(content))
    return folder / name


def three_pairs(x, y):
    x = (x.reshape(-1, 784) / 256).astype(np.float32)
    return tuple((x[a:b], y[a:b]) for a, b in [(0, 15), (15, 20), (20, 30)])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("given", ["file", "folder"])
def test_the_pickle_of_the_theano_tutorials(protocol, given, tmp_path, images):
    file = write(tmp_path, pickle.dumps(three_pairs(*images), protocol))
    (x, y), (x_test, y_test) = mnist(file if given == "file" else tmp_path, download=False)
    np.testing.assert_array_equal(np.concatenate([x, x_test]), images[0])
    np.testing.assert_array_equal(np.concatenate([y, y_test]), images[1])
    assert (x.dtype, y.dtype, len(x)) == (np.uint8, np.int64, 20)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">i2").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.zeros((1, 4), np.float32),
        np.arange(5, dtype=np.uint64),
    ],
)
def test_arrays_of_a_pickle_are_those_that_were_pickled(array):
    for protocol in (2, 3, 4):
        np.testing.assert_array_equal(read_arrays(pickle.dumps(array, protocol)), array)


def test_pickles_of_python_2_hold_the_bytes_as_text():
    content = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n"
    )
    content += b"(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x07\\xff'\ntb."
    assert read_arrays(content).tolist() == [7, 255]


class Calls:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


HOSTILE = {
    "a call": Calls(exec, "raise SystemExit"),
    "a call inside": (np.zeros(3), [Calls(print, "x")]),
    "objects": np.array([{}], object),
    "text": np.array(["a"]),
    "records": np.zeros(2, "i4,f8"),
    "dates": np.zeros(2, "M8[s]"),
    "a subclass": np.ma.zeros(3),
    "a number": 3,
    "a dict": {"a": np.zeros(3)},
    "a scalar": np.float64(1),
    "deep": [[[[[[np.zeros(1)]]]]]],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_anything_but_arrays_is_refused_and_nothing_is_called(kind, capsys):
    for protocol in (2, 4, 5):
        with pytest.raises(ValueError, match=r"^its? "):
            read_arrays(pickle.dumps(HOSTILE[kind], protocol))
    assert capsys.readouterr().out == ""


def test_a_shape_that_exceeds_the_bytes_is_refused():
    content = pickle.dumps(np.zeros((2, 3), np.float32), 2).replace(
        b"K\x02K\x03\x86", b"J\xff\xff\xff\x7fK\x03\x86"
    )
    with pytest.raises(ValueError, match=r"shape \(2147483647, 3\) cannot have 24 bytes"):
        read_arrays(content)


def test_damaged_pickles_are_data_errors(tmp_path, images):
    content = pickle.dumps(three_pairs(images[0], images[1]), 2)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[rng.integers(2, 300)] = rng.integers(256)
        try:
            mnist(write(tmp_path, bytes(damaged)))
        except DatasetError:
            continue
    with pytest.raises(DatasetError, match="no pickle of arrays"):
        mnist(write(tmp_path, content[: len(content) // 2]))


@pytest.mark.parametrize("protocol", [2, 5])
def test_pickles_of_other_content_are_rejected(protocol, tmp_path, images):
    for pairs in (images, three_pairs(*images)[:2], (np.zeros(3),) * 3, [[np.zeros(3)]] * 3, np.zeros(3)):
        with pytest.raises(DatasetError, match="a pickle must hold three pairs"):
            mnist(write(tmp_path, pickle.dumps(pairs, protocol)))


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_mnist_original_mat(dtype, tmp_path, monkeypatch, images):
    from fastnn.data import mnist_formats

    monkeypatch.setattr(mnist_formats, "TRAINING", 20)
    monkeypatch.setattr(mnist_formats, "TEST", 10)
    io_ = pytest.importorskip("scipy.io")
    file = tmp_path / "mnist-original.mat"
    columns = {"data": images[0].reshape(30, 784).T.astype(dtype), "label": images[1][None].astype(float)}
    io_.savemat(file, columns)
    (x, y), (x_test, y_test) = mnist(file)
    np.testing.assert_array_equal(np.concatenate([x, x_test]), images[0])
    np.testing.assert_array_equal(np.concatenate([y, y_test]), images[1])
    assert len(x) == 20
    monkeypatch.undo()
    with pytest.raises(DatasetError, match="data must have 70000 images in columns, not 30"):
        mnist(file)
