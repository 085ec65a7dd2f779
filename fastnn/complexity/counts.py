"""Count the multiplications of one gradient of an MLP, for each method to compute it.

`widths` = (n_0, n_1, ..., n_L) are the units of each layer, inputs and logits included. The functions count
the products of weights, outputs and gradients in `fastnn.naive`, for one sample and ReLU (other activations
and softmax need a few more per unit).

With N layers of K units, N = L + 1::

    forward               (N - 1) K^2
    backpropagation       3 (N - 1) K^2 - K^2 + (N - 2) K          about 3 N K^2
    central differences   2 (N - 1) (K^2 + K) forward passes       about 2 N^2 K^4
    every path            K^N and smaller powers                   about 2 K^N

`docs/backpropagation.md` derives these formulas, and a test verifies them by counting.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def weights(widths: Sequence[int]) -> int:
    """Number of weights and biases: sum over l of (n_{l-1} + 1) n_l."""
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(widths))


def forward(widths: Sequence[int]) -> int:
    """Multiplications of a forward pass, one per weight: sum over l of n_{l-1} n_l."""
    return sum(fan_in * fan_out for fan_in, fan_out in pairwise(widths))


def backpropagation(widths: Sequence[int]) -> int:
    """Multiplications of backpropagation: sum over l of 2 n_{l-1} n_l + sum over l > 1 of n_{l-1} (n_l + 1).

    They belong to the forward pass, to dW_l = a_{l-1}^T dz_l, and below the last layer to
    dz_l = (dz_{l+1} W_{l+1}^T) * f_l'.
    """
    above_the_first = sum(fan_in * fan_out + fan_in for fan_in, fan_out in pairwise(widths[1:]))
    return 2 * forward(widths) + above_the_first


def central_differences(widths: Sequence[int]) -> int:
    """Multiplications of central differences: two forward passes per weight and bias."""
    return 2 * weights(widths) * forward(widths)


def every_path(widths: Sequence[int]) -> int:
    """Multiplications of a forward pass, and of all paths from each weight and bias to the loss.

    The paths from a unit of layer l have p_l = n_{l+1} (1 + p_{l+1}) + 1 products, with p_L = 0. They are
    computed again for each of the n_{l-1} weights and the bias that lead into the unit; each weight needs one
    more product.
    """
    total, paths = forward(widths), 0
    for layer in range(len(widths) - 1, 0, -1):
        total += (widths[layer - 1] + 1) * widths[layer] * paths + widths[layer - 1] * widths[layer]
        paths = widths[layer] * (1 + paths) + 1
    return total
