"""Group norm below opset 21, which PyTorch writes as Reshape, InstanceNormalization and Reshape.

The first Reshape splits the channels into groups, the second one joins them again. `Site.with_affine` takes
the Mul and the Add behind them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastnn.layers import GroupNorm
from fastnn.onnx.assembly import Step
from fastnn.onnx.batch import plain
from fastnn.onnx.model_file import Node
from fastnn.onnx.operators.shapes import new_shape
from fastnn.onnx.site import Site, Values


@dataclass
class Groups(Step):
    """The samples of the value `whole`, split into groups: a step that only the nodes behind can use."""

    whole: str = ""


def part_of_group_norm(site: Site) -> Step | None:
    """Convert one of the three nodes of a group norm, of which the last one gets the layer.

    None for any other node.
    """
    node, values = site.node, site.values
    before = values.steps[site.source]
    if not isinstance(before, Groups):
        is_first = node.op == "Reshape" and site.data == node.inputs[:1] and _begins(values, node)
        return _split(site) if is_first else None
    batch = values.steps[before.whole].batch
    if node.op == "InstanceNormalization":
        layer = _layer(site, before.batch.shape[0], batch.shape[-1])
        return Groups(site.source, before.batch, [layer], site.layout_error(), whole=before.whole)
    new_shape(site)  # checks it
    return Step(before.whole, batch, before.layers)


def _begins(values: Values, split: Node) -> bool:
    """Whether the two nodes behind normalize what `split` returns, and restore the shape that it takes."""
    norm = _only_reader(values, split, "InstanceNormalization")
    join = None if norm is None else _only_reader(values, norm, "Reshape")
    if join is None or len(join.inputs) != 2:
        return False
    source, target = split.inputs[0], join.inputs[1]
    producer = values.producers.get(target)
    if producer is not None and producer.op == "Shape":
        return producer.inputs == [source] and not producer.attributes
    sizes = values.constants.get(target, np.empty(0)).reshape(-1).tolist()
    return tuple(sizes[1:]) == values.file_shape(source)[1:]


def _only_reader(values: Values, node: Node, op: str) -> Node | None:
    """The node that takes what `node` returns as its first input, if it is an `op` and nothing else does."""
    name = node.outputs[0]
    readers = values.readers.get(name, [])
    is_only = values.uses[name] == len(readers) == 1
    return readers[0] if is_only and readers[0].op == op and readers[0].inputs[0] == name else None


def _split(site: Site) -> Step | None:
    x, shape = site.x, new_shape(site)
    if len(shape) != 2 or x.shape[-1] % shape[0] or x.channels > 1 or x.pending:
        return None
    if len(x.shape) > 1:
        site.with_sides()  # raises an error unless the channels come first in the file
    return Groups(site.source, plain(shape), error=site.layout_error(), whole=site.source)


def _layer(site: Site, groups: int, channels: int) -> GroupNorm:
    layer = GroupNorm(groups, channels, site.node.attribute("epsilon", 1e-5), dtype=site.values.dtype)
    for index, param in ((1, layer.gamma), (2, layer.beta)):
        site.set_values(param, np.repeat(site.needed(index), channels // groups))
    return layer
