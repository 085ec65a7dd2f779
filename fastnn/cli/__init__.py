"""The command line `fastnn`: training runs, sweeps and pictures.

May import every other package; no package imports it.
"""
