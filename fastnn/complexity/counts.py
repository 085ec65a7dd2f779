"""How many multiplications one gradient of an MLP takes, by each way of taking it.

The net has the layers of units n_0, n_1, ..., n_L: `widths`, inputs and logits included. What is counted are
the products in `fastnn.naive` of weights, outputs and gradients with each other, for one sample, where the
activation is ReLU (others and softmax take a few more for each unit).

With N layers of K units, N = L + 1:

    forward               (N - 1) K^2
    backpropagation       3 (N - 1) K^2 - K^2 + (N - 2) K          about 3 N K^2
    central differences   2 (N - 1) (K^2 + K) forward passes       about 2 N^2 K^4
    every path            K^N and smaller powers                   about 2 K^N

`docs/backpropagation.md` derives them; a test counts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def weights(widths: Sequence[int]) -> int:
    """The number of weights and biases: sum over l of (n_{l-1} + 1) n_l."""
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(widths))


def forward(widths: Sequence[int]) -> int:
    """One product for each weight: sum over l of n_{l-1} n_l."""
    return sum(fan_in * fan_out for fan_in, fan_out in pairwise(widths))


def backpropagation(widths: Sequence[int]) -> int:
    """The forward pass; dW_l = a_{l-1}^T dz_l; below the top dz_l = (dz_{l+1} W_{l+1}^T) * f_l'.

    sum over l of 2 n_{l-1} n_l, and over l > 1 of n_{l-1} n_l + n_{l-1}.
    """
    above_the_first = sum(fan_in * fan_out + fan_in for fan_in, fan_out in pairwise(widths[1:]))
    return 2 * forward(widths) + above_the_first


def central_differences(widths: Sequence[int]) -> int:
    """Two forward passes for each weight and each bias."""
    return 2 * weights(widths) * forward(widths)


def every_path(widths: Sequence[int]) -> int:
    """The forward pass, and for each weight and bias all paths from there to the loss.

    A unit of layer l has p_l = n_{l+1} (1 + p_{l+1}) + 1 products on its paths, p_L = 0. They are made anew
    for each of the n_{l-1} + 1 numbers that lead into it, and each weight has one product more.
    """
    total, paths = forward(widths), 0
    for layer in range(len(widths) - 1, 0, -1):
        total += (widths[layer - 1] + 1) * widths[layer] * paths + widths[layer - 1] * widths[layer]
        paths = widths[layer] * (1 + paths) + 1
    return total
