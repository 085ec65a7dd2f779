"""Race of the estimators against scikit-learn's: `fit` to the same loss, and a grid search.

    python bench/sklearn_race.py [--rounds 3] [--threads 1 2] [--json race.json]

scikit-learn trains for a fixed number of epochs; ours trains until its training loss is as low. Both get the
same data, parameters and number of threads, in turn. Every row is the minimum of the rounds.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings

import numpy as np
from sklearn.datasets import load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier as SklearnClassifier
from threadpoolctl import threadpool_limits

import fastnn as fn
from fastnn.sklearn import MLPClassifier


def digits():
    x, y = load_digits(return_X_y=True)
    return x / 16, y


def mnist():
    (x, y), _ = fn.data.mnist()
    return x[:20000].reshape(20000, -1) / 255.0, y[:20000]


def covertype_like():
    return make_classification(40000, 54, n_informative=20, n_classes=7, random_state=0)


def wide():
    return make_classification(5000, 1000, n_informative=50, n_classes=3, random_state=0)


# Data, and the epochs of scikit-learn.
DATA = {
    "digits": (digits, 60),
    "MNIST": (mnist, 8),
    "covertype-like": (covertype_like, 6),
    "wide": (wide, 12),
}


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def race_of_fits(x, y, epochs, precision, rounds):
    """Return the seconds of scikit-learn and of ours, and the epochs that ours needed."""
    options = {"random_state": 0, "n_iter_no_change": np.inf}
    found = []
    for _ in range(rounds):
        theirs = SklearnClassifier(max_iter=epochs, **options)
        theirs_time = seconds(lambda model=theirs: model.fit(x, y))

        def stop(training, goal=theirs.loss_):
            if training.history["loss"][-1] <= goal:
                training.stop("as low as scikit-learn's")

        ours = MLPClassifier(max_iter=5 * epochs, precision=precision, callbacks=stop, **options)
        found.append((theirs_time, seconds(lambda model=ours: model.fit(x, y)), ours.n_iter_))
    return min(t for t, _, _ in found), min(t for _, t, _ in found), found[0][2]


def race_of_grids(jobs):
    """Return the seconds of a search over 12 candidates and 3 folds: scikit-learn, ours."""
    x, y = digits()
    grid = {"alpha": [1e-5, 1e-4, 1e-3], "hidden_layer_sizes": [(50,), (100,), (50, 50), (100, 50)]}
    return [
        seconds(
            lambda kind=kind: GridSearchCV(kind(max_iter=60, random_state=0), grid, cv=3, n_jobs=jobs).fit(
                x, y
            )
        )
        for kind in (SklearnClassifier, MLPClassifier)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows = []
    print(f"{'data':16}{'threads':>8}{'precision':>11}{'scikit-learn':>14}{'fastnn':>10}{'ratio':>8}  epochs")
    for name, (load, epochs) in DATA.items():
        x, y = load()
        for threads in arguments.threads:
            for precision in ("float64", "float32"):
                with threadpool_limits(threads):
                    theirs, ours, needed = race_of_fits(x, y, epochs, precision, arguments.rounds)
                rows.append(
                    {
                        "data": name,
                        "threads": threads,
                        "precision": precision,
                        "scikit-learn": theirs,
                        "fastnn": ours,
                        "epochs": [epochs, needed],
                    }
                )
                print(
                    f"{name:16}{threads:8}{precision:>11}{theirs:12.3f} s{ours:8.3f} s{theirs / ours:8.1f}"
                    f"  {epochs} / {needed}"
                )
    for precision in ("float64", "float32"):
        ratios = [row["scikit-learn"] / row["fastnn"] for row in rows if row["precision"] == precision]
        print(f"geometric mean, {precision}: {math.exp(np.mean(np.log(ratios))):.1f}")
    for jobs in (1, 2):
        theirs, ours = race_of_grids(jobs)
        rows.append({"data": "grid search", "jobs": jobs, "scikit-learn": theirs, "fastnn": ours})
        print(
            f"grid search of 12 candidates x 3 folds, {jobs} jobs: {theirs:.2f} s, {ours:.2f} s, "
            f"{theirs / ours:.1f}"
        )
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"environment": fn.config.environment(), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
