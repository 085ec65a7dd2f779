"""Random batches for modules of PyTorch, and the comparison of a module with the model that it becomes."""

import numpy as np
import pytest

import fastnn as fn

torch = pytest.importorskip("torch")


def batch(*shape):
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def assert_same(module, x, tolerance=1e-5, *, stays=False, returns_rows=False):
    """Convert a module with running statistics of its own; returns the model.

    `stays`: the module takes samples in the layout of fastnn, `returns_rows`: it returns sequences (N, L, C).
    """
    module.train()
    with torch.no_grad():
        module(x)
        module.eval()
        wanted = module(x).numpy()
    model = fn.from_torch(module, x[:1])
    ours, wanted = (
        np.moveaxis(y, 1, -1) if y.ndim > 2 and moves else y
        for y, moves in ((x.numpy(), not stays), (wanted, not returns_rows))
    )
    got = model.predict(np.ascontiguousarray(ours))
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= tolerance * max(np.abs(wanted).max(), 1)
    return model
