"""A LeNet-5 goes from PyTorch to fastnn, is trained on, and leaves as ONNX: its outputs stay the same."""

from pathlib import Path

import numpy as np
import pytest

import fastnn as fn

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def one_thread():
    """PyTorch's threads would wait for those of other tests."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_all_stations_of_a_model_agree(monkeypatch):
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name)
    monkeypatch.syspath_prepend(str(BENCH))
    from lenet5_journey import journey

    (x, y), _ = fn.data.digits()
    images = np.pad(np.kron(x * 255, np.ones((1, 3, 3))), ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
    train, test = (images[:600], y[:600].astype(np.int64)), (images[600:800], y[600:800])
    first, converted, trained, *others = dict(journey(train, test, epochs=1)).values()
    np.testing.assert_allclose(converted, first, rtol=1e-4, atol=1e-5)
    assert len(others) == 3
    for logits in others:
        np.testing.assert_allclose(logits, trained, rtol=1e-4, atol=1e-5)
    right = [(logits.argmax(axis=1) == test[1]).mean() for logits in (first, trained)]
    assert 0.2 < right[0] < right[1]
