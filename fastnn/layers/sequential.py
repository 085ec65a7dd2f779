"""The container that applies layers one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from fastnn._validation import Array, Shape
from fastnn.layers.base import Layer, expect_layers, name_parameters
from fastnn.recording.recorder import Backward, run_layer


class Sequential(Layer):
    """A chain of layers: the output of each layer is the input of the next. One list of layers works as well.

    The backward pass stops at the first trainable layer, unless the gradient of the input is needed. Layers
    are accessed by index: `model[0]`, `len(model)`, `for layer in model`.

    Raises TypeError if an argument is not a layer, and ValueError if a parameter occurs twice: gradients
    overwrite each other, so a shared parameter would lose all contributions but one.
    """

    recordable = True
    layers: Sequence[Layer]

    def __init__(self, *layers: Layer | Sequence[Layer]) -> None:
        chain = layers[0] if len(layers) == 1 and isinstance(layers[0], (list, tuple)) else layers
        self.layers = cast(Sequence[Layer], chain)
        name_parameters(self)

    if not TYPE_CHECKING:  # a type checker would accept any attribute

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "layers":
                value = tuple(value)
                expect_layers("Sequential", value)
            super().__setattr__(name, value)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        backward_functions: list[Backward] = []
        for layer in self.layers:
            x, layer_backward = run_layer(layer, x, train)
            backward_functions.append(layer_backward)

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            trainable = (index for index, layer in enumerate(self.layers) if layer.trainable)
            lowest = 0 if need_dx else next(trainable, len(backward_functions))
            dx: Array | None = dy
            for index in reversed(range(lowest, len(backward_functions))):
                assert dx is not None, "the backward function of a layer returned None despite need_dx=True"
                dx = backward_functions[index](dx, need_dx=need_dx or index > lowest)
            return dx if need_dx else None

        return x, backward

    @property
    def input_shape(self) -> Shape | None:  # type: ignore[override]
        return self.layers[0].input_shape if self.layers else None

    def output_shape(self, shape: Shape) -> Shape:
        return [shape, *self._shapes(shape)][-1]

    def smallest_batch(self, shape: Shape | None) -> int:
        if shape is None:
            return super().smallest_batch(None)
        inputs = [shape, *self._shapes(shape)]
        batches = (layer.smallest_batch(own) for layer, own in zip(self.layers, inputs, strict=False))
        return max(batches, default=1)

    def flop(self, shape: Shape) -> int:
        inputs = [shape, *self._shapes(shape)]
        return sum(layer.flop(own) for layer, own in zip(self.layers, inputs, strict=False))

    def _stages(self) -> Sequence[Layer]:
        return self.layers

    def _shapes(self, shape: Shape) -> Iterator[Shape]:
        """Yield the output shape of each layer. Raises ValueError, naming the layer, if one does not fit."""
        for index, layer in enumerate(self.layers):
            try:
                shape = layer.output_shape(shape)
            except ValueError as error:
                raise ValueError(f"layer {index}: {error}") from None
            yield shape

    def _named_values(self) -> Iterator[tuple[str, object]]:
        return ((str(index), layer) for index, layer in enumerate(self.layers))

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __getitem__(self, index: int) -> Layer:
        return self.layers[index]


def flat_layers(layer: Layer) -> Iterator[Layer]:
    """Yield the layers of nested `Sequential`s in order."""
    if isinstance(layer, Sequential):
        for inner in layer:
            yield from flat_layers(inner)
    else:
        yield layer
