"""Compute gradients weight by weight, as an independent check of backpropagation and of its speed.

There are four methods, each of which returns {parameter name: gradient, float64}:

- `central_differences`, for any model: two forward passes per weight;
- `path_gradients`, for an MLP: the chain rule for each weight separately, over every path to the loss;
- `pure_python_gradients`, for an MLP: backpropagation with lists and `math`;
- `pure_python_differences`, for an MLP: central differences with lists and `math`.

All take the model and a batch (x, y), and leave out frozen parameters, as `fn.gradients` does.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import numpy as np

from fastnn._validation import Array
from fastnn.layers import ACTIVATIONS, Layer, Linear, Sequential
from fastnn.losses import CrossEntropy, Loss, loss_function
from fastnn.naive import pure_python
from fastnn.naive.pure_python import MLP, Matrix, Vector
from fastnn.param import Param
from fastnn.training.samples import Data, check_data


def central_differences(
    model: Layer,
    data: Data,
    *,
    loss: str | Loss = "cross_entropy",
    step: float = 1e-5,
    scale: float | None = None,
) -> dict[str, Array]:
    """Approximate dloss/dw by (loss(w + h) - loss(w - h)) / 2h for every weight w that is not frozen.

    The forward passes run in training mode on a copy of the model, all with the same random bits (dropout).

    The error is of the order h^2 (truncation) plus eps / h (rounding), and smallest near h = eps^(1/3)
    (Press et al., Numerical Recipes, 5.7). In float64, h = 1e-5 gives about 1e-10. In float32, use
    step=5e-3 and expect 1e-5 at best, or convert the model: `copy.deepcopy(model).to(np.float64)`.

    Args:
        model: Any model; it is not changed.
        data: A batch (x, y) with x (N, ...), as in `fn.gradients`.
        loss: Name or object of the loss, with the reduction "mean" or "sum".
        step: Step h.
        scale: Factor for x, as in `fn.gradients`.

    Returns:
        The gradients, float64, by parameter name.

    Raises:
        ValueError: If the step is not positive or is rounded away when added to a weight, if the reduction is
            "none", or if the data do not fit the model.
        TypeError: If the data have a wrong type.
    """
    _check_step(step)
    chosen = loss_function(loss)
    if chosen.reduction == "none":
        raise ValueError('a gradient needs a scalar loss: choose the reduction "mean" or "sum"')
    twin = copy.deepcopy(model)
    samples = check_data(twin, chosen, data, scale)
    x, target = samples.all()
    states = [(state, state.copy()) for state in twin.states()]

    def loss_with(param: Param, weights: Array) -> float:
        param.value = weights
        for state, start in states:
            state[:] = start
        outputs, _ = twin.forward(x, train=True)
        return float(chosen.value(outputs, target, sample_weight=samples.weight)[0])

    gradients = {}
    for name, param in twin.named_parameters():
        if param.frozen:
            continue
        weights = param.value.copy()
        gradients[name] = np.empty(weights.shape)
        for index, middle in np.ndenumerate(param.value):
            # Divide by the difference of the two rounded weights, which is not exactly 2 h.
            high, low = middle + step, middle - step
            if high == low:
                raise ValueError(
                    f"step {step:g} is too small for {name}{list(index)} = {middle:g}, which it does not "
                    "change: use a larger step"
                )
            weights[index] = high
            above = loss_with(param, weights)
            weights[index] = low
            below = loss_with(param, weights)
            weights[index] = middle
            gradients[name][index] = (above - below) / (float(high) - float(low))
        param.value = weights
    return gradients


def path_gradients(model: Layer, data: Data, *, scale: float | None = None) -> dict[str, Array]:
    """Compute dloss/dw of each weight as a sum over all paths from the weight to the loss.

    For w = W_l[k, n], the sum is::

        a_{l-1}[k]  sum over units u_l = n, u_{l+1}, ..., u_L of
            f_l'(z_l[u_l]) W_{l+1}[u_l, u_{l+1}] f_{l+1}'(z_{l+1}[u_{l+1}]) ... W_L[u_{L-1}, u_L] dz_L[u_L]

    with the symbols of `pure_python`. This is the chain rule taken literally. It is correct but very slow,
    because weights share no work: N layers of K units have about K^N paths (see `count_paths`).

    Args:
        model: `fn.Sequential` of Linear layers with one activation between each two. The loss is
            "cross_entropy".
        data: A batch (x, y) with x (N, features) and labels y (N,).
        scale: Factor for x, as in `fn.gradients`.

    Returns:
        The gradients of the mean loss, float64, by parameter name.

    Raises:
        TypeError: If the model is of another kind, or the data have a wrong type.
        ValueError: If the data do not fit the model.
    """
    return _mean_over_samples(model, data, scale, _path_gradients)


def pure_python_gradients(model: Layer, data: Data, *, scale: float | None = None) -> dict[str, Array]:
    """Compute the gradients with `pure_python.MLP.gradients`.

    Arguments, result and errors are as in `path_gradients`.
    """
    return _mean_over_samples(model, data, scale, MLP.gradients)


def pure_python_differences(
    model: Layer, data: Data, *, step: float = 1e-5, scale: float | None = None
) -> dict[str, Array]:
    """Compute the gradients with `pure_python.MLP.differences`, where h = `step`.

    The other arguments, the result and the errors are as in `path_gradients`.
    """
    _check_step(step)
    return _mean_over_samples(model, data, scale, lambda mlp, x, label: mlp.differences(x, label, step=step))


def count_paths(widths: Sequence[int]) -> int:
    """Count the paths that `path_gradients` follows for one sample, from all weights and biases to the loss.

    `widths` = [n_0, n_1, ..., n_L] are the units of each layer, inputs and logits included. There are
    (n_{l-1} + 1) n_l weights and biases in layer l, and n_{l+1} n_{l+2} ... n_L paths from each to the loss::

        sum over l = 1..L of (n_{l-1} + 1) n_l n_{l+1} ... n_L.

    The first term is the largest, about the product of all widths: K^N for N layers of K units.
    """
    return sum((widths[layer - 1] + 1) * math.prod(widths[layer:]) for layer in range(1, len(widths)))


def pure_python_mlp(model: Layer) -> MLP:
    """Convert a model to a `pure_python.MLP`; layers without a bias get zeros.

    Raises TypeError unless the model is `fn.Sequential(Linear, activation, Linear, ..., Linear)` with
    activations of `pure_python.ACTIVATIONS`.
    """
    names = {kind: name for name, kind in ACTIVATIONS.items() if name in pure_python.ACTIVATIONS}
    layers = list(model) if isinstance(model, Sequential) else []
    # Exact types, because a subclass may compute something else.
    linear = [layer for layer in layers[::2] if type(layer) is Linear]
    activations = [names[type(layer)] for layer in layers[1::2] if type(layer) in names]
    if len(linear) != len(activations) + 1 or len(linear) + len(activations) != len(layers):
        raise TypeError(
            "the model must be a plain MLP, fn.Sequential(Linear, activation, Linear, ..., Linear), with "
            f"activations among {', '.join(kind.__name__ for kind in names)}, not {model!r}"
        )
    return MLP(
        [layer.weight.value.tolist() for layer in linear],
        [
            [0.0] * layer.weight.shape[1] if layer.bias is None else layer.bias.value.tolist()
            for layer in linear
        ],
        activations,
    )


def _check_step(step: float) -> None:
    if not (math.isfinite(step) and step > 0):
        raise ValueError(f"step must be a positive number, not {step!r}")


# Function of (mlp, x, label) that returns all dW_l (K, N) and all db_l (N,) of one sample.
SampleGradients = Callable[[MLP, Vector, int], tuple[list[Matrix], list[Vector]]]


def _mean_over_samples(
    model: Layer, data: Data, scale: float | None, sample_gradients: SampleGradients
) -> dict[str, Array]:
    """Average the gradients of single samples over a batch; returns them by parameter name."""
    mlp = pure_python_mlp(model)
    samples = check_data(model, CrossEntropy(), data, scale)
    if samples.weight is not None:
        raise ValueError("the mean over single samples takes no sample weights: pass (x, y)")
    x, labels = samples.all()
    if labels.ndim != 1:
        raise ValueError(f"y must be labels of shape (N,), not targets of shape {labels.shape}")
    per_sample = [
        sample_gradients(mlp, row, label) for row, label in zip(x.tolist(), labels.tolist(), strict=True)
    ]
    means = {}
    for layer in range(len(mlp.weights)):
        # In the Sequential, each Linear layer but the last is followed by an activation.
        means[f"{2 * layer}.weight"] = np.mean([dws[layer] for dws, _ in per_sample], axis=0)
        means[f"{2 * layer}.bias"] = np.mean([dbs[layer] for _, dbs in per_sample], axis=0)
    return {name: means[name] for name, param in model.named_parameters() if not param.frozen}


def _path_gradients(mlp: MLP, x: Vector, label: int) -> tuple[list[Matrix], list[Vector]]:
    """Return what `MLP.gradients` returns, but computed path by path."""
    outputs = mlp.forward(x)
    dz_last = pure_python.cross_entropy_gradient(outputs[-1], label)

    def dz(layer: int, unit: int) -> float:
        """Compute dloss/dz of one unit over all paths from the unit to the loss, without reusing results."""
        if layer == len(mlp.activations):
            return dz_last[unit]
        _, slope = pure_python.ACTIVATIONS[mlp.activations[layer]]
        paths = (w * dz(layer + 1, next_unit) for next_unit, w in enumerate(mlp.weights[layer + 1][unit]))
        return sum(paths) * slope(outputs[layer + 1][unit])

    dws: list[Matrix] = []
    dbs: list[Vector] = []
    for layer, b in enumerate(mlp.biases):
        units = range(len(b))
        dws.append([[a_k * dz(layer, unit) for unit in units] for a_k in outputs[layer]])
        dbs.append([dz(layer, unit) for unit in units])
    return dws, dbs
