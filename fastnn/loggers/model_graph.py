"""A model as the graph that TensorBoard draws: a node for each layer, a box for Sequentials and Residuals."""

from __future__ import annotations

from typing import Any

from fastnn._validation import Shape
from fastnn.layers import Layer, Residual, Sequential

UNKNOWN_BATCH = -1  # the size of the first axis in TensorFlow's shapes


def graph_of(model: Layer, shape: Shape) -> Any:
    """The GraphDef of `model` for samples of `shape`; its edges have the shapes of the outputs.

    The name of a node is the path of the layer, such as "1_Sequential/0_Linear", its operator the class.
    """
    graph = _Graph()
    end = graph.layer(model, "", graph.node("input", "Placeholder", [], shape), shape)
    graph.node("output", "Identity", [end], None)
    return graph.proto


class _Graph:
    def __init__(self) -> None:
        from tensorboardX.proto.graph_pb2 import GraphDef

        self.proto = GraphDef()

    def node(self, name: str, op: str, inputs: list[str], shape: Shape | None, layer: str = "") -> str:
        """Add a node and return its name."""
        node = self.proto.node.add(name=name, op=op, input=inputs)
        if shape is not None:
            sides = node.attr["_output_shapes"].list.shape.add().dim
            for side in (UNKNOWN_BATCH, *shape):
                sides.add(size=side)
        if layer:
            node.attr["layer"].s = layer.encode()
        return name

    def layer(self, layer: Layer, path: str, before: str, shape: Shape | None) -> str:
        """Add a layer after the node `before`, which gives samples of `shape`; returns its last node.

        `path` is the name of the layer, "" for the model, whose layers are at the top.
        """
        box = f"{path}/" if path else ""
        if isinstance(layer, Sequential):
            for index, inner in enumerate(layer):
                before = self.layer(inner, f"{box}{index}_{type(inner).__name__}", before, shape)
                shape = _after(inner, shape)
            return before
        if isinstance(layer, Residual):
            paths = {"branch": layer.branch, "shortcut": layer.shortcut}
            ends = [self.layer(part, f"{box}{name}", before, shape) for name, part in paths.items()]
            return self.node(f"{box}add", "Add", ends, _after(layer, shape))
        kind = type(layer).__name__
        return self.node(path or kind, kind, [before], _after(layer, shape), repr(layer))


def _after(layer: Layer, shape: Shape | None) -> Shape | None:
    """The shape of a layer's output; None if a layer of the user's does not tell it."""
    try:
        return None if shape is None else layer.output_shape(shape)
    except ValueError:
        return None
