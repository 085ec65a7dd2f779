"""Read an ONNX file into plain nodes and arrays. Nothing in the file is trusted."""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastnn._validation import Array
from fastnn.files import user_path
from fastnn.onnx.errors import ModelFormatError, onnx_module

OPSETS = range(6, 29)
MOST_BYTES = 2**31 - 1  # of a file: protobuf reads no more
MOST_NODES = 5000  # graphs are searched in quadratic time

FLOAT_KINDS = ("float", "double", "float16", "bfloat16")
INDEX_KINDS = ("int32", "int64")
NUMBERS = ("BOOL", *(kind.upper() for kind in FLOAT_KINDS))
NUMBERS += tuple(f"{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64))


@dataclass(eq=False)
class Node:
    """One call of an operator."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    asked: set[str] = field(default_factory=set)

    def attribute(self, name: str, default: Any) -> Any:
        """The attribute `name`. Raises ModelFormatError if its type is not that of `default`."""
        self.asked.add(name)
        value = self.attributes.get(name, default)
        wanted = object if default is None else type(default)
        if not isinstance(value, wanted):
            raise self.refused(f"the attribute {name} is {reprlib.repr(value)}, which has the wrong type")
        return value

    def check_attributes(self) -> None:
        """Raise ModelFormatError if the node has an attribute that no one asked for."""
        for name in self.attributes:
            if name not in self.asked:
                known = ", ".join(sorted(self.asked)) or "none"
                raise self.refused(f"unknown attribute {shown(name)}: supported are {known}")

    def refused(self, reason: str) -> ModelFormatError:
        """An error that names the node and its operator."""
        return ModelFormatError(f"node {shown(self.name)} ({shortened(self.op)}): {reason}")


@dataclass(frozen=True)
class Input:
    name: str
    sides: list[int | None]
    """The shape, with None for axes of any size."""
    kind: str
    """One of FLOAT_KINDS or INDEX_KINDS."""


@dataclass
class Graph:
    """The nodes in the order of computation, and the constants by name."""

    inputs: list[Input]
    outputs: list[str]
    nodes: list[Node]
    constants: dict[str, Array]
    opset: int
    metadata: dict[str, str]


def shown(name: str) -> str:
    """A name of the file in quotes; the middle of a very long one is left out."""
    return reprlib.repr(name)


def shortened(text: str) -> str:
    return text if len(text) <= 60 and text.isprintable() else shown(text)


def text(value: str | bytes) -> str:
    """A text of the file, which protobuf may return as bytes, also if it is not UTF-8."""
    return value if isinstance(value, str) else value.decode(errors="backslashreplace")


def read_graph(path: str | os.PathLike[str]) -> Graph:
    """Read the graph of an ONNX file.

    Raises FileNotFoundError if the file does not exist, ImportError if `onnx` is not installed, and
    ModelFormatError if the file is damaged or a graph of no supported version.
    """
    onnx = onnx_module("onnx")
    source = user_path(path)
    if source.stat().st_size > MOST_BYTES:
        raise ModelFormatError(
            f"the file has more than {MOST_BYTES:,} bytes: store the weights as external data"
        )
    model = onnx.ModelProto()
    try:
        model.ParseFromString(source.read_bytes())
    except Exception as error:  # of protobuf, a module that may be any of several implementations
        raise ModelFormatError(f"it is no ONNX file: {error}") from error
    if not model.HasField("graph"):
        raise ModelFormatError("it is no ONNX file: it has no graph")
    graph = model.graph
    if len(graph.node) > MOST_NODES:
        raise ModelFormatError(f"the graph has {len(graph.node):,} nodes, more than {MOST_NODES:,}")
    if graph.sparse_initializer:
        raise ModelFormatError("the graph has sparse weights, which are not supported")
    tensors = TensorReader(onnx, source.parent)
    # Others, such as the text of labels, are no weights; a node that uses them is refused.
    constants = {
        text(each.name): tensors.array(each, f"weight {shown(text(each.name))}")
        for each in graph.initializer
        if tensors.has_numbers(each)
    }
    nodes = [_node(each, index, tensors) for index, each in enumerate(graph.node)]
    weights = {text(each.name) for each in graph.initializer}
    inputs = [_input(each, onnx) for each in graph.input if text(each.name) not in weights]
    outputs = [text(each.name) for each in graph.output]
    _check_order(nodes, weights | {each.name for each in inputs}, outputs)
    metadata = {text(each.key): text(each.value) for each in model.metadata_props}
    return Graph(inputs, outputs, nodes, constants, _opset(model), metadata)


class TensorReader:
    """Turns tensors of a file into arrays."""

    def __init__(self, onnx: Any, folder: Path) -> None:
        self._onnx = onnx
        self._folder = folder.resolve()
        self._types = {getattr(onnx.TensorProto, name): name for name in NUMBERS}
        self._read: dict[Path, int] = {}

    def has_numbers(self, tensor: Any) -> bool:
        """Whether the elements of a TensorProto are real numbers."""
        return tensor.data_type in self._types

    def array(self, tensor: Any, what: str) -> Array:
        """The array of a TensorProto. Raises ModelFormatError if it is damaged or not of real numbers."""
        if not self.has_numbers(tensor):
            raise ModelFormatError(f"{what} is no tensor of real numbers (data type {tensor.data_type})")
        if any(side < 0 for side in tensor.dims):
            raise ModelFormatError(f"{what} has a negative size: {reprlib.repr(list(tensor.dims))}")
        if tensor.data_location == self._onnx.TensorProto.EXTERNAL:
            tensor.raw_data = self._external(tensor, what)
            tensor.data_location = self._onnx.TensorProto.DEFAULT
        try:
            array: Array = self._onnx.numpy_helper.to_array(tensor)
        except Exception as error:  # of many kinds, for lengths that do not fit
            raise ModelFormatError(f"{what} is damaged: {error}") from error
        if array.size != math.prod(tensor.dims):
            raise ModelFormatError(f"{what} has {array.size} elements, but the shape {list(tensor.dims)}")
        if self._types[tensor.data_type] in ("FLOAT16", "BFLOAT16"):
            array = array.astype(np.float32)
        return array

    def _external(self, tensor: Any, what: str) -> bytes:
        """The bytes of a tensor in another file, which must be in the folder of the model."""
        given = {text(entry.key): text(entry.value) for entry in tensor.external_data}
        location = given.get("location", "")
        try:
            path = (self._folder / location).resolve()
            inside = path.is_relative_to(self._folder) and not Path(location).is_absolute()
            if not inside or not path.is_file():
                raise ModelFormatError(
                    f"{what} must be in a file in the folder of the model, not in {shown(location)}"
                )
            offset, size = int(given.get("offset", 0)), path.stat().st_size
            length = int(given.get("length", size - offset))
            # Each byte once: a small model could name the same large file again and again.
            self._read[path] = self._read.get(path, 0) + length
            if offset < 0 or length < 0 or offset + length > size or self._read[path] > size:
                raise ModelFormatError(f"{what} goes beyond the end of the file {shown(location)}")
            with open(path, "rb") as file:
                file.seek(offset)
                return file.read(length)
        except (OSError, RuntimeError) as error:
            raise ModelFormatError(f"{what}: cannot read {shown(location)}: {error}") from error
        except ModelFormatError:
            raise
        except ValueError as error:  # an offset that is no number, a NUL in the name
            raise ModelFormatError(f"{what} has damaged external data: {error}") from error


def _node(proto: Any, index: int, tensors: TensorReader) -> Node:
    domain, op = text(proto.domain), text(proto.op_type)
    if domain not in ("", "ai.onnx"):
        op = f"{domain}.{op}"
    name = text(proto.name) or f"number {index}"
    attributes = dict(_attributes(proto, tensors, f"node {shown(name)} ({shortened(op)})"))
    return Node(op, name, list(map(text, proto.input)), list(map(text, proto.output)), attributes)


def _attributes(proto: Any, tensors: TensorReader, where: str) -> Iterator[tuple[str, Any]]:
    """Yield names and values: int, float, str, list, array, or None for a kind that no operator here has."""
    for each in proto.attribute:
        kind = each.AttributeType.Name(each.type) if each.type in each.AttributeType.values() else ""
        value: Any = None
        match kind:
            case "INT":
                value = each.i
            case "FLOAT":
                value = float(str(np.float32(each.f)))  # 1e-05, not 9.999999747378752e-06
            case "STRING":
                value = text(each.s)
            case "INTS":
                value = list(each.ints)
            case "FLOATS":
                value = list(each.floats)
            case "STRINGS":
                value = list(map(text, each.strings))
            case "TENSOR":
                value = tensors.array(each.t, f"{where}: the attribute {shown(text(each.name))}")
        yield text(each.name), value


def _input(proto: Any, onnx: Any) -> Input:
    tensor = proto.type.tensor_type
    if not proto.type.HasField("tensor_type") or not tensor.HasField("shape"):
        raise ModelFormatError(f"the input {shown(text(proto.name))} is no tensor with a shape")
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower() if tensor.elem_type in range(20) else "?"
    if kind not in (known := FLOAT_KINDS + INDEX_KINDS):
        raise ModelFormatError(
            f"the input {shown(text(proto.name))} is {kind}, not one of {', '.join(known)}"
        )
    sides = [side.dim_value if side.HasField("dim_value") else None for side in tensor.shape.dim]
    return Input(text(proto.name), sides, kind)


def _check_order(nodes: list[Node], known: set[str], outputs: list[str]) -> None:
    """Raise ModelFormatError unless each value is computed once, and before it is used."""
    for node in nodes:
        for name in node.inputs:
            if name and name not in known:
                raise node.refused(
                    f"no input, weight or earlier node gives {shown(name)}: it is missing, or the graph has "
                    "a cycle"
                )
        for name in node.outputs:
            if name and name in known:
                raise node.refused(f"its output {shown(name)} exists already")
            known.add(name)
    for name in outputs:
        if name not in known:
            raise ModelFormatError(f"no node gives the output {shown(name)} of the graph")


def _opset(model: Any) -> int:
    found = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if len(found) != 1 or found[0] not in OPSETS:
        raise ModelFormatError(
            f"the version of the operators (opset) must be from {OPSETS[0]} to {OPSETS[-1]}, not "
            f"{', '.join(map(str, found)) or 'missing'}"
        )
    return int(found[0])
