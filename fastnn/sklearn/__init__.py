"""Estimators for scikit-learn: fastnn networks with `fit`, `predict` and `score`.

`MLPClassifier` and `MLPRegressor` have the parameters, defaults and attributes of scikit-learn's classes of
the same names, so a changed import is enough. Needs the extra `sklearn`. May import everything
but `cli`.
"""

try:
    from fastnn.sklearn._cnn import CNNClassifier
    from fastnn.sklearn._mlp import MLPClassifier, MLPRegressor
    from fastnn.sklearn._networks import NNClassifier, NNRegressor
except ModuleNotFoundError as error:
    if error.name is None or not error.name.startswith(("sklearn", "scipy")):
        raise
    raise ImportError("fastnn.sklearn needs scikit-learn: pip install 'fastnn-kernels[sklearn]'") from error

__all__ = ["CNNClassifier", "MLPClassifier", "MLPRegressor", "NNClassifier", "NNRegressor"]
