"""`inspect`: the activations and gradients of every layer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fastnn._sources import Features
from fastnn._validation import Array
from fastnn.layers import Backward, Layer
from fastnn.losses import Loss
from fastnn.prediction import scaled_features
from fastnn.training.evaluation import loss_of
from fastnn.training.samples import check_data, check_model

INPUT, OUTPUT = "input", "output"


@dataclass
class Inspected:
    """What a layer did with a batch.

    Args:
        layer: A copy of the layer; None for the input.
        output: Its outputs (N, ...), the activations.
        gradient: The gradient with respect to its outputs, in their shape; None if none reached it.
        parameters: The gradients of its own parameters by name, such as "weight".
    """

    layer: Layer | None
    output: Array
    gradient: Array | None = None
    parameters: dict[str, Array] = field(default_factory=dict)

    def __repr__(self) -> str:
        name = INPUT if self.layer is None else type(self.layer).__name__
        grads = "".join(f", d{name} {array.shape}" for name, array in self.parameters.items())
        return f"<{name}: output {self.output.shape}{grads}>"


def inspect(
    model: Layer,
    x: Features,
    y: npt.ArrayLike | None = None,
    *,
    loss: str | Loss | None = None,
    scale: float | None = None,
    train: bool = False,
) -> dict[str, Inspected]:
    """Return the activations and gradients of every layer for a batch, by the name of the layer.

    Names are those of parameters, such as "0" and "3.branch.0", in the order of the layers; "input" is the
    batch as the network gets it, and "output" the whole model. A copy of the model computes them: nothing
    changes.

    >>> found = fn.inspect(model, x[:32], y[:32])
    >>> {name: each.output.std() for name, each in found.items()}
    >>> found["0"].gradient, found["0"].parameters["weight"]

    Args:
        model: The model.
        x: The batch (N, ...).
        y: Its targets: gradients are those of the loss. Default: gradients are those of the largest output
            of each sample, summed over the samples.
        loss: The loss, as for `fn.evaluate`.
        scale: The factor for x, as for `predict`.
        train: Whether dropout drops and batch norm uses the statistics of the batch.

    Raises:
        ValueError: If the data do not fit.
        TypeError: If the model is no layer.
    """
    check_model(model)
    twin = copy.deepcopy(model)
    if y is None:
        inputs = scaled_features(model, x, scale)
    else:
        chosen = loss_of(model, loss)
        samples = check_data(model, chosen, (x, y), scale)
        (inputs, target), weight = samples.all(), samples.weight
    found = {INPUT: Inspected(None, inputs.copy())}
    for name, layer in [*_named_layers(twin), (OUTPUT, twin)]:
        if "forward" not in vars(layer):  # a layer that occurs twice is listed once
            layer.forward = _watched(layer.forward, layer, name, found)  # type: ignore[method-assign]
    outputs, backward = twin.forward(inputs, train=train)
    if y is None:
        dy = np.zeros_like(outputs)
        flat = dy.reshape(len(dy), -1)
        flat[np.arange(len(flat)), outputs.reshape(flat.shape).argmax(axis=1)] = 1
    else:
        _, dy = chosen.value_and_gradient(outputs, target, weight)
    found[INPUT].gradient = backward(dy)
    for each in found.values():
        if each.layer is not None:
            del each.layer.forward  # the method of the class again
    ordered = [INPUT, *(name for name, _ in _named_layers(twin)), OUTPUT]
    return {name: found[name] for name in ordered if name in found}


def _watched(
    forward: Callable[..., tuple[Array, Backward]], layer: Layer, name: str, found: dict[str, Inspected]
) -> Callable[..., tuple[Array, Backward]]:
    """The method `forward` of a layer, which also notes outputs and gradients in `found`."""

    def watched(x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        y, backward = forward(x, train=train)
        found[name] = seen = Inspected(layer, y.copy())

        def noted(dy: Array, *, need_dx: bool = True) -> Array | None:
            seen.gradient = dy.copy()
            dx = backward(dy, need_dx=need_dx)
            own = {key: value.grad for key, value in layer.named_parameters() if "." not in key}
            seen.parameters = {key: grad for key, grad in own.items() if grad is not None}
            return dx

        return y, noted

    return watched


def _named_layers(layer: Layer, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield all layers inside a layer, with their names, outer ones first."""
    for name, value in layer._named_values():
        if isinstance(value, Layer):
            yield prefix + name, value
            yield from _named_layers(value, f"{prefix}{name}.")
