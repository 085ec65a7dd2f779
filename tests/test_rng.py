"""Random numbers: seeds, contexts, threads, independent streams."""

import contextvars
import threading

import numpy as np
import pytest

import fastnn as fn
from fastnn import rng


@pytest.fixture
def draw():
    """A function that draws the next number from the default generator."""
    return lambda: int(rng.default_generator().integers(2**63))


def weights():
    return fn.Linear(20, 10).weight.value


def test_seed_determines_the_weights():
    fn.manual_seed(5)
    first, second = weights(), weights()
    fn.manual_seed(5)
    np.testing.assert_array_equal(weights(), first)
    assert (first != second).all()
    fn.manual_seed(6)
    assert (weights() != first).all()


def test_stream_is_the_same_on_every_machine():
    fn.manual_seed(0)
    words = rng.default_generator().bit_generator.random_raw(2)
    assert words.tolist() == [259491006799949737, 4754966410622352325]


def test_new_context_has_its_own_generator(draw):
    fn.manual_seed(5)
    expected = [draw(), draw()]
    fn.manual_seed(5)
    first = draw()

    def other():
        fn.manual_seed(77)
        return draw()

    assert contextvars.Context().run(other) not in expected
    assert [first, draw()] == expected


def test_seeding_a_copied_context_does_not_affect_the_original(draw):
    fn.manual_seed(5)
    expected = draw()
    fn.manual_seed(5)
    contextvars.copy_context().run(fn.manual_seed, 77)
    assert draw() == expected


def test_threads_do_not_disturb_each_other(draw):
    def alone(seed):
        fn.manual_seed(seed)
        return [draw() for _ in range(50)]

    expected = {seed: alone(seed) for seed in range(4)}
    found, start = {}, threading.Barrier(4)

    def run(seed):
        fn.manual_seed(seed)
        start.wait()
        found[seed] = [draw() for _ in range(50)]

    threads = [threading.Thread(target=run, args=(seed,)) for seed in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_seed_of_fit_determines_the_dropout(make_model, blobs):
    def train(seed):
        return fn.fit(make_model(rate=0.5), blobs, shuffle=False, seed=seed).updates["loss"]

    assert train(1) == train(1)
    assert train(1) != train(2)


def test_each_layer_of_a_model_draws_its_own_bits():
    model = fn.Sequential(fn.Dropout(), fn.Linear(2, 2), fn.Sequential(fn.Dropout()), fn.Dropout())
    fn.Trainer(model, seed=5)
    keys = [tuple(state) for state in model.random_states()]
    assert len(set(keys)) == 3
    fn.Trainer(model, seed=5)
    assert [tuple(state) for state in model.random_states()] == keys


def test_without_a_seed_each_context_starts_differently(draw):
    assert len({contextvars.Context().run(draw) for _ in range(3)}) == 3


def test_key_is_the_seed_or_the_next_draw(draw):
    assert rng.key(12) == 12
    fn.manual_seed(1)
    expected = draw()
    fn.manual_seed(1)
    assert rng.key(None) == expected


@pytest.mark.parametrize("seed", [-1, 1.0, "1", True])
@pytest.mark.parametrize("door", [fn.manual_seed, rng.key, rng.counter_generator])
def test_invalid_seed_raises(door, seed):
    with pytest.raises(ValueError, match=f"a seed must be a non-negative integer, not {seed!r}"):
        door(seed)


@pytest.mark.parametrize("seed", [0, np.int64(3), np.uint8(3), 2**63, 2**200], ids=repr)
def test_any_non_negative_integer_is_a_seed(draw, seed):
    fn.manual_seed(seed)
    first = draw()
    fn.manual_seed(int(seed))
    assert draw() == first


# Pairs of paths that plain concatenation would confuse.
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((1,), (2,)),
        ((1, 2), (2, 1)),
        ((1, 0), (1, 1)),
        ((5,), (5, 0)),
        ((5, 0), (5, 0, 0)),
        ((5, 1), (5 + 2**32,)),
    ],
    ids=str,
)
def test_streams_of_different_paths_differ(a, b):
    streams = [rng.counter_generator(*words).integers(2**63, size=4) for words in (a, b)]
    assert (streams[0] != streams[1]).all()


def test_streams_of_equal_paths_agree():
    streams = [rng.counter_generator(3, 4).integers(2**63, size=4) for _ in range(2)]
    np.testing.assert_array_equal(*streams)
