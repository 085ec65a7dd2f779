"""Steps of models that begin with an embedding: plans equal the eager steps, on any number of threads."""

import numpy as np
import pytest

import fastnn as fn

from .twins import Twins

TOKENS, LENGTH = 41, 9


def net():
    return fn.Sequential(
        *(fn.Embedding(TOKENS, 33, padding_idx=0), fn.Conv1d(33, 17, 3, padding="same"), fn.ReLU()),
        *(fn.GroupNorm(1, 17), fn.GlobalAvgPool1d(), fn.Linear(17, 3)),
    )


def texts(seed, rows=64):
    rng = np.random.default_rng(seed)
    return rng.integers(0, TOKENS, (rows, LENGTH)).astype(np.float32), rng.integers(0, 3, rows)


@pytest.mark.parametrize("optimizer", [lambda: fn.SGD(lr=0.1, momentum=0.9), fn.Adam], ids=["sgd", "adam"])
def test_planned_steps_equal_eager_ones(optimizer, snapshot):
    twins = Twins(snapshot, model=net, optimizer=optimizer)
    for seed in range(4):
        twins.step(*texts(seed))
    assert twins.replays


def test_bits_do_not_depend_on_the_threads():
    threads, weights = fn.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            fn.set_num_threads(count)
            fn.manual_seed(0)
            model = net()
            fn.fit(model, texts(0, 500), optimizer=fn.Adam(), batch_size=250, epochs=3, seed=0)
            weights.append([param.value.tobytes() for param in model.parameters()])
    finally:
        fn.set_num_threads(threads)
    assert weights[0] == weights[1] == weights[2]
