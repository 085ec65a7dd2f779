"""Sweeps, many training runs over a grid of settings and several seeds, and searches of good settings.

May import `training` and everything below it.
"""
