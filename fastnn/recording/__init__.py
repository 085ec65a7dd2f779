"""Recording of kernel calls: a step runs once layer by layer while its kernel calls are recorded as a plan.

May import the kernels and `_validation`; knows no layer, loss or optimizer by name.
"""
