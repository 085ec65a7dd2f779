"""Sweeps: many training runs over a grid of settings and several seeds, and their results.

May import `training` and everything below it.
"""
