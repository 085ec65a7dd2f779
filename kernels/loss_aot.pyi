from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

def cross_entropy_labels(
    z: Array,
    label: Array,
    weight: Array | None,
    smoothing: float,
    reduction: int,
    losses: Array,
    loss: Array,
    dz: Array | None,
) -> None: ...
def cross_entropy_soft(
    z: Array,
    target: Array,
    weight: Array | None,
    smoothing: float,
    reduction: int,
    losses: Array,
    loss: Array,
    dz: Array | None,
) -> None: ...
def squared_error(
    y: Array, target: Array, reduction: int, losses: Array, loss: Array, dy: Array | None
) -> None: ...
def focal_labels(
    z: Array,
    label: Array,
    weight: Array | None,
    gamma: float,
    reduction: int,
    losses: Array,
    loss: Array,
    dz: Array | None,
) -> None: ...
def focal_soft(
    z: Array,
    target: Array,
    weight: Array | None,
    gamma: float,
    reduction: int,
    losses: Array,
    loss: Array,
    dz: Array | None,
) -> None: ...
def binary_cross_entropy(
    z: Array,
    target: Array,
    weight: Array | None,
    gamma: float,
    reduction: int,
    losses: Array,
    loss: Array,
    dz: Array | None,
) -> None: ...
def dice(
    z: Array,
    target: Array,
    weight: Array | None,
    smooth: float,
    reduction: int,
    losses: Array,
    loss: Array,
    dz: Array | None,
) -> None: ...
def count_correct_labels(y: Array, label: Array, count: Array) -> None: ...
def count_correct_soft(y: Array, target: Array, count: Array) -> None: ...
def count_correct_binary(y: Array, target: Array, count: Array) -> None: ...
