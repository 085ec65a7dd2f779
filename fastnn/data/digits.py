"""scikit-learn's handwritten digits: a data set that needs no download."""

import numpy as np
from numpy.typing import NDArray

from fastnn.data.splits import stratified

Part = tuple[NDArray[np.float32], NDArray[np.int64]]


def digits() -> tuple[Part, Part]:
    """1,797 handwritten digits of 8x8 pixels as ((x_train, y_train), (x_test, y_test)).

    x: float32 (N, 8, 8) in [0, 1]. y: int64 (N,), the digits. The first int(0.8 * n) of each digit's
    n images are for training, 1,433 together, and the other 364 for testing.

    The original pixels are the integers 0 to 16. Float32 holds their sixteenths exactly, and every
    library takes them as they are; uint8, which fastnn divides by 255, would have to round them.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test set).

    Raises ImportError when scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("digits() needs scikit-learn: pip install 'fastnn-kernels[demo]'") from error
    bunch = load_digits()
    return stratified((bunch.images / 16).astype(np.float32), bunch.target.astype(np.int64), 0.8)
