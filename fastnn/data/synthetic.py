"""Made-up data, for tests and demonstrations."""

import numpy as np
from numpy.typing import NDArray


def two_classes(
    n: int, *, seed: int = 0, noise: float = 0.1
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Two interleaved half circles ("two moons") in the plane: no straight line parts them.

        x = s * (cos t - 1/2, sin t - 1/4) + noise * z,   s = 1 in class 0 and -1 in class 1

    with t uniform in [0, pi) and z standard normal, so that the data are centred. Returns x
    float32 (n, 2) and y int64 (n,). The classes alternate, so the first k examples are balanced.

    Raises ValueError for n < 1 or noise < 0.
    """
    if n < 1:
        raise ValueError(f"n, the number of points, must be at least 1, not {n!r}")
    if not noise >= 0:
        raise ValueError(f"noise, a standard deviation, must be at least 0, not {noise!r}")
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    t = rng.uniform(0, np.pi, n)
    arc = np.stack([np.cos(t) - 0.5, np.sin(t) - 0.25], axis=1)
    x = (1 - 2 * y)[:, np.newaxis] * arc + noise * rng.standard_normal((n, 2))
    return x.astype(np.float32), y.astype(np.int64)
