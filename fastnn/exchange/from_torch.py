"""Converts a PyTorch module to a fastnn model: architecture and weights at once.

`torch.fx` records the calls that the forward method makes; `torch_calls` has a layer for each of them.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.fx

from fastnn.channel_order import is_same
from fastnn.exchange.chain import Value, model_of
from fastnn.exchange.errors import ConversionError, LayoutError, check_same
from fastnn.exchange.layout import to_array
from fastnn.exchange.torch_call import Call
from fastnn.exchange.torch_calls import FUNCTIONS, METHODS, MODULES, known_kind, supported
from fastnn.layers import Sequential

ROOT = "model"


def convert(module: Any, example_input: Any) -> Sequential:
    """See `fastnn.from_torch`."""
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"from_torch takes a torch.nn.Module, not {module!r}")
    module = getattr(module, "_orig_mod", module)  # of torch.compile
    with _prepared(module) as prepared:
        x = _example(prepared, example_input)
        with torch.no_grad():
            graph, results = _trace(prepared, x)
            expected = _returned(prepared, x)
        try:
            output = _in_our_order(_walk(prepared, graph, results, sequences_first=False))
        except LayoutError:
            output = _in_our_order(_walk(prepared, graph, results, sequences_first=True))
        model = model_of(output)
        _verify(model, x, expected, output)
    return model


@contextmanager
def _prepared(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The module in evaluation mode, under the name "model"; half precision as a copy in float32.

    The training mode of each module is restored at the end.
    """
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, tensor in tensors.items():
        if torch.nn.parameter.is_lazy(tensor):
            raise ConversionError(f"{name} has no values yet: call the module on an example first")
        if tensor.is_meta:
            raise ConversionError(f"{name} has no values: it is on the device meta")
    if any(tensor.dtype in (torch.float16, torch.bfloat16) for tensor in tensors.values()):
        module = copy.deepcopy(module).float()
    modes = {each: each.training for each in module.modules()}
    try:
        root = torch.nn.Sequential()
        root.add_module(ROOT, module)
        yield root.eval()
    finally:
        for each, mode in modes.items():
            each.training = mode


def _example(module: torch.nn.Module, example_input: Any) -> torch.Tensor:
    """Random samples of the shape of the example, in the dtype and on the device of the module."""
    if isinstance(example_input, np.ndarray):
        example_input = torch.from_numpy(np.ascontiguousarray(example_input))
    if not isinstance(example_input, torch.Tensor):
        raise TypeError(
            "example_input must be a tensor or array: a batch as the module takes it, such as "
            f"torch.zeros(1, 3, 32, 32), not {type(example_input).__name__}"
        )
    if example_input.ndim < 2 or 0 in example_input.shape:
        raise ValueError(
            "example_input must be a batch of samples, such as torch.zeros(1, 784), got shape "
            f"{tuple(example_input.shape)}"
        )
    held = next((tensor for tensor in module.parameters() if tensor.is_floating_point()), torch.zeros(1))
    # Not the example itself: zeros would hide mistakes, and a single sample hides what mixes samples.
    generator, shape = torch.Generator().manual_seed(0), (2, *example_input.shape[1:])
    if not example_input.is_floating_point():
        tables = [each.num_embeddings for each in module.modules() if isinstance(each, torch.nn.Embedding)]
        limit = min(tables, default=int(example_input.max()) + 1)
        return torch.randint(limit, shape, generator=generator).to(held.device)
    return torch.randn(shape, generator=generator).to(held.device, held.dtype)


class _Proxy(torch.fx.Proxy):
    """Stands for a tensor, and has its shape for the example: the forward method may compute with sizes."""

    @property
    def _result(self) -> Any:
        return self.tracer.results[self.node.name]

    @property
    def shape(self) -> Any:
        return self._result.shape

    def size(self, dim: int | None = None) -> Any:
        return self._result.shape if dim is None else self._result.shape[dim]

    def dim(self) -> int:
        return int(self._result.ndim)

    @property
    def ndim(self) -> int:
        return self.dim()

    def __len__(self) -> int:
        return len(self._result)


class _Tracer(torch.fx.Tracer):
    """Records the calls of a forward method, and their results for the example, by name.

    `results` are those of an earlier recording, in evaluation mode: in training mode nothing is computed,
    which would change running statistics.
    """

    def __init__(self, x: torch.Tensor, results: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._x = x
        self._computes = results is None
        self._is_computing = False
        self.results: dict[str, Any] = {} if results is None else results

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        """Modules of torch.nn, and subclasses that keep their forward method, are one call each."""
        return known_kind(m) is not None or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: torch.nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        return (
            forward(*args, **kwargs) if self._is_computing else super().call_module(m, forward, args, kwargs)
        )

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self._is_computing else super().getattr(attr, attr_val, parameter_proxy_cache)

    def proxy(self, node: torch.fx.Node) -> _Proxy:
        if self._computes:
            self.results[node.name] = self._computed(node)
        elif node.name not in self.results:
            raise ConversionError(OTHER_CALLS)
        return _Proxy(node, self)

    def _computed(self, node: torch.fx.Node) -> Any:
        """The result of a call, a copy: a later call may change the tensor in place."""
        arguments, options = torch.fx.node.map_arg((node.args, node.kwargs), self._result)
        self._is_computing = True
        try:
            result = _run(self.root, self._x, node, arguments, options)
        except ConversionError:
            raise
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise ConversionError(
                f"{name_of(node)} fails for example_input, of shape {tuple(self._x.shape)}: {reason}"
            ) from error
        finally:
            self._is_computing = False
        is_weight = node.op == "get_attr"
        return result.clone() if isinstance(result, torch.Tensor) and not is_weight else result

    def _result(self, node: torch.fx.Node) -> Any:
        if node.name not in self.results:  # a weight, for which torch.fx makes no proxy
            self.results[node.name] = self._computed(node)
        return self.results[node.name]


def _run(root: Any, x: torch.Tensor, node: torch.fx.Node, arguments: Any, options: Any) -> Any:
    """Run one call."""
    if node.op == "placeholder":
        return x
    if node.op == "get_attr":
        return operator.attrgetter(str(node.target))(root)
    if node.op == "call_method":
        return getattr(arguments[0], str(node.target))(*arguments[1:], **options)
    function: Any = node.target if node.op == "call_function" else supported_module(root, node)
    return function(*arguments, **options)


def _returned(module: torch.nn.Module, x: torch.Tensor) -> Any:
    """What the module returns. The recorded results are copies, without what is changed in place later."""
    try:
        return module(x.clone())
    except Exception as error:
        raise ConversionError(f"the module fails for samples of shape {tuple(x.shape)}: {error}") from error


OTHER_CALLS = "the forward method makes other calls in training mode than in evaluation mode"


def _trace(module: torch.nn.Module, x: torch.Tensor) -> tuple[torch.fx.Graph, dict[str, Any]]:
    """The calls in evaluation mode, and their results by name; `meta` has the arguments in training mode.

    Raises ConversionError if the forward method depends on values, or makes other calls in training mode.
    """
    recorded = _recorded(module, _Tracer(x))
    in_training = _recorded(module.train(), _Tracer(x, recorded.results))
    module.eval()
    nodes, others = list(recorded.graph.nodes), list(in_training.graph.nodes)
    if [(node.op, str(node.target)) for node in nodes] != [(node.op, str(node.target)) for node in others]:
        raise ConversionError(OTHER_CALLS)
    for node, other in zip(nodes, others, strict=True):
        node.meta["in training"] = (other.args, other.kwargs)
    return recorded.graph, recorded.results


def _recorded(module: torch.nn.Module, tracer: _Tracer) -> _Tracer:
    try:
        tracer.trace(module)
    except ConversionError:
        raise
    except Exception as error:  # torch.fx raises what the forward method raises
        raise ConversionError(
            f"torch.fx cannot record the forward method: {error}. It must make the same calls for every "
            "input: no if or loop over values, and one tensor as argument"
        ) from error
    return tracer


def _output_of(graph: torch.fx.Graph) -> torch.fx.Node:
    """The node of the tensor that the module returns."""
    (returned,) = next(node for node in graph.nodes if node.op == "output").args
    if not isinstance(returned, torch.fx.Node):
        raise ConversionError(f"the module must return one tensor, not a {type(returned).__name__}")
    return returned


def _needed(output: torch.fx.Node) -> set[torch.fx.Node]:
    """The calls that the output depends on, itself included."""
    needed, waiting = set(), [output]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += node.all_input_nodes
    return needed


def _walk(
    module: torch.nn.Module, graph: torch.fx.Graph, results: dict[str, Any], *, sequences_first: bool
) -> Value:
    """Convert call by call; returns the value of the output.

    `sequences_first` says whether samples of two axes are sequences (C, L), or (L, C) as here.
    """
    values: dict[torch.fx.Node, Value] = {}
    used: dict[int, str] = {}
    batch = 0
    needed = _needed(_output_of(graph))
    for node in graph.nodes:
        _check_in_place(node, module)
        if node not in needed and node.op != "placeholder":
            continue
        result = results[node.name]
        if node.op == "placeholder":
            if values:
                raise ConversionError("the module takes several inputs: fastnn's models take one")
            shape, batch = tuple(result.shape[1:]), len(result)
            is_index = len(shape) > 1 and not result.is_floating_point()
            is_last = Call(name_of(node), shape, used, sequences_first).stays(shape) or is_index
            values[node] = Value(shape, is_channels_last=is_last)
            continue
        if not any(each in values for each in node.all_input_nodes):
            continue  # a weight
        call = Call(name_of(node), tuple(getattr(result, "shape", ())[1:]), used, sequences_first)
        handler = _handler(node, module, call)
        if not isinstance(result, torch.Tensor):
            raise call.refused(f"returns a {type(result).__name__}, not one tensor")
        if result.ndim < 1 or len(result) != batch:
            raise call.refused("mixes the samples of a batch")
        arguments = [_resolved(each, values, results) for each in (node.args, node.kwargs)]
        try:
            values[node] = handler(call, *arguments[0], **arguments[1])
        except ConversionError:
            raise
        except (TypeError, ValueError) as error:
            raise call.refused(f"has arguments that are not supported: {error}") from error
    return values[_output_of(graph)]


def name_of(node: torch.fx.Node) -> str:
    """The name of a module in the tree, or the function and the module that calls it."""
    if node.op == "call_module":
        return _path(str(node.target))
    function = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target)
    (*_, (path, _)) = node.meta.get("nn_module_stack", {"": (ROOT, None)}).values()
    return f"{function} in the forward method of {_path(path)}"


def supported_module(root: Any, node: torch.fx.Node) -> Any:
    """The module that a node calls. Raises ConversionError, which names it, if it has no layer."""
    module = root.get_submodule(str(node.target))
    if known_kind(module) is None:
        raise ConversionError(
            f"{name_of(node)} is a {type(module).__name__}, which fastnn has no layer for; supported are "
            f"{supported(MODULES)}"
        )
    return module


def _path(target: str) -> str:
    return target.removeprefix(f"{ROOT}.") if target != ROOT else "the module"


def _resolved(arguments: Any, values: dict[torch.fx.Node, Value], results: dict[str, Any]) -> Any:
    """The arguments of a call, with Values for what the input determines and results for the rest."""
    return torch.fx.node.map_arg(arguments, lambda node: values.get(node, results.get(node.name)))


def _handler(node: torch.fx.Node, module: torch.nn.Module, call: Call) -> Any:
    """The function that converts a call. Raises ConversionError if there is none."""
    if node.op == "call_module":
        call.module = supported_module(module, node)
        call.check_hooks()
        return MODULES[known_kind(call.module)]
    call.in_training = node.meta["in training"]
    table = METHODS if node.op == "call_method" else FUNCTIONS
    if node.target not in table:
        raise call.refused(
            f"is not supported; supported are the modules {supported(MODULES)}, and the functions and "
            f"methods {supported({**FUNCTIONS, **METHODS})}"
        )
    return table[node.target]


def _check_in_place(node: torch.fx.Node, module: torch.nn.Module) -> None:
    """Raise ConversionError if a call overwrites a tensor that another call reads later."""
    if node.op == "call_module":
        in_place = getattr(module.get_submodule(str(node.target)), "inplace", False)
    elif node.op == "call_method":
        in_place = str(node.target).endswith("_")
    else:
        in_place = node.target is operator.iadd or node.kwargs.get("inplace", False)
    if not in_place or not node.args or not isinstance(node.args[0], torch.fx.Node):
        return
    place = {each: position for position, each in enumerate(node.graph.nodes)}
    if any(place[user] > place[node] for user in node.args[0].users):
        raise ConversionError(
            f"{name_of(node)} overwrites its input, which is used again: compute it with inplace=False"
        )


def _in_our_order(output: Value) -> Value:
    """The output with its features in PyTorch's order. Raises ConversionError if that is not possible."""
    order = output.order
    if order is None or is_same(order):
        return output
    if not output.in_order(np.argsort(order)):
        raise ConversionError(
            "the module ends with a flattened image, in the order channels, height, width; fastnn's order is "
            "height, width, channels: leave out the last Flatten"
        )
    return Value(output.shape, output.before, output.layer, is_channels_last=output.is_channels_last)


def _verify(model: Sequential, x: torch.Tensor, expected: torch.Tensor, output: Value) -> None:
    """Raise ConversionError unless the model returns what the module returned for the example."""
    check_same(
        model.predict(to_array(x, is_channels_last=output.start.is_channels_last), scale=1.0),
        to_array(expected, is_channels_last=output.is_channels_last),
        "the converted model does not return what the module returns: does the forward method change tensors "
        f"in place, or use random numbers? The model is {model!r}",
    )
