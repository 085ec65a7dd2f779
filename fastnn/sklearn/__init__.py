"""Estimators for scikit-learn: fastnn networks with `fit`, `predict` and `score`.

`MLPClassifier` and `MLPRegressor` have the parameters, defaults and attributes of scikit-learn's estimators of
the same names, so a changed import is enough. Needs the extra `sklearn`. May import everything but `cli`.
"""

try:
    import sklearn
except ImportError as error:
    raise ImportError(
        "fastnn.sklearn needs scikit-learn: pip install 'fastnn-kernels[sklearn]'"
    ) from error
del sklearn

from fastnn.sklearn._cnn import CNNClassifier
from fastnn.sklearn._mlp import MLPClassifier, MLPRegressor
from fastnn.sklearn._networks import NNClassifier, NNRegressor

__all__ = ["CNNClassifier", "MLPClassifier", "MLPRegressor", "NNClassifier", "NNRegressor"]
