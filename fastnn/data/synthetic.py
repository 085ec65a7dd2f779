"""Generate synthetic data for tests and demonstrations."""

import numpy as np
from numpy.typing import NDArray


def two_classes(
    n: int, *, seed: int = 0, noise: float = 0.1
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw points from two interleaved half circles ("two moons"), which no straight line separates::

        x = s * (cos t - 1/2, sin t - 1/4) + noise * z,   s = 1 in class 0 and -1 in class 1

    with t uniform in [0, pi) and z standard normal. The data are centred, and the classes alternate.

    Args:
        n: Number of points.
        seed: Seed of the random numbers.
        noise: Standard deviation of the noise.

    Returns:
        (x, y): points x, float32 (n, 2), and labels y, int64 (n,), 0 or 1.

    Raises:
        ValueError: If n < 1 or noise < 0.
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
