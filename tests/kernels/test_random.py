"""The random generator against published values."""

import numpy as np

from fastnn.kernels import load

from .columns import every_backend

# The first words of SplitMix64 from the seed 1234567, as published (Rosetta Code, "Pseudo-random numbers").
SEED, WORDS = 1234567, np.array([6457827717110365317, 3203168211198807973, 9817491932198370423], np.uint64)


@every_backend
def test_random_bits_are_those_of_splitmix64(backend):
    golden = 0x9E3779B97F4A7C15
    state, bits = np.array([SEED + golden, 0], np.uint64), np.zeros(1, np.uint64)
    load(backend)["random_next"](state, bits)
    assert bits == WORDS[:1]
    assert state.tolist() == [SEED + golden, 1]

    uniform = np.stack([WORDS & np.uint64(2**32 - 1), WORDS >> np.uint64(32)], axis=1).ravel() / 2.0**32
    x, y = np.ones(6), np.empty(6)
    for rate in uniform:  # so that one element lies exactly at the threshold
        load(backend)["dropout"](x, np.array([SEED], np.uint64), float(rate), y)
        np.testing.assert_array_equal(y, np.where(uniform >= rate, 1 / (1 - rate), 0))
