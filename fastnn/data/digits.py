"""Load the handwritten digits of scikit-learn, a data set that needs no download."""

import numpy as np
from numpy.typing import NDArray

from fastnn.data.splits import stratified

Part = tuple[NDArray[np.float32], NDArray[np.int64]]


def digits() -> tuple[Part, Part]:
    """Load 1,797 handwritten digits of 8 x 8 pixels as ((x_train, y_train), (x_test, y_test)).

    The images x are float32 (N, 8, 8) in [0, 1], the labels y int64 (N,) from 0 to 9. The first
    int(0.8 * n) of the n images of each digit form the training set of 1,433 images, the other 364 images
    the test set.

    The original pixels are integers from 0 to 16. float32 represents pixel / 16 exactly; uint8, which fastnn
    divides by 255, would have to round.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test set).

    Raises ImportError if scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("digits() needs scikit-learn: pip install 'fastnn-kernels[demo]'") from error
    bunch = load_digits()
    return stratified((bunch.images / 16).astype(np.float32), bunch.target.astype(np.int64), 0.8)
