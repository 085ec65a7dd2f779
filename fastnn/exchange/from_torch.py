"""Converts a PyTorch module to a fastnn model: architecture and weights at once.

`torch.fx` records the calls that the forward method makes; `torch_calls` has a layer for each of them.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.fx

from fastnn.exchange.chain import Value, model_of
from fastnn.exchange.errors import ConversionError, check_same
from fastnn.exchange.layout import channels_last
from fastnn.exchange.order import is_same
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
        graph = _trace(prepared)
        recorder = _Recorder(torch.fx.GraphModule(prepared, graph))
        with torch.no_grad():
            try:
                recorder.run(x.clone())
            except Exception as error:  # of the user's forward method
                reason = str(error).partition("\n")[0]
                raise ConversionError(
                    f"the module does not accept example_input, of shape {tuple(x.shape)}: {reason}"
                ) from error
        output = _walk(prepared, graph, recorder.results)
        output = _in_our_order(output)
        model = model_of(output)
        _verify(model, x, recorder.results[_output_of(graph)], output)
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
        import copy

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
    """The example as a batch of at least two samples, in the dtype and on the device of the module."""
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
    x = example_input.detach().to(held.device, held.dtype)
    return torch.cat([x, x]) if len(x) == 1 else x  # a batch of one would hide what mixes samples


class _Tracer(torch.fx.Tracer):
    """Records modules of torch.nn, and subclasses that keep their forward method, as one call each."""

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        return known_kind(m) is not None or super().is_leaf_module(m, module_qualified_name)


def _trace(module: torch.nn.Module) -> torch.fx.Graph:
    """The calls in evaluation mode; each notes in `meta` what differs in training mode.

    Raises ConversionError if the forward method depends on values, or makes other calls in training mode.
    """
    graphs = []
    for training in (True, False):
        module.train(training)
        try:
            graphs.append(_Tracer().trace(module))
        except Exception as error:  # torch.fx raises what the forward method raises
            raise ConversionError(
                f"torch.fx cannot record the forward method: {error}. It must make the same calls for every "
                "input: no if or loop over values, and one tensor as argument"
            ) from error
    in_training, graph = graphs
    nodes = list(graph.nodes)
    others = list(in_training.nodes)
    if [(node.op, str(node.target)) for node in nodes] != [(node.op, str(node.target)) for node in others]:
        raise ConversionError("the forward method makes other calls in training mode than in evaluation mode")
    for node, other in zip(nodes, others, strict=True):
        node.meta["in training"] = (other.args, other.kwargs)
    return graph


class _Recorder(torch.fx.Interpreter):
    """Runs the recorded calls and keeps all results."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.results: dict[torch.fx.Node, Any] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        # A copy: a later call may change the tensor in place.
        result = super().run_node(n)
        is_fresh = isinstance(result, torch.Tensor) and not isinstance(result, torch.nn.Parameter)
        self.results[n] = result.clone() if is_fresh and n.op != "get_attr" else result
        return result


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


def _walk(module: torch.nn.Module, graph: torch.fx.Graph, results: dict[torch.fx.Node, Any]) -> Value:
    """Convert call by call; returns the value of the output."""
    values: dict[torch.fx.Node, Value] = {}
    used: dict[int, str] = {}
    batch = 0
    needed = _needed(_output_of(graph))
    for node in graph.nodes:
        _check_in_place(node, module)
        if node not in needed and node.op != "placeholder":
            continue
        result = results[node]
        if node.op == "placeholder":
            if values:
                raise ConversionError("the module takes several inputs: fastnn's models take one")
            values[node], batch = Value(tuple(result.shape[1:])), len(result)
            continue
        if not any(each in values for each in node.all_input_nodes):
            continue  # a weight, or computed from the shape of the input
        if not isinstance(result, torch.Tensor):
            if _is_shape(result):
                continue
            raise ConversionError(f"{_name(node)} returns a {type(result).__name__}, not one tensor")
        if result.ndim < 1 or len(result) != batch:
            raise ConversionError(f"{_name(node)} mixes the samples of a batch")
        call = Call(_name(node), tuple(result.shape[1:]), used)
        arguments = [_resolved(each, values, results) for each in (node.args, node.kwargs)]
        handler = _handler(node, module, call)
        try:
            values[node] = handler(call, *arguments[0], **arguments[1])
        except ConversionError:
            raise
        except (TypeError, ValueError) as error:
            raise call.refused(f"has arguments that are not supported: {error}") from error
    return values[_output_of(graph)]


def _is_shape(result: Any) -> bool:
    sizes = result if isinstance(result, tuple) else (result,)
    return all(isinstance(size, (int, torch.dtype, torch.device)) for size in sizes)


def _name(node: torch.fx.Node) -> str:
    """The name of a module in the tree, or the function and the module that calls it."""
    if node.op == "call_module":
        return _path(str(node.target))
    function = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target)
    (*_, (path, _)) = node.meta.get("nn_module_stack", {"": (ROOT, None)}).values()
    return f"{function} in the forward method of {_path(path)}"


def _path(target: str) -> str:
    return target.removeprefix(f"{ROOT}.") if target != ROOT else "the module"


def _resolved(arguments: Any, values: dict[torch.fx.Node, Value], results: dict[torch.fx.Node, Any]) -> Any:
    """The arguments of a call, with Values for what the input determines and results for the rest."""
    return torch.fx.node.map_arg(arguments, lambda node: values.get(node, results[node]))


def _handler(node: torch.fx.Node, module: torch.nn.Module, call: Call) -> Any:
    """The function that converts a call. Raises ConversionError if there is none."""
    if node.op == "call_module":
        called = module.get_submodule(str(node.target))
        kind = known_kind(called)
        if kind is None:
            raise call.refused(
                f"is a {type(called).__name__}, which fastnn has no layer for; supported are "
                f"{supported(MODULES)}"
            )
        call.module = called
        call.check_hooks()
        return MODULES[kind]
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
            f"{_name(node)} overwrites its input, which is used again: compute it with inplace=False"
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
    return Value(output.shape, output.before, output.layer)


def _verify(model: Sequential, x: torch.Tensor, expected: torch.Tensor, output: Value) -> None:
    """Raise ConversionError unless the model returns what the module returned for the example."""
    check_same(
        model.predict(channels_last(x), scale=1.0),
        expected.cpu().numpy() if output.is_channels_last else channels_last(expected),
        "the converted model does not return what the module returns for example_input: does the forward "
        f"method change tensors in place, or use random numbers? The model is {model!r}",
    )
