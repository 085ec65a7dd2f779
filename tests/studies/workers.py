"""What the tests of worker processes share."""

import contextlib
import os
import sys


def first_time(path):
    """Whether no process has called this with the path before."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


@contextlib.contextmanager
def sent_by_value(*modules):
    """Send the functions of these test modules, which workers cannot import, and of this one."""
    import cloudpickle

    names = [*(module.__name__ for module in modules), __name__]
    for name in names:
        cloudpickle.register_pickle_by_value(sys.modules[name])
    try:
        yield
    finally:
        for name in names:
            cloudpickle.unregister_pickle_by_value(sys.modules[name])
