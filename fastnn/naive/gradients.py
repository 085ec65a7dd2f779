"""Gradients weight by weight: what backpropagation saves, and an independent check of it.

Four ways to the gradients of a model, each returning {parameter name: gradient, float64}:

- `central_differences` of any model: two forward passes for each weight;
- `path_gradients` of an MLP: the chain rule for each weight by itself, over every path to the loss;
- `pure_python_gradients` of an MLP: backpropagation itself, but in lists and `math`;
- `pure_python_differences` of an MLP: central differences in lists and `math`, to be compared with it.

All take the model and the batch (x, y), and leave out frozen parameters, as `fn.gradients` does.
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
    """dloss/dw ~ (loss(w + h) - loss(w - h)) / 2h for every weight w that is not frozen, h = `step`.

    x (N, ...), y and `scale` are as in `fn.gradients`. The forward passes run as in training, all with
    the same random bits (dropout), on a copy: nothing of `model` changes, whatever happens.

    The error is of the order h^2 (truncation) plus eps / h (rounding), smallest near h = eps^(1/3)
    (Press et al., Numerical Recipes, 5.7): 1e-5 suits float64 and gives about 1e-10. In float32 take
    step=5e-3 and expect 1e-5 at best; better `copy.deepcopy(model).to(np.float64)`.

    Raises ValueError for a step that is not positive or that vanishes beside a weight, and for the
    reduction "none"; ValueError or TypeError for data that do not fit.
    """
    _check_step(step)
    chosen = loss_function(loss)
    if chosen.reduction == "none":
        raise ValueError('a gradient is that of one number: choose the reduction "mean" or "sum"')
    twin = copy.deepcopy(model)
    x, target = check_data(twin, chosen, data, scale).all()
    states = [(state, state.copy()) for state in twin.states()]

    def loss_with(param: Param, weights: Array) -> float:
        param.value = weights
        for state, start in states:
            state[:] = start
        outputs, _ = twin.forward(x, train=True)
        return float(chosen.value(outputs, target)[0])

    gradients = {}
    for name, param in twin.named_parameters():
        if param.frozen:
            continue
        weights = param.value.copy()
        gradients[name] = np.empty(weights.shape)
        for index, middle in np.ndenumerate(param.value):
            # Divided by what the two rounded weights really differ by, which is not quite 2 h.
            high, low = middle + step, middle - step
            if high == low:
                raise ValueError(
                    f"step {step:g} vanishes beside {name}{list(index)} = {middle:g}: enlarge it"
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
    """dloss/dw of each weight as a sum over all paths from w to the loss; w = W_l[k, n] gets

        a_{l-1}[k]  sum over units u_l = n, u_{l+1}, ..., u_L of
            f_l'(z_l[u_l]) W_{l+1}[u_l, u_{l+1}] f_{l+1}'(z_{l+1}[u_{l+1}]) ... W_L[u_{L-1}, u_L] dz_L[u_L]

    in the symbols of `pure_python`. It is the chain rule taken literally: right, and hopeless, as
    nothing is shared between weights. N layers of K units have about K^N paths (see `count_paths`).

    model: fn.Sequential of Linear layers with one activation between any two, for the loss
    "cross_entropy"; x (N, features), y labels (N,); the result is the mean over the samples.
    Raises ValueError or TypeError for any other model and for data that do not fit.
    """
    return _mean_over_samples(model, data, scale, _path_gradients)


def pure_python_gradients(model: Layer, data: Data, *, scale: float | None = None) -> dict[str, Array]:
    """The gradients by `pure_python.MLP.gradients`; arguments, result and errors as `path_gradients`."""
    return _mean_over_samples(model, data, scale, MLP.gradients)


def pure_python_differences(
    model: Layer, data: Data, *, step: float = 1e-5, scale: float | None = None
) -> dict[str, Array]:
    """The gradients by `pure_python.MLP.differences`, h = `step`; the rest is as in `path_gradients`."""
    _check_step(step)
    return _mean_over_samples(model, data, scale, lambda mlp, x, label: mlp.differences(x, label, step=step))


def count_paths(widths: Sequence[int]) -> int:
    """How many paths `path_gradients` walks for one sample, from all weights and biases to the loss.

    `widths` are the layers of units, input and logits included: [n_0, n_1, ..., n_L]. A weight into
    layer l starts n_{l+1} n_{l+2} ... n_L paths, there are (n_{l-1} + 1) n_l of them with the biases, so

        sum over l = 1..L of (n_{l-1} + 1) n_l n_{l+1} ... n_L.

    The first term, the product of all widths, is the largest: K^N for N layers of K units.
    """
    return sum((widths[layer - 1] + 1) * math.prod(widths[layer:]) for layer in range(1, len(widths)))


def pure_python_mlp(model: Layer) -> MLP:
    """The weights, biases (zeros where there are none) and activation names of `model`, as plain lists.

    Raises TypeError unless `model` is fn.Sequential(Linear, activation, Linear, ..., Linear), with the
    activations of `pure_python.ACTIVATIONS`.
    """
    names = {kind: name for name, kind in ACTIVATIONS.items() if name in pure_python.ACTIVATIONS}
    layers = list(model) if isinstance(model, Sequential) else []
    # Exact types, as a subclass may compute something else.
    linear = [layer for layer in layers[::2] if type(layer) is Linear]
    activations = [names[type(layer)] for layer in layers[1::2] if type(layer) in names]
    if len(linear) != len(activations) + 1 or len(linear) + len(activations) != len(layers):
        raise TypeError(
            "only a plain MLP can be taken apart, fn.Sequential(Linear, activation, Linear, ..., Linear), "
            f"its activations among {', '.join(kind.__name__ for kind in names)}; this is {model!r}"
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


# All dW_l (K, N) and all db_l (N,) of one sample with its label.
SampleGradients = Callable[[MLP, Vector, int], tuple[list[Matrix], list[Vector]]]


def _mean_over_samples(
    model: Layer, data: Data, scale: float | None, sample_gradients: SampleGradients
) -> dict[str, Array]:
    mlp = pure_python_mlp(model)
    x, labels = check_data(model, CrossEntropy(), data, scale).all()
    if labels.ndim != 1:
        raise ValueError(f"labels of shape (N,) are wanted, got targets of shape {labels.shape}")
    per_sample = [
        sample_gradients(mlp, row, label) for row, label in zip(x.tolist(), labels.tolist(), strict=True)
    ]
    means = {}
    for layer in range(len(mlp.weights)):
        # In the Sequential an activation follows each Linear but the last.
        means[f"{2 * layer}.weight"] = np.mean([dws[layer] for dws, _ in per_sample], axis=0)
        means[f"{2 * layer}.bias"] = np.mean([dbs[layer] for _, dbs in per_sample], axis=0)
    return {name: means[name] for name, param in model.named_parameters() if not param.frozen}


def _path_gradients(mlp: MLP, x: Vector, label: int) -> tuple[list[Matrix], list[Vector]]:
    """What `MLP.gradients` returns, but path by path."""
    outputs = mlp.forward(x)
    dz_last = pure_python.cross_entropy_gradient(outputs[-1], label)

    def dz(layer: int, unit: int) -> float:
        """dloss/dz of one unit: all paths from there to the loss, walked anew at every call."""
        if layer == len(mlp.activations):
            return dz_last[unit]
        _, slope = pure_python.ACTIVATIONS[mlp.activations[layer]]
        onward = (w * dz(layer + 1, follower) for follower, w in enumerate(mlp.weights[layer + 1][unit]))
        return sum(onward) * slope(outputs[layer + 1][unit])

    dws: list[Matrix] = []
    dbs: list[Vector] = []
    for layer, b in enumerate(mlp.biases):
        units = range(len(b))
        dws.append([[a_k * dz(layer, unit) for unit in units] for a_k in outputs[layer]])
        dbs.append([dz(layer, unit) for unit in units])
    return dws, dbs
