"""Recording of kernel calls: a step runs once layer by layer and is written down as a list of calls.

May import the kernels and `_door`; knows no layer, loss or optimizer by name.
"""
