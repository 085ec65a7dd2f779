"""Read an ONNX file as a model: each node becomes layers, and the graph a chain with residual connections."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn._schema import check_fields
from fastnn._validation import Shape, choose, positive_int
from fastnn.classes import Classes, classes_from, set_classes
from fastnn.feeding import Feeding, feeding_from_dict, set_feeding
from fastnn.layers import Sequential
from fastnn.layers.base import name_parameters
from fastnn.onnx.assembly import Step, Steps, assemble
from fastnn.onnx.batch import Batch, LayoutError, channels_last
from fastnn.onnx.errors import ModelFormatError
from fastnn.onnx.folding import FOLDERS, MOST_ELEMENTS, fold
from fastnn.onnx.graph_writer import LAYOUTS, METADATA
from fastnn.onnx.groups import part_of_group_norm
from fastnn.onnx.model_file import INDEX_KINDS, Graph, Input, Node, read_graph, shown
from fastnn.onnx.operators import CONVERTERS, TAKES_PENDING
from fastnn.onnx.patterns import ARITHMETIC, arithmetic
from fastnn.onnx.site import Site, Values

SUPPORTED = sorted({*CONVERTERS, *FOLDERS, *ARITHMETIC, "Shape"})
ZIP_MAP = "ai.onnx.ml.ZipMap"  # of scikit-learn's classifiers: probabilities as a list of dicts


def import_onnx(
    path: str | os.PathLike[str],
    *,
    input_shape: Shape | None = None,
    layout: str | None = None,
    output: str | None = None,
) -> Sequential:
    """Read the ONNX file `path` as a model, which can be trained further.

    >>> model = fn.import_onnx("model.onnx")

    The graph may be a chain of layers with residual connections; its constants are computed, and dropout and
    batch norm become layers again. Images (N, C, H, W) of the file are (N, H, W, C) here, in the input and in
    the output, and so are sequences (N, C, L) of convolutions, here (N, L, C); weights are reordered, so
    nothing is transposed at run time. An input of integers holds the indices of an embedding.

    Nothing in the file is executed, and weights in other files must be in the folder of the model.

    Args:
        path: Name of the file.
        input_shape: Shape of one sample as in the file, such as (3, 224, 224), for a graph that does not fix
            it.
        layout: "nchw" if the input of the file has its channels first, "nhwc" if it has its features last,
            which the model takes as it is; the graph may transpose it. The default is the layout in the
            metadata of `export_onnx`, or else the first that fits: images (four axes) are tried as "nchw"
            first, sequences (three) as "nhwc".
        output: The value of the graph to compute, if it has several outputs. For classifiers of scikit-learn
            the default is the probabilities.

    Raises:
        FileNotFoundError: If the file does not exist.
        ImportError: If the package `onnx` is not installed.
        ModelFormatError: If the file is damaged, or has an operator or attribute that has no counterpart
            here. The message names the node, its operator and what is supported.
    """
    given = None if input_shape is None else tuple(positive_int(side, "a size") for side in input_shape)
    is_first = None if layout is None else choose(layout, LAYOUTS, "layout")
    try:
        return _model(read_graph(path), given, is_first, output)
    except ModelFormatError as error:
        raise ModelFormatError(f"{os.fspath(path)!r}: {error}") from error


def _model(graph: Graph, input_shape: Shape | None, is_first: bool | None, output: str | None) -> Sequential:
    source = _source(graph)
    record = _record(graph.metadata)
    if is_first is None and len(source.sides) == 4:
        is_first = record.is_first
    target, labels = _target(graph, output)
    shape = _sample_shape(source, input_shape)
    furthest, reached = LayoutError(), -1  # the error of the layout that fits the most nodes
    for order, first_axes in _layouts(len(shape) + 1, is_first):
        sides = (0, *shape)
        start = Batch(tuple(sides[axis] for axis in order[1:]), order, are_indices=source.kind in INDEX_KINDS)
        reader = _Reader(graph, source, target, start, first_axes)
        try:
            model = Sequential(assemble(reader.read(), source.name, target))
            break
        except LayoutError as error:
            if len(reader.steps) > reached:
                furthest, reached = error, len(reader.steps)
    else:
        raise furthest
    name_parameters(model)
    set_feeding(model, record.feeding)
    try:
        set_classes(model, record.classes if labels is None else classes_from(labels))
    except (ValueError, TypeError) as error:
        raise ModelFormatError(f"the labels of the classes are damaged: {error}") from error
    return model


def _layouts(axes: int, is_first: bool | None) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The layouts to try: the order of the input, and `Values.first_axes`.

    `is_first` says whether the channels of the input come first, or last (None: unknown).
    """
    plain, moved = tuple(range(axes)), channels_last(axes)
    orders = {None: [moved, plain] if axes > 3 else [plain, moved], True: [moved], False: [plain]}[is_first]
    return [(order, first) for order in orders[: 1 if axes < 3 else 2] for first in ((3,), (), (2, 3))]


class _Reader:
    """Converts the nodes of a graph, in the order of computation."""

    def __init__(
        self, graph: Graph, source: Input, target: str, start: Batch, first_axes: tuple[int, ...]
    ) -> None:
        self._nodes = _needed(graph, target)
        self._room = MOST_ELEMENTS + 4 * sum(array.size for array in graph.constants.values())
        self._values = Values(
            {source.name: Step(None, start)},
            dict(graph.constants),
            {name: node for node in self._nodes for name in node.outputs},
            _readers(self._nodes),
            Counter([target, *(name for node in self._nodes if node.op != "Shape" for name in node.inputs)]),
            graph.opset,
            _dtype(graph, source),
            first_axes,
        )

    @property
    def steps(self) -> Steps:
        """How the values are computed that have been read so far."""
        return self._values.steps

    def read(self) -> Steps:
        """Return how each value is computed. Raises ModelFormatError if a node has no counterpart."""
        steps = self.steps
        for node in self._nodes:
            node.asked.clear()
            has_data = any(name in steps for name in node.inputs)
            if not has_data and node.op in FOLDERS:
                self._fold(node)
            elif node.op == "Shape":
                self._shape(node)
            else:
                steps[node.outputs[0]] = self._step(node)
        return steps

    def _step(self, node: Node) -> Step:
        """Convert a node whose inputs depend on the input of the graph."""
        if node.op not in CONVERTERS and node.op not in ARITHMETIC:
            raise node.refused(f"this operator is not supported. Supported are {', '.join(SUPPORTED)}")
        extra = [name for name in node.outputs[1:] if self._values.uses[name]]
        if extra:
            raise node.refused(f"its output {shown(extra[0])} is not supported")
        site = Site(node, self._values)
        try:
            if node.op in ARITHMETIC:
                step = arithmetic(site)
            else:
                step = part_of_group_norm(site) or self._layers(site)
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            raise error if isinstance(error, ModelFormatError) else node.refused(str(error)) from error
        node.check_attributes()
        if math.prod(step.batch.shape) > MOST_ELEMENTS:
            raise node.refused(f"its output of shape {step.batch.shape} per sample is too large")
        return step

    def _layers(self, site: Site) -> Step:
        op, pending = site.node.op, site.x.pending
        site.check_inputs(data=1 if op == "Gather" else 0)
        layers, batch = CONVERTERS[op](site)
        if pending and op not in TAKES_PENDING[pending]:
            accepted = ", ".join(sorted(TAKES_PENDING[pending]))
            error = site.node.refused(f"its input needs {pending}, which only {accepted} can apply")
            return Step(site.source, batch.resized(batch.shape), layers, error)
        return Step(site.source, batch, layers)

    def _fold(self, node: Node) -> None:
        inputs = [self._values.constant(node, name) if name else None for name in node.inputs]
        if len(node.outputs) != 1:
            raise node.refused(f"it has {len(node.outputs)} outputs instead of 1")
        folded = self._values.constants[node.outputs[0]] = fold(node, inputs)
        self._room -= folded.size
        if self._room < 0:
            raise node.refused("the constants that the graph computes are too large")

    def _shape(self, node: Node) -> None:
        """Fold a node Shape. The batch size is 0, for Reshape the size that an axis of its input has."""
        name = node.inputs[0] if node.inputs else ""
        values = self._values
        sides = values.file_shape(name) if name in values.steps else values.constant(node, name).shape
        first, last = node.attribute("start", 0), node.attribute("end", len(sides))
        node.check_attributes()
        values.constants[node.outputs[0]] = np.array(sides[first:last], np.int64)


def _dtype(graph: Graph, source: Input) -> np.dtype[Any]:
    """The dtype of the model: that of the input, or of the weights if the input holds indices."""
    floats = {array.dtype for array in graph.constants.values() if array.dtype.kind == "f"}
    is_double = source.kind == "double" or (source.kind in INDEX_KINDS and floats == {np.dtype(np.float64)})
    return np.dtype(np.float64 if is_double else np.float32)


def _needed(graph: Graph, target: str) -> list[Node]:
    """The nodes on which the output `target` depends, in the order of computation."""
    wanted, nodes = {target}, []
    for node in reversed(graph.nodes):
        if wanted & {name for name in node.outputs if name}:
            nodes.append(node)
            wanted |= {name for name in node.inputs if name}
    return nodes[::-1]


def _readers(nodes: list[Node]) -> dict[str, list[Node]]:
    """The nodes that take each value."""
    readers: dict[str, list[Node]] = {}
    for node in nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    return readers


def _target(graph: Graph, output: str | None) -> tuple[str, Any]:
    """The value to compute, and the labels of its classes if the graph names them."""
    maps = {node.outputs[0]: node for node in graph.nodes if node.op == ZIP_MAP and node.inputs}
    names = graph.outputs if output is None else [output]
    if output is not None and output not in {name for node in graph.nodes for name in node.outputs}:
        raise ModelFormatError(f"no node gives the value {shown(output)}")
    if len(names) > 1:  # a label and probabilities
        names = [name for name in names if name in maps or "prob" in name]
    if len(names) != 1:
        listed = ", ".join(map(shown, graph.outputs)) or "none"
        raise ModelFormatError(f"choose one of the outputs of the graph with output=...: {listed}")
    if names[0] not in maps:
        return names[0], None
    node = maps[names[0]]
    labels = node.attributes.get("classlabels_int64s") or node.attributes.get("classlabels_strings")
    return node.inputs[0], labels


def _source(graph: Graph) -> Input:
    if len(graph.inputs) != 1:
        listed = ", ".join(shown(each.name) for each in graph.inputs) or "none"
        raise ModelFormatError(f"the graph must have a single input, but has {listed}")
    return graph.inputs[0]


def _sample_shape(source: Input, given: Shape | None) -> Shape:
    """The shape of one sample in the file."""
    sides = source.sides[1:]
    if given is None and not all(sides):
        raise ModelFormatError(
            f"the shape of the input {shown(source.name)} is not fixed ({source.sides}): pass the shape of a "
            "sample as in the file, such as input_shape=(3, 224, 224)"
        )
    shape = given or tuple(side or 0 for side in sides)
    fits = all(side in (None, own) for side, own in zip(sides, shape, strict=False))
    if not fits or len(shape) != len(sides) or min(shape, default=0) < 1 or len(shape) > 8:
        raise ModelFormatError(f"samples of shape {shape} do not fit the input of shape {source.sides}")
    return shape


@dataclass(frozen=True)
class _Record:
    """What `export_onnx` wrote into the metadata; None for what the file lacks."""

    is_first: bool | None
    feeding: Feeding | None
    classes: Classes | None


def _record(metadata: dict[str, str]) -> _Record:
    """Read the metadata of `export_onnx`. Raises ModelFormatError if they are damaged."""
    try:
        record = json.loads(metadata.get(METADATA, "{}"))
        check_fields(record, {})
        return _Record(
            choose(record["layout"], LAYOUTS, "layout") if "layout" in record else None,
            feeding_from_dict(record["feeding"]) if "feeding" in record else None,
            classes_from(record["classes"]) if "classes" in record else None,
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelFormatError(f"the metadata {METADATA!r} are damaged: {error}") from error
