"""Read indices that another thread may change meanwhile, for Numba kernels."""

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from fastnn.kernels.jit.numba_cache import jit


@intrinsic
def _atomic_load(typing_context, array, i):
    def generate(context, builder, signature, arguments):
        kind = signature.args[0]
        view = context.make_array(kind)(context, builder, arguments[0])
        place = cgutils.get_item_pointer(context, builder, kind, view, [arguments[1]], wraparound=False)
        return builder.load_atomic(place, "monotonic", align=kind.dtype.bitwidth // 8)

    return array.dtype(array, types.intp), generate


def load_once(array, i):
    """array[i] by a single load: the compiler may not repeat it after a check of the value."""
    return array[i]


@overload(load_once)
def _load_once(array, i):
    return (lambda array, i: _atomic_load(array, i)) if isinstance(array, types.Array) else None


@jit
def index_at(index, i, limit):
    """index[i] if it lies in [0, limit), else -1; `call.hpp` holds the same function for C++."""
    value = load_once(index, i)
    return value if 0 <= value < limit else -1
