"""The cases of the embedding and of the bias."""

from .case import Case


def indices(a, M, V):
    return a.rng.integers(0, max(V, 1), M).astype(a.dtype)


def embedding_forward(a, shape):
    M, V, D = shape
    return indices(a, M, V), a(V, D), a.poison(M, D)


def embedding_dw(a, shape, padding):
    M, V, D = shape
    return indices(a, M, V), a(M, D, terms=M), padding, a.poison(V, D)


def embedding_dw_out_of_range(a, shape):
    """Values that are no indices, which add nothing."""
    x, dy, padding, dw = embedding_dw(a, shape, -1)
    x[::3] = a.rng.choice([-1, shape[1], 0.5, 6e4, float("nan"), float("inf")], len(x[::3]))
    return x, dy, padding, dw


def add_bias(a, shape):
    return a(*shape), a(shape[1]), a.poison(*shape)


# Indices, rows and columns of the table: unit, odd, around vectors, larger, empty.
TABLES = (
    *((1, 1, 1), (7, 3, 5), (50, 9, 15), (33, 50, 16), (65, 4, 17), (5, 300, 33), (301, 7, 67)),
    *((0, 3, 5), (5, 3, 0)),
)
ROWS = ((1, 1), (5, 3), (7, 16), (3, 33), (200, 67), (0, 5), (5, 0))


def cases():
    for shape in TABLES:
        yield Case("embedding_forward", embedding_forward, (shape,))
        yield Case("embedding_dw", embedding_dw_out_of_range, (shape,))
        for padding in (-1, 0, shape[1] - 1):
            yield Case("embedding_dw", embedding_dw, (shape, padding))
            yield Case("embedding_dw", embedding_dw, (shape, padding), whole=True)
    for shape in ROWS:
        yield Case("add_bias", add_bias, (shape,))
        yield Case("add_bias", add_bias, (shape,), whole=True)


def large():
    """Worth several threads, of odd sizes."""
    for shape in ((10007, 41, 67), (3001, 5003, 131)):
        yield Case("embedding_forward", embedding_forward, (shape,))
        yield Case("embedding_dw", embedding_dw, (shape, 3))
    yield Case("add_bias", add_bias, ((9001, 41),))


def at_walls(sizes):
    """Rows of the given sizes, and one case on several threads."""
    for shape in (*((5, 3, size) for size in sizes), (1003, 17, 131)):
        yield Case("embedding_forward", embedding_forward, (shape,))
        yield Case("embedding_dw", embedding_dw, (shape, -1))
        yield Case("embedding_dw", embedding_dw_out_of_range, (shape,))
    for size in sizes:
        yield Case("add_bias", add_bias, ((5, size),))
