"""Recorded steps do not leak memory."""

import pytest

from tests.kernels.children import run_child
from tests.systems import needs_linux

pytestmark = needs_linux


def in_child_steps(kind, warm_up, steps):
    """Print by how many bytes the process has grown in `steps` steps after those that warm it up."""
    import gc
    import itertools
    import os
    import pathlib

    import numpy as np

    import fastnn as fn

    class Square(fn.Layer):
        def forward(self, x, *, train=False):
            return x * x, lambda dy, *, need_dx=True: 2 * x * dy

    class Plain(fn.Optimizer):
        def update(self, value, grad, state, lr):
            value -= value.dtype.type(lr) * grad

    def resident():
        gc.collect()
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    middle = Square() if kind == "python" else fn.ReLU()
    model = fn.Sequential(fn.Linear(6, 16), middle, fn.Dropout(0.2), fn.Linear(16, 3))
    optimizer = Plain(0.001) if kind == "python" else fn.Adam()
    trainer = fn.Trainer(model, optimizer=optimizer)
    x, y = np.ones((33, 6), np.float32), np.arange(33) % 3
    bad = np.full(33, 3)

    def step(number):
        if kind == "shapes":
            rows = 1 + number % 20
            trainer.step(x[:rows], y[:rows])
        elif kind == "changes":
            model[2].rate = 0.1 + number % 2 / 10
            trainer.step(x, y)
        elif kind == "gradients":
            fn.gradients(model, (x, y))
            trainer.step(x, y)
        elif kind == "failures":
            trainer.step(x, y)
            try:
                trainer.step(x, bad)
            except ValueError:
                pass
            else:
                raise AssertionError("labels out of range were taken")
        elif kind == "trainers":
            fn.Trainer(model, optimizer=optimizer).step(x, y)
        elif kind == "fits":
            fn.fit(model, (x, y), optimizer=optimizer, batch_size=10)
        elif kind == "predictions":
            trainer.step(x, y)
            model.predict(x[: 1 + number % 3])
        else:
            trainer.step(x, y)

    numbers = itertools.count()
    for _ in range(warm_up):
        step(next(numbers))
    before = resident()
    for _ in range(steps):
        step(next(numbers))
    print(resident() - before)


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        *(("plain", 20_000), ("python", 20_000), ("gradients", 3000), ("failures", 3000)),
        *(("shapes", 2000), ("changes", 2000), ("trainers", 2000), ("fits", 500), ("predictions", 3000)),
    ],
)
def test_memory_does_not_grow(kind, steps):
    grown = int(run_child(in_child_steps, kind, steps // 4, steps, OMP_NUM_THREADS="2"))
    assert grown < 2**20
