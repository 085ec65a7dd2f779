"""Callbacks that log a training, epoch by epoch: CSV files, JSON lines, TensorBoard.

May import `training` and the modules below it.
"""
