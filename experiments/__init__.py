"""The experiments of five student reports, one file or two for each, for `fastnn reproduce`.

S0: Al-Jaff, "Deep Learning for Image Analysis, Assignment 2" (2021). S1: Deng and Lee, "CSC411 Assignment 2"
(2018). S2: Colombo, "Submission Assignment 1", VU. S3: Highsmith, "EECS 8770 Project 1" (2019). S4: Hung,
"5LSH0 Final Project 1", TU/e (2023).

They use fastnn as any script does: `import fastnn as fn`. A package of yours registers a list of
`fn.Experiment` objects in the same way, under the entry point group "fastnn.experiments".
"""

from fastnn.experiments import s0, s1, s2, s2_mnist, s3, s3_mnist, s4, s4_losses
from fastnn.experiments.items import ITEMS

EXPERIMENTS = [
    experiment
    for module in (s0, s1, s2, s2_mnist, s3, s3_mnist, s4, s4_losses)
    for experiment in module.EXPERIMENTS
]

__all__ = ["EXPERIMENTS", "ITEMS"]
