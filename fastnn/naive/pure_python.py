"""Backpropagation in pure Python, with lists and `math`, one sample at a time, written to be read.

The model is that of `fn.Sequential(fn.Linear, activation, ..., fn.Linear)` with the loss "cross_entropy"::

    a_0 = x,   z_l = a_{l-1} W_l + b_l,   a_l = f_l(z_l),   loss = -log softmax(z_L)_label

with L layers. The last layer has no activation and returns the logits. A layer has `K` input features and
`N` outputs: W_l is (K, N) and b_l is (N,), as everywhere in fastnn. `fastnn.naive.gradients` computes the
same gradients without backpropagation.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Vector = list[float]
Matrix = list[Vector]
Function = Callable[[float], float]


def sigmoid(z: float) -> float:
    """`1 / (1 + exp(-z))`, computed from `exp(-|z|)`, because `exp(-z)` overflows below z = -709."""
    e = math.exp(-abs(z))
    return (1 if z >= 0 else e) / (1 + e)


# name: (a = f(z), its derivative f'(z) as a function of a)
ACTIVATIONS: dict[str, tuple[Function, Function]] = {
    "identity": (lambda z: z, lambda a: 1.0),
    "relu": (lambda z: max(z, 0.0), lambda a: 1.0 if a > 0 else 0.0),
    "sigmoid": (sigmoid, lambda a: a * (1 - a)),
    "tanh": (math.tanh, lambda a: 1 - a * a),
}


def softmax(z: Vector) -> Vector:
    """p_c = exp(z_c - max z) / sum_c exp(z_c - max z). Without the shift, exp overflows above z = 709."""
    top = max(z)
    e = [math.exp(z_c - top) for z_c in z]
    total = sum(e)
    return [e_c / total for e_c in e]


def cross_entropy(z: Vector, label: int) -> float:
    """-log softmax(z)_label = log sum_c exp(z_c - max z) - (z_label - max z).

    This form never takes the logarithm of a probability that was rounded to 0. Raises ValueError for a label
    outside 0..C-1.
    """
    _check_label(label, z)
    top = max(z)
    return math.log(sum(math.exp(z_c - top) for z_c in z)) - (z[label] - top)


def cross_entropy_gradient(z: Vector, label: int) -> Vector:
    """dz = softmax(z) - onehot(label), the gradient of `cross_entropy`. Raises as `cross_entropy`."""
    _check_label(label, z)
    return [p_c - 1 if c == label else p_c for c, p_c in enumerate(softmax(z))]


def _check_label(label: int, z: Vector) -> None:
    if label not in range(len(z)):
        raise ValueError(f"label {label} is not in 0..{len(z) - 1}, the classes of the {len(z)} logits")


class MLP:
    """A multi-layer perceptron.

    Args:
        weights: L weight matrices (K, N).
        biases: L biases (N,).
        activations: L - 1 names of activations, keys of `ACTIVATIONS`.

    Raises:
        ValueError: If the shapes do not fit together, or if an activation is unknown.
    """

    def __init__(self, weights: list[Matrix], biases: list[Vector], activations: list[str]) -> None:
        if not len(weights) == len(biases) == len(activations) + 1:
            raise ValueError(
                f"L layers need L weight matrices, L biases and L - 1 activations, "
                f"got {len(weights)}, {len(biases)} and {len(activations)}"
            )
        for layer, (w, b) in enumerate(zip(weights, biases, strict=True)):
            if any(len(w_k) != len(b) for w_k in w):
                raise ValueError(f"layer {layer} has {len(b)} biases, but not {len(b)} weights in every row")
            if layer > 0 and len(w) != len(biases[layer - 1]):
                raise ValueError(
                    f"layer {layer} has {len(w)} input features, but the layer before has "
                    f"{len(biases[layer - 1])} outputs"
                )
        if unknown := set(activations) - set(ACTIVATIONS):
            raise ValueError(f"unknown activation {unknown.pop()!r}: choose one of {', '.join(ACTIVATIONS)}")
        self.weights = weights
        self.biases = biases
        self.activations = activations

    def forward(self, x: Vector) -> list[Vector]:
        """Return the input and the outputs of all layers, a_0 = x, a_1, ..., a_L; a_L are the logits.

        Raises ValueError unless x has as many features as the first layer has inputs.
        """
        outputs = [x]
        for w, b, name in zip(self.weights, self.biases, [*self.activations, "identity"], strict=True):
            f, _ = ACTIVATIONS[name]
            a = outputs[-1]
            z = [sum(a_k * w_k[n] for a_k, w_k in zip(a, w, strict=True)) + b_n for n, b_n in enumerate(b)]
            outputs.append([f(z_n) for z_n in z])
        return outputs

    def loss(self, x: Vector, label: int) -> float:
        """Return the cross-entropy loss of a sample."""
        return cross_entropy(self.forward(x)[-1], label)

    def gradients(self, x: Vector, label: int) -> tuple[list[Matrix], list[Vector]]:
        """Compute the gradients of `loss` by backpropagation: all dW_l (K, N) and all db_l (N,).

        The equations are::

            dz_L = softmax(z_L) - onehot(label),   dz_l = (dz_{l+1} W_{l+1}^T) * f_l'(z_l)
            dW_l = a_{l-1}^T dz_l,                 db_l = dz_l

        Each dz_l is computed once, from dz_{l+1}, and used for all weights of its layer. Therefore all
        gradients together cost about as much as two more forward passes (Rumelhart et al. 1986).
        """
        outputs = self.forward(x)
        dws: list[Matrix] = []
        dbs: list[Vector] = []
        dz = cross_entropy_gradient(outputs[-1], label)
        for layer in reversed(range(len(self.weights))):
            a = outputs[layer]
            dws.insert(0, [[a_k * dz_n for dz_n in dz] for a_k in a])
            dbs.insert(0, dz)
            if layer > 0:
                _, slope = ACTIVATIONS[self.activations[layer - 1]]
                da = [
                    sum(w_kn * dz_n for w_kn, dz_n in zip(w_k, dz, strict=True))
                    for w_k in self.weights[layer]
                ]
                dz = [da_k * slope(a_k) for da_k, a_k in zip(da, a, strict=True)]
        return dws, dbs

    def differences(self, x: Vector, label: int, *, step: float = 1e-5) -> tuple[list[Matrix], list[Vector]]:
        """Compute the gradients of `loss` by central differences: all dW_l (K, N) and all db_l (N,).

        The approximation is::

            dloss/dw ~ (loss(w + h) - loss(w - h)) / 2h  for every weight and bias w, h = `step`

        This takes two forward passes per weight, which backpropagation saves.
        """

        def difference(values: Vector, index: int) -> float:
            middle = values[index]
            values[index] = middle + step
            above = self.loss(x, label)
            values[index] = middle - step
            below = self.loss(x, label)
            values[index] = middle
            return (above - below) / (step + step)

        dws = [[[difference(w_k, n) for n in range(len(w_k))] for w_k in w] for w in self.weights]
        dbs = [[difference(b, n) for n in range(len(b))] for b in self.biases]
        return dws, dbs
