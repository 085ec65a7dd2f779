"""The command `fastnn`: arguments and settings in, runs, sweeps and pictures out.

May import everything; nothing imports it.
"""
