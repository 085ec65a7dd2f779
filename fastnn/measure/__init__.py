"""Measurements: what this machine can do at best, where a step spends its time, who won the benchmarks.

May import the kernels, `tables` and `viz`.
"""
