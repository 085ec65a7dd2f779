"""Measurements: the peak speed of this machine, the time of each kernel in a step, tables of benchmark runs.

May import the kernels, `tables` and `viz`.
"""
