"""Reference kernels of a user-defined activation, one Python call per element: the specification.

`function` is a `ScalarFunction` (kernels/jit/scalar.py). All arrays of a call share one shape and one dtype;
"->" separates inputs from outputs.
"""


def elementwise_forward(function, x, y):
    """y_e = function(x_e) for each element e.  x -> y of the same shape."""
    function.call_each(x, y)


def elementwise_dx(function, x, dy, dx):
    """dx_e = function(x_e, dy_e) for each element e.  x, dy -> dx of the same shape."""
    function.call_each(x, dy, dx)
