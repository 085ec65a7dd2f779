"""Builds a chain of layers from a graph of another library: forks that meet in a sum become `Residual`s."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastnn._validation import Array, Shape
from fastnn.channel_order import leaves, reorder_outputs
from fastnn.exchange.errors import ConversionError
from fastnn.layers import Identity, Layer, Residual, Sequential


@dataclass(frozen=True, eq=False)
class Value:
    """A value of the graph: the output of `layer` for the value `before`.

    `layer` is None for the input of the model, and for a value that is the one before under another shape.
    """

    shape: Shape
    """The shape of a sample in the other library, such as (C, H, W) or (C, L)."""
    before: Value | None = None
    layer: Layer | None = None
    order: Array | None = None
    """For flattened samples: feature i is feature order[i] of the other library; None: the same."""
    is_channels_last: bool = False
    """Whether images are (H, W, C) and sequences (L, C) in the other library, too."""
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Zeros above, below, left and right that the next convolution adds; sequences have the last two."""

    def line(self) -> Iterator[Value]:
        """Yield this value, the one before, and so on to the input of the model."""
        value: Value | None = self
        while value is not None:
            yield value
            value = value.before

    def layers_since(self, start: Value) -> list[Layer]:
        """The layers that compute this value from `start`, in order."""
        found: list[Layer] = []
        for value in self.line():
            if value is start:
                break
            if value.layer is not None:
                found.append(value.layer)
        return found[::-1]

    @property
    def start(self) -> Value:
        """The input of the model."""
        *_, start = self.line()
        return start

    def in_order(self, order: Array) -> bool:
        """Reorder the features of this value by the weights before; returns whether it worked."""
        return reorder_outputs(self.layers_since(self.start), order)


def added(first: Value, second: Value) -> Value:
    """Return first + second: a `Residual` from where the two paths fork.

    Raises ConversionError if a layer with a state is in both paths.
    """
    others = set(map(id, second.line()))
    fork = next(value for value in first.line() if id(value) in others)
    branch, shortcut = first.layers_since(fork), second.layers_since(fork)
    if not branch:
        branch, shortcut = shortcut, branch
    _check_once([*branch, *shortcut])
    layer = Residual(_as_one(branch), _as_one(shortcut))
    return Value(first.shape, fork, layer, first.order, first.is_channels_last)


def _as_one(layers: list[Layer]) -> Layer:
    if not layers:
        return Identity()
    return layers[0] if len(layers) == 1 else Sequential(*layers)


def model_of(value: Value) -> Sequential:
    """Return the model that computes `value` from the input.

    Raises ConversionError if a layer with a state would occur twice.
    """
    layers = value.layers_since(value.start)
    _check_once(layers)
    return Sequential(*layers)


def _check_once(layers: list[Layer]) -> None:
    seen: set[int] = set()
    for layer in (leaf for each in layers for leaf in leaves(each)):
        has_state = layer.parameters() or layer.buffers() or list(layer.random_states())
        if has_state and id(layer) in seen:
            raise ConversionError(
                f"the output of {layer!r} is used in several places that do not meet in one sum: fastnn has "
                "chains of layers, and Residual(branch, shortcut)"
            )
        seen.add(id(layer))
