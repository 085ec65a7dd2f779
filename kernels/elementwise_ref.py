"""A user's own activation and its gradient, number by number in Python: the specification.

`function` is a `ScalarFunction` (scalar.py); arrays have one shape and type.
"""


def elementwise_forward(function, x, y):
    """y_e = function(x_e)."""
    function.call_each(x, y)


def elementwise_dx(function, x, dy, dx):
    """dx_e = function(x_e, dy_e)."""
    function.call_each(x, dy, dx)
