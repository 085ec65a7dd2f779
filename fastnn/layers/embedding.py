"""The embedding: a table of vectors, looked up by index."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, Shape, check_index_limit, float_type, indices, positive_int
from fastnn.init import Initializer, Normal, initial_param
from fastnn.kernels import empty, ops
from fastnn.layers._geometry import integer
from fastnn.layers.base import Layer
from fastnn.param import Param
from fastnn.recording.recorder import Backward

STANDARD_NORMAL = Normal(std=1.0)


class Embedding(Layer):
    """Looks up the vectors that indices name: (N, ...) -> (N, ..., embedding_dim), y = W[x].

    W is (num_embeddings, embedding_dim), as in PyTorch. The layer comes first in a model, except for layers
    that only change the shape. Its inputs are whole numbers in [0, num_embeddings), in any integer or float
    dtype, such as the tokens of a text (N, L). They are never scaled, not even uint8; an index out of range
    raises ValueError before anything changes.

    The gradient of W is dense: vectors that no index names get zeros.

    Args:
        num_embeddings: Number of vectors V, at most 2^24 in float32, which has all whole numbers up to there.
        embedding_dim: Elements of each vector.
        padding_idx: The index of a vector that starts at 0 and is not trained, for the padding of texts
            of different lengths. A negative one counts from the end.
        weight_init: Initialiser of W, by name or as an object (`fastnn.init`). The default is N(0, 1), as in
            PyTorch.
        dtype: float32 or float64.

    Raises:
        ValueError: If an argument is not valid.

    >>> model = fn.Sequential(fn.Embedding(1000, 16), fn.GlobalAvgPool1d(), fn.Linear(16, 2))
    >>> model.output_shape((20,))
    (2,)
    """

    recordable = True
    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None
    weight: Param
    _fixed = frozenset({"num_embeddings", "embedding_dim", "padding_idx"})

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        weight_init: str | Initializer = STANDARD_NORMAL,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.num_embeddings = positive_int(num_embeddings, "num_embeddings")
        self.embedding_dim = positive_int(embedding_dim, "embedding_dim")
        dtype = float_type(dtype)
        check_index_limit(self.num_embeddings, dtype)
        if padding_idx is not None:
            padding_idx = integer(padding_idx, "padding_idx", -num_embeddings)
            if padding_idx >= num_embeddings:
                raise ValueError(f"padding_idx must be less than {num_embeddings}, got {padding_idx}")
            padding_idx %= num_embeddings
        self.padding_idx = padding_idx
        shape = self.num_embeddings, self.embedding_dim
        self.weight = initial_param(weight_init, shape, shape, "weight", dtype)
        if padding_idx is not None:
            self.weight.master[padding_idx] = 0

    @property
    def index_limit(self) -> int:  # type: ignore[override]
        return self.num_embeddings

    def output_shape(self, shape: Shape) -> Shape:
        return (*shape, self.embedding_dim)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        weight, padding = self.weight, -1 if self.padding_idx is None else self.padding_idx
        y: Array = empty((*x.shape, self.embedding_dim), x.dtype)
        index, rows = x.reshape(-1), (math.prod(x.shape), self.embedding_dim)
        try:
            ops.embedding_forward(index, weight.master, y.reshape(rows))
        except IndexError:
            indices(x, self.num_embeddings)  # says which one
            raise

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            if need_dx:
                raise ValueError(f"the inputs of {self} are indices, which have no gradient: put it first")
            if not weight.frozen:
                ops.embedding_dw(index, dy.reshape(rows), padding, weight.grad_buffer())
            return None

        return y, backward
