"""Batch norm, ReLU and max pooling fused into one kernel call of a plan: the same bits as unfused."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import core

from ..kernels.columns import both_types, every_isa
from .twins import Twins

FUSED = {"norm_relu_pool_forward", "norm_relu_pool_sums", "norm_relu_pool_dx"}


def images(seed=0, rows=5, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 7, 9, 1)).astype(dtype), rng.integers(0, 3, rows)


def net(*middle, channels=18):
    """Convolution, then these layers, then a classifier; of images (7, 9)."""
    front = fn.Sequential(fn.Conv2d(1, channels, 3, padding=1), *middle)
    features = int(np.prod(front.output_shape((7, 9, 1))))
    return fn.Sequential(front, fn.Flatten(), fn.Linear(features, 3))


def frozen_gamma():
    norm = fn.BatchNorm2d(18)
    norm.gamma.trainable = False
    return norm


FUSIBLE = {
    "norm, ReLU": lambda: net(fn.BatchNorm2d(18), fn.ReLU()),
    "pool": lambda: net(fn.BatchNorm2d(18), fn.ReLU(), fn.MaxPool2d(2)),
    "pool that covers all": lambda: net(fn.BatchNorm2d(18), fn.ReLU(), fn.MaxPool2d((7, 3))),
    "wide pool": lambda: net(fn.BatchNorm2d(18), fn.ReLU(), fn.MaxPool2d((2, 4))),
    "pool of single pixels": lambda: net(fn.BatchNorm2d(18), fn.ReLU(), fn.MaxPool2d(1)),
    "overlapping pool behind": lambda: net(fn.BatchNorm2d(18), fn.ReLU(), fn.MaxPool2d(3, stride=2)),
    "pool with gaps behind": lambda: net(fn.BatchNorm2d(18), fn.ReLU(), fn.MaxPool2d(2, stride=3)),
    "padded pool behind": lambda: net(fn.BatchNorm2d(18), fn.ReLU(), fn.MaxPool2d(2, padding=1)),
    "many channels": lambda: net(fn.BatchNorm2d(150), fn.ReLU(), fn.MaxPool2d(2), channels=150),
    "without gamma": lambda: net(fn.BatchNorm2d(18, affine=False), fn.ReLU(), fn.MaxPool2d(2)),
    "frozen gamma": lambda: net(frozen_gamma(), fn.ReLU(), fn.MaxPool2d(2)),
    "large epsilon": lambda: net(fn.BatchNorm2d(18, epsilon=0.5), fn.ReLU(), fn.MaxPool2d(3)),
    "twice": lambda: net(
        *(fn.BatchNorm2d(18), fn.ReLU(), fn.MaxPool2d(2)),
        *(fn.Conv2d(18, 20, 3, padding=1), fn.BatchNorm2d(20), fn.ReLU(), fn.MaxPool2d(2)),
    ),
    "features": lambda: fn.Sequential(
        *(fn.Flatten(), fn.Linear(63, 20), fn.BatchNorm1d(20), fn.ReLU(), fn.Linear(20, 3))
    ),
}

# What stands between, or reads what would not be stored.
NOT_FUSIBLE = {
    "another activation": lambda: net(fn.BatchNorm2d(18), fn.Tanh(), fn.MaxPool2d(2)),
    "nothing trains below": lambda: fn.Sequential(
        fn.BatchNorm2d(1), fn.ReLU(), fn.Flatten(), fn.Linear(63, 3)
    ),
}


@every_isa
@both_types
@pytest.mark.parametrize("name", FUSIBLE)
def test_fused_steps_have_the_same_bits(name, dtype, isa, snapshot):
    core.select_isa(isa)
    core.set_num_threads(2)
    twins = Twins(snapshot, model=lambda: FUSIBLE[name]().to(dtype))
    for seed in range(3):
        twins.step(*images(seed, dtype=dtype))
    assert set(twins.calls) >= FUSED


@pytest.mark.parametrize("name", NOT_FUSIBLE)
def test_other_sequences_are_not_fused(name, snapshot):
    twins = Twins(snapshot, model=NOT_FUSIBLE[name])
    for seed in range(3):
        twins.step(*images(seed))
    assert not set(twins.calls) & FUSED


def test_large_batches_on_many_threads(snapshot):
    """Chunks of rows that begin and end anywhere in an image, and parts that do."""
    core.set_num_threads(3)
    twins = Twins(snapshot, model=FUSIBLE["twice"])
    for seed in range(2):
        twins.step(*images(seed, rows=150))
    assert set(twins.calls) >= FUSED


def test_nan_and_ties_are_treated_alike(snapshot):
    x, y = images()
    x[0, 2, 3] = np.nan
    x[1] = 0  # all pixels are equal
    twins = Twins(snapshot, model=FUSIBLE["pool"], on_nonfinite="ignore")
    for _ in range(2):
        twins.do(lambda trainer: trainer.step(x, y))
        twins.check()
    assert set(twins.calls) >= FUSED


@pytest.mark.parametrize("name", FUSIBLE)
def test_predictions_have_the_same_bits(name):
    fn.manual_seed(0)
    model, (x, _) = FUSIBLE[name](), images(rows=3)
    model.parameters()[0].value = np.full(model.parameters()[0].shape, 0.1)
    first = model.predict(x)
    assert all(model.predict(x).tobytes() == first.tobytes() for _ in range(3))


def test_fewer_calls_and_no_gradient_between(snapshot):
    """What the fusion is for: three calls forward become one, four calls back two."""
    fused, plain = (
        Twins(snapshot, model=FUSIBLE["pool"], fuse=fuse, keep_gradients=True) for fuse in (True, False)
    )
    for twins in (fused, plain):
        twins.step(*images())
    count = {id(twins): len(twins.planned._plans.last.plan) for twins in (fused, plain)}
    assert count[id(plain)] - count[id(fused)] == 4
