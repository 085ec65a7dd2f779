"""Race of the estimators against scikit-learn's: `fit` to the same loss, and a grid search.

    python bench/sklearn_race.py [--rounds 5] [--threads 1 2] [--data digits MNIST] [--json race.json]

scikit-learn trains for a fixed number of epochs, fastnn until its training loss is as low as scikit-learn's
with float64. All get the same float64 X (scikit-learn with float32: X converted before), parameters, seed and
number of threads, in turn. A time is the minimum of the rounds, after a fit of one epoch that is not timed.
"""

import argparse
import json
import math
import time
import warnings

import numpy as np
import sklearn
from sklearn.datasets import load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier as SklearnClassifier
from threadpoolctl import threadpool_info, threadpool_limits

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

# Ratios of times: who is divided by whom.
RATIOS = {
    "float64": ("scikit-learn float64", "fastnn float64"),
    "float32": ("scikit-learn float32", "fastnn float32"),
    "64 / 32": ("scikit-learn float64", "fastnn float32"),
}
GRID = {"alpha": [1e-5, 1e-4, 1e-3], "hidden_layer_sizes": [(50,), (100,), (50, 50), (100, 50)]}


def fits(x, y, epochs):
    """Return functions by contestant; each trains and returns the number of its epochs."""
    options = {"random_state": 0, "n_iter_no_change": np.inf}
    narrow = x.astype(np.float32)
    goal = SklearnClassifier(max_iter=epochs, **options).fit(x, y).loss_

    def theirs(x, epochs=epochs):
        return SklearnClassifier(max_iter=epochs, **options).fit(x, y).n_iter_

    def ours(precision, epochs=5 * epochs):
        def stop(training):
            if training.history["loss"][-1] <= goal:
                training.stop("as low as scikit-learn's")

        model = MLPClassifier(max_iter=epochs, precision=precision, callbacks=stop, **options)
        return model.fit(x, y).n_iter_

    for precision in ("float64", "float32"):
        ours(precision, epochs=1)
    return {
        "scikit-learn float64": lambda: theirs(x),
        "scikit-learn float32": lambda: theirs(narrow),
        "fastnn float64": lambda: ours("float64"),
        "fastnn float32": lambda: ours("float32"),
    }


def searches(jobs):
    """Return functions by contestant; each searches over 12 candidates and 3 folds."""
    x, y = digits()
    narrow = x.astype(np.float32)

    def search(model, x):
        GridSearchCV(model, GRID, cv=3, n_jobs=jobs).fit(x, y)

    options = {"max_iter": 60, "random_state": 0}
    return {
        "scikit-learn float64": lambda: search(SklearnClassifier(**options), x),
        "scikit-learn float32": lambda: search(SklearnClassifier(**options), narrow),
        "fastnn float64": lambda: search(MLPClassifier(**options), x),
        "fastnn float32": lambda: search(MLPClassifier(precision="float32", **options), x),
    }


def race(name, contestants, rounds, **conditions):
    """Let the contestants take turns; print and return the row of their best times."""
    times = dict.fromkeys(contestants, math.inf)
    epochs = {}
    for _ in range(rounds):
        for contestant, run in contestants.items():
            start = time.perf_counter()
            epochs[contestant] = run()
            times[contestant] = min(times[contestant], time.perf_counter() - start)
    ratios = {kind: times[theirs] / times[ours] for kind, (theirs, ours) in RATIOS.items()}
    condition = ", ".join(f"{count} {what}" for what, count in conditions.items())
    print(
        f"{name:15}{condition:>12}"
        + "".join(f"{time_:9.3f}" for time_ in times.values())
        + "".join(f"{ratio:9.2f}" for ratio in ratios.values())
        + ("" if None in epochs.values() else f"   {'/'.join(map(str, epochs.values()))}"),
        flush=True,
    )
    return {"data": name, **conditions, "seconds": times, "ratios": ratios, "epochs": epochs}


def print_environment():
    fn.show_config()
    print(f"{'scikit-learn':17}{sklearn.__version__}")
    for library in threadpool_info():
        if library["user_api"] == "blas":
            print(f"{'BLAS':17}{library['internal_api']} {library['version']}, {library.get('architecture')}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--json")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print_environment()
    print(f"\n{'seconds, and ratios of times':27}{'scikit-learn':>18}{'fastnn':>18}{'theirs / ours':>27}")
    print(
        f"{'':27}"
        + f"{'float64':>9}{'float32':>9}" * 2
        + "".join(f"{kind:>9}" for kind in RATIOS)
        + "   epochs"
    )
    rows = []
    for threads in arguments.threads:
        for name in arguments.data:
            load, epochs = DATA[name]
            with threadpool_limits(threads):
                rows.append(race(name, fits(*load(), epochs), arguments.rounds, threads=threads))
        print_means(rows, threads)
    searched = [race("grid search", searches(jobs), arguments.rounds, jobs=jobs) for jobs in (1, 2)]
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"environment": fn.config.environment(), "rows": rows + searched}, file, indent=1)


def print_means(rows, threads):
    own = [row["ratios"] for row in rows if row["threads"] == threads]
    means = [math.exp(np.mean([math.log(ratios[kind]) for ratios in own])) for kind in RATIOS]
    print(f"{'geometric mean':63}" + "".join(f"{mean:9.2f}" for mean in means))


if __name__ == "__main__":
    main()
