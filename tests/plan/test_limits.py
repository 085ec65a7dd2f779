"""Recorded steps with limits of single parameters have the bits of eager ones."""

from collections import Counter

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import core

from ..kernels.columns import both_types, every_isa
from ..optim.test_limits import OPTIMIZERS, Descent
from .twins import CLASSES, FEATURES, batch, small_net


def limited(dtype="float32"):
    """A net with all kinds of parameters, of which each has a mask, a bound, both or neither."""
    model = fn.Sequential(
        *(fn.Linear(FEATURES, 16), fn.LayerNorm(16), fn.ReLU(), fn.Dropout(0.2), fn.Reshape(2, 4, 2)),
        *(fn.Conv2d(2, 4, 3, padding=1), fn.BatchNorm2d(4), fn.Flatten(), fn.Linear(32, CLASSES)),
    )
    rng = np.random.default_rng(1)
    for index, param in enumerate(model.parameters()):
        param.clip_value = 0.01 if index % 3 else None
        param.mask = rng.integers(2, size=param.shape) if index % 4 else None
    return model.to(dtype)


@every_isa
@both_types
@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_recorded_steps_have_the_bits_of_eager_ones(optimizer, fuse, dtype, isa, twins):
    core.select_isa(isa)
    pair = twins(lambda: limited(dtype), optimizer=optimizer, fuse=fuse)
    for seed in range(4):
        pair.step(*batch(seed, dtype=dtype))
    assert pair.replays


@pytest.mark.parametrize(
    "options", [{"clip_norm": 0.05}, {"clip_value": 0.005, "clip_norm": 1.0}, {"ema": 0.9}], ids=str
)
def test_with_limits_of_all_gradients_and_averages(options, twins):
    pair = twins(limited, optimizer=fn.Adam, **options)
    pair.run(4)
    assert pair.replays


def test_an_optimizer_in_python(twins):
    pair = twins(limited, optimizer=lambda: Descent(0.1))
    pair.run(4)
    assert pair.replays


def test_any_number_of_threads(twins):
    def make():
        model = fn.Sequential(fn.Linear(FEATURES, 3000), fn.Tanh(), fn.Linear(3000, CLASSES))
        for param in model.parameters():
            param.mask, param.clip_value = np.arange(param.size).reshape(param.shape) % 3 > 0, 0.001
        return model

    found = set()
    for threads in (1, 2, 3):
        core.set_num_threads(threads)
        pair = twins(make, optimizer=fn.Adam)
        pair.run(3)
        found.add(b"".join(param.value.tobytes() for param in pair.planned.model.parameters()))
    assert len(found) == 1


def kernels_of(change):
    """The names of the kernels in a recorded step of `small_net`, changed by `change`."""
    model = small_net()
    change(model)
    trainer = fn.Trainer(model, optimizer=fn.SGD(0.1))
    trainer.step(*batch())
    return [name for name, *_ in trainer._plans.last.plan.calls()]


def test_only_parameters_with_limits_have_calls():
    """Parameters without limits are still updated by the kernels that do not store their gradients."""

    def bound(model):
        model[0].weight.clip_value = 1

    def hold(model):
        model[0].weight.mask = np.ones(model[0].weight.shape)

    plain, bounded, masked = map(kernels_of, (lambda model: None, bound, hold))
    assert not {"clamp", "hold"} & set(plain)
    assert plain.count("dense_dw_sgd") == 2
    for kernels, calls in ((bounded, ["clamp"]), (masked, ["hold"] * 3)):
        apart = ["dense_dw", "sgd", *calls]  # instead of one dense_dw_sgd
        assert Counter(kernels) == Counter([*plain, *apart]) - Counter(["dense_dw_sgd"])
