"""Print a table for the choice of the default optimizer: test accuracy after 5 and 20 epochs.

>>> python bench/default_optimizer.py

Ten data sets, batches of 32, the mean of three seeds. Features are standardised except where the name says
"raw"; images are bytes. Regression reports R^2 in place of the accuracy. Accuracies are what matters here,
not times, so the machine need not be idle.
"""

import gzip
import os
import sys
from pathlib import Path

import numpy as np

import fastnn as fn
from fastnn.training.trainer import NonFiniteError

OPTIMIZERS = {
    "SGD(0.01)": lambda: fn.SGD(0.01),
    "SGD(0.1)": lambda: fn.SGD(0.1),
    "SGD(0.01, momentum=0.9)": lambda: fn.SGD(0.01, momentum=0.9),
    "SGD(0.1, momentum=0.9)": lambda: fn.SGD(0.1, momentum=0.9),
    "Adam(0.001)": lambda: fn.Adam(0.001),
    "Adam(0.003)": lambda: fn.Adam(0.003),
    "RMSprop(0.001)": lambda: fn.RMSprop(0.001),
}
EPOCHS, SEEDS = (5, 20), (0, 1, 2)


def dense(inputs, outputs):
    """The net of a first tutorial."""
    return fn.Sequential(fn.Flatten(), fn.Linear(inputs, 64), fn.ReLU(), fn.Linear(64, outputs))


def deep(inputs, outputs):
    """Five hidden layers."""
    hidden = [layer for _ in range(4) for layer in (fn.Linear(128, 128), fn.ReLU())]
    return fn.Sequential(fn.Flatten(), fn.Linear(inputs, 128), fn.ReLU(), *hidden, fn.Linear(128, outputs))


def convolutional(side, channels):
    """Two convolutions with batch norm and pooling."""
    return fn.Sequential(
        *(fn.Conv2d(channels, 16, 3, padding=1), fn.BatchNorm2d(16), fn.ReLU(), fn.MaxPool2d(2)),
        *(fn.Conv2d(16, 32, 3, padding=1), fn.BatchNorm2d(32), fn.ReLU(), fn.MaxPool2d(2)),
        *(fn.Flatten(), fn.Linear(32 * (side // 4) ** 2, 10)),
    )


def halves(x, y, *, standardise=True, train=0.7):
    """Split at random into training and test set; standardise by the training set."""
    order = np.random.default_rng(0).permutation(len(x))
    x, y, cut = np.asarray(x, np.float64)[order], np.asarray(y)[order], int(train * len(x))
    if standardise:
        x = (x - x[:cut].mean(0)) / (x[:cut].std(0) + 1e-12)
    return (x[:cut], y[:cut]), (x[cut:], y[cut:])


def table(load, **options):
    """A table of scikit-learn."""
    from sklearn import datasets

    return halves(*getattr(datasets, load)(return_X_y=True), **options)


def diabetes():
    """Regression: the target is standardised, too."""
    (x, y), (x_test, y_test) = table("load_diabetes")
    return (x, (y - y.mean()) / y.std()), (x_test, (y_test - y.mean()) / y.std())


def covertype_like():
    """10,000 samples of 54 features in 7 classes, of several clusters each."""
    from sklearn.datasets import make_classification

    return halves(*make_classification(10_000, 54, n_informative=12, n_classes=7, random_state=0))


def spirals():
    """Three spirals in the plane, 1,500 points."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=1500)
    radius = rng.random(1500)
    angle = 2 * np.pi * (radius + y / 3) + 0.1 * rng.standard_normal(1500)
    return halves(np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), y)


def mnist():
    """The first 5,000 training and 2,000 test images."""
    (x, y), (x_test, y_test) = fn.data.mnist(download=False)
    return (x[:5000, ..., None], y[:5000]), (x_test[:2000, ..., None], y_test[:2000])


def cifar10():
    """The first 4,000 images of the first batch, and the first 1,000 test images."""
    folder = Path(os.environ["FASTNN_DATA"], "cifar10")
    parts = []
    for name, count in (("data_batch_1.bin.gz", 4000), ("test_batch_first1000.bin.gz", 1000)):
        rows = np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8).reshape(-1, 3073)[
            :count
        ]
        images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        parts.append((np.ascontiguousarray(images), rows[:, 0].astype(np.int64)))
    return parts


def faces():
    """40 people, 10 pictures each, 7 to train on; every fourth pixel of every fourth row."""
    from PIL import Image

    folder = Path(os.environ["FASTNN_DATA"], "att_faces")
    files = [(person, folder / f"s{person + 1}" / f"{n}.pgm") for person in range(40) for n in range(1, 11)]
    x = np.stack([np.asarray(Image.open(file))[::4, ::4] for _, file in files])
    y = np.array([person for person, _ in files])
    train = np.arange(400) % 10 < 7
    return (x[train], y[train]), (x[~train], y[~train])


TASKS = {
    "iris": (lambda: table("load_iris"), lambda: dense(4, 3)),
    "wine": (lambda: table("load_wine"), lambda: dense(13, 3)),
    "wine, raw": (lambda: table("load_wine", standardise=False), lambda: dense(13, 3)),
    "breast cancer": (lambda: table("load_breast_cancer"), lambda: dense(30, 2)),
    "diabetes (R^2)": (diabetes, lambda: dense(10, 1)),
    "digits": (fn.data.digits, lambda: dense(64, 10)),
    "spirals": (spirals, lambda: dense(2, 3)),
    "synthetic, 7 classes": (covertype_like, lambda: dense(54, 7)),
    "faces": (faces, lambda: dense(28 * 23, 40)),
    "MNIST, dense": (mnist, lambda: dense(784, 10)),
    "digits, 5 hidden layers": (fn.data.digits, lambda: deep(64, 10)),
    "MNIST, 5 hidden layers": (mnist, lambda: deep(784, 10)),
    "MNIST, conv": (mnist, lambda: convolutional(28, 1)),
    "CIFAR-10, conv": (cifar10, lambda: convolutional(32, 3)),
}


def scores(data, model, optimizer, seed):
    """The accuracy, or R^2, on the test set after each of EPOCHS."""
    train, (x_test, y_test) = data
    regression = np.asarray(y_test).dtype.kind == "f"
    loss = "squared_error" if regression else "cross_entropy"
    fn.manual_seed(seed)
    net, made, found, before = model(), optimizer(), [], 0
    try:
        for epochs in EPOCHS:
            fn.fit(
                net, train, loss=loss, optimizer=made, epochs=epochs - before, seed=seed + before, watch=False
            )
            before = epochs
            outputs = net.predict(x_test)
            if regression:
                found.append(1 - float(((outputs[:, 0] - y_test) ** 2).mean() / y_test.var()))
            else:
                found.append(float((outputs.argmax(1) == y_test).mean()))
    except NonFiniteError:
        found += [np.nan] * (len(EPOCHS) - len(found))
    return found


def main():
    chosen = sys.argv[1:] or list(TASKS)
    print("| data set | " + " | ".join(OPTIMIZERS) + " |")
    print("|---|" + "---|" * len(OPTIMIZERS))
    all_scores = []
    for name in chosen:
        load, model = TASKS[name]
        data = load()
        means = []
        for make in OPTIMIZERS.values():
            means.append(np.mean([scores(data, model, make, seed) for seed in SEEDS], axis=0))
        all_scores.append(means)
        cells = (" / ".join(f"{value:.3f}" for value in mean) for mean in means)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    mean = np.nan_to_num(np.array(all_scores)).mean(axis=0)
    print("| **mean** | " + " | ".join(" / ".join(f"{v:.3f}" for v in row) for row in mean) + " |")


if __name__ == "__main__":
    main()
