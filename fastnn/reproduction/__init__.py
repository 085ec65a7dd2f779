"""Reproduce the experiments of reports: run them, compare with what was reported, write one page about all.

An `Experiment` (experiment.py) trains; its result is kept in a folder (store.py). From the result it fills a
`Report` (report.py): a table of expected and found values, claims with the number that decides, and figures.
`runner` runs several experiments at a time and skips those that have a result; `page` writes the HTML page.
"""

from fastnn.reproduction.experiment import Experiment
from fastnn.reproduction.report import Report

__all__ = ["Experiment", "Report"]
