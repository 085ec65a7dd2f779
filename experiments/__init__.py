"""The experiments of five student reports, one file for each, for `fastnn reproduce`.

S0: Al-Jaff, "Deep Learning for Image Analysis, Assignment 2" (2021). S1: Deng and Lee, "CSC411 Assignment 2"
(2018). S2: Colombo, "Submission Assignment 1", VU. S3: Highsmith, "EECS 8770 Project 1" (2019). S4: Hung,
"5LSH0 Final Project 1", TU/e (2023).

They use fastnn as any script does: `import fastnn as fn`. A package of yours registers a list of
`fn.Experiment` objects in the same way, under the entry point group "fastnn.experiments".
"""

from fastnn.experiments import s0, s1, s1_faces, s2, s3, s4
from fastnn.experiments.items import ITEMS

EXPERIMENTS = [
    *s0.EXPERIMENTS,
    *s1.EXPERIMENTS,
    *s1_faces.EXPERIMENTS,
    *s2.EXPERIMENTS,
    *s3.EXPERIMENTS,
    *s4.EXPERIMENTS,
]

__all__ = ["EXPERIMENTS", "ITEMS"]
