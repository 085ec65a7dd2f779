"""Turn a graph of steps into a chain of layers: paths that part and meet again become `Residual`."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastnn.layers import Layer, Residual, Sequential
from fastnn.onnx.batch import Batch, LayoutError
from fastnn.onnx.errors import ModelFormatError
from fastnn.onnx.model_file import shown

MOST_NESTED = 40  # residual connections within each other, far below Python's limit of recursion


@dataclass
class Step:
    """How a value is computed: from the value `source`, by layers. The input of the graph has no source."""

    source: str | None
    batch: Batch
    layers: list[Layer] = field(default_factory=list)
    error: ModelFormatError | None = None
    """Raised if the step is needed: it has no layers, but may be part of a pattern."""
    other: str | None = None
    """The second value of a sum."""


Steps = dict[str, Step]


def assemble(steps: Steps, start: str, end: str) -> list[Layer]:
    """Return the layers that compute the value `end` from `start`.

    Raises ModelFormatError if the graph is no chain with residual connections, if a layer would occur twice,
    or if the output has another order than in the file.
    """
    if end not in steps:
        raise ModelFormatError("the output does not depend on the input of the graph")
    batch, given = steps[end].batch, steps[start].batch
    # An input as in the file promises an output as in the file; images from features have channels last.
    from_plain = given.is_plain and (len(given.shape) > 2 or len(given.shape) == len(batch.shape) > 1)
    if (
        batch.pending
        or batch.channels > 1
        or not (batch.is_plain or (batch.is_channels_last and not from_plain))
    ):
        raise LayoutError(
            f"the output needs {batch.pending or 'a transposition'}, for which fastnn has no layer: end with "
            "a Linear or a convolution, or choose another output with output=..."
        )
    return _Assembly(steps).path(start, end, 0)


class _Assembly:
    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._used: set[str] = set()
        # The dominator of a value is the last value before it through which all its paths lead: that of a sum
        # is where its two paths part. Depth counts the dominators (Cooper, Harvey & Kennedy 2001).
        self._dominator: dict[str, str] = {}
        self._depth: dict[str, int] = {}
        for value, step in steps.items():
            if step.source is None:
                self._depth[value] = 0
                continue
            before = step.source if step.other is None else self._meeting(step.source, step.other)
            self._dominator[value], self._depth[value] = before, self._depth[before] + 1

    def _meeting(self, a: str, b: str) -> str:
        """The nearest value that dominates both."""
        while a != b:
            if self._depth[a] < self._depth[b]:
                a, b = b, a
            a = self._dominator[a]
        return a

    def path(self, start: str, end: str, nested: int) -> list[Layer]:
        """The layers from `start`, which dominates `end`, to `end`."""
        if nested > MOST_NESTED:
            raise ModelFormatError(f"more than {MOST_NESTED} residual connections are nested")
        values = []
        while end != start:
            values.append(end)
            end = self._dominator[end]
        layers: list[Layer] = []
        for value in reversed(values):
            step = self._steps[value]
            if step.error is not None:
                raise step.error
            if value in self._used:
                raise ModelFormatError(f"two paths of the graph share the layers that compute {shown(value)}")
            if step.other is not None:
                layers.append(self._residual(step, self._dominator[value], nested))
            layers += step.layers
            if step.layers or step.other is not None:
                self._used.add(value)
        return layers

    def _residual(self, step: Step, fork: str, nested: int) -> Residual:
        assert step.source is not None
        assert step.other is not None
        paths = [self.path(fork, value, nested + 1) for value in (step.source, step.other)]
        if not paths[0]:  # x + branch(x)
            paths.reverse()
        branch, shortcut = (path[0] if len(path) == 1 else Sequential(path) for path in paths)
        return Residual(branch, shortcut if paths[1] else None)
