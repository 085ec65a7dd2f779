"""S3: Highsmith, "EECS 8770 Project 1" (2019): nets for all ten digits, one trained on all of MNIST."""

import time
from functools import partial

import numpy as np

import fastnn as fn


def network(filters, size, start):
    """Convolution and dense layer with ten outputs, both with tanh; the weights start in [-start, start].

    The report says "Uniform", without a range.
    """
    uniform = fn.init.Uniform(-start, start)
    options = {"weight_init": uniform, "bias_init": uniform}
    return fn.Sequential(
        *(fn.Conv2d(1, filters, size, **options), fn.Tanh(), fn.Flatten()),
        *(fn.Linear(filters * (29 - size) ** 2, 10, **options), fn.Tanh()),
    )


def mnist(samples, tests):
    """Return training and test images of MNIST (N, 28, 28, 1), with one-hot labels."""
    return [
        (x[:count].reshape(-1, 28, 28, 1) / np.float32(255), fn.data.one_hot(y[:count], 10))
        for (x, y), count in zip(fn.data.mnist(download=False), (samples, tests), strict=True)
    ]


def train(model, training, test, *, lr, epochs, seed):
    """Train one sample at a time on the squared error; return the history."""
    return fn.fit(
        *(model, training),
        validation=test,
        loss=fn.SquaredError(reduction="sum"),
        optimizer=fn.SGD(lr),
        batch_size=1,
        epochs=epochs,
        seed=seed,
        watch=False,
        progress=False,
    )


# A frozen identity as the dense layer: each of ten filters of 28 x 28 has a digit of its own


def train_ten(p):
    training, test = mnist(p.samples, p.samples)
    result = {"accuracies": [], "filters": []}
    for seed in range(p.seeds):
        fn.manual_seed(seed)
        model = network(10, 28, 0.1)
        model[3].weight.value, model[3].bias.value = np.eye(10), np.zeros(10)
        model[3].trainable = False
        history = train(model, training, test, lr=0.001, epochs=p.epochs, seed=seed)
        result["accuracies"].append(history["val_accuracy"][-1])
        result["filters"].append(model[0].weight.value)
    x, y = training
    result["means"] = np.stack([x[y[:, digit] == 1].mean(axis=0).ravel() for digit in range(10)])
    return result


def show_ten(result, report):
    report.measured("S3-13", "test accuracy", result["accuracies"])
    alike = []
    for number, filters in enumerate(result["filters"]):
        draw = partial(fn.viz.save_filters, filters, columns=5)
        report.figure("S3-13", f"filters-{number + 1}", draw, f"ten filters, start {number + 1}")
        pairs = zip(filters.reshape(784, 10).T, result["means"], strict=True)
        alike.append([np.corrcoef(*pair)[0, 1] for pair in pairs])
    alike = np.mean(alike, axis=0)
    why = "correlation with the mean image of each digit: " + ", ".join(f"{value:.2f}" for value in alike)
    report.claim("S3-13", "most filters look like noise: below 0.3", bool((alike < 0.3).sum() > 5), why)
    seen = bool((alike[[2, 3, 8, 9]] > 0.3).all())
    report.claim("S3-13", "2, 3, 8 and 9 begin to look like digits", seen, why)


# Experiment 3, which the report did not finish


def train_full(p):
    training, test = mnist(p.samples, p.tests)
    result = {"histories": [], "seconds": []}
    for seed in range(p.seeds):
        fn.manual_seed(seed)
        # From [-0.1, 0.1] the 7,744 inputs of each output saturate its tanh: 0.85 after three epochs.
        model = network(16, 7, 0.01)
        start = time.perf_counter()
        history = train(model, training, test, lr=0.001, epochs=p.epochs, seed=seed)
        result["seconds"].append(time.perf_counter() - start)
        result["updates"] = len(history.updates["loss"])
        history.updates["loss"] = []  # 360,000; the curves have a value per epoch
        result["histories"].append(history)
    return result | {"filters": model[0].weight.value} | one_pass(model, training[0][:1])


def one_pass(model, image):
    """Seconds of the convolution of one image by loops in Python, and by im2col in NumPy."""
    filters, bias, pixels = model[0].weight.value[:, :, 0], model[0].bias.value, image[0, :, :, 0]
    start = time.perf_counter()
    looped = np.zeros((22, 22, 16))
    for m, n, number in np.ndindex(22, 22, 16):
        total = bias[number]
        for i in range(7):
            for j in range(7):
                total += filters[i, j, number] * pixels[m + i, n + j]
        looped[m, n, number] = total
    loops = time.perf_counter() - start
    times = []
    for _ in range(20):
        start = time.perf_counter()
        columns = np.lib.stride_tricks.sliding_window_view(pixels, (7, 7)).reshape(484, 49)
        products = columns @ filters.reshape(49, 16) + bias
        times.append(time.perf_counter() - start)
    error = float(np.abs(products.reshape(22, 22, 16) - looped).max())
    return {"loops": loops, "im2col": min(times), "difference": error}


def show_full(result, report):
    histories, updates = result["histories"], result["updates"]
    report.measured("S3-14", "test accuracy", [history["val_accuracy"][-1] for history in histories])
    report.measured("S3-14", "seconds of the training", result["seconds"])
    report.measured("S3-14", "seconds of one convolution by loops in Python", result["loops"])
    report.measured("S3-14", "seconds of one convolution by im2col in NumPy", result["im2col"])
    report.check("S3-14", "loops and im2col agree", result["difference"] < 1e-4)
    # The gradient of the filters has as many products as the convolution itself.
    hours, by_im2col = (2 * result[name] * updates / 3600 for name in ("loops", "im2col"))
    report.measured("S3-14", "hours of a training by loops, of the convolution alone", hours)
    report.measured("S3-14", "hours of a training by im2col, of the convolution alone", by_im2col)
    seconds = np.mean(result["seconds"])
    why = f"two passes for each of {updates:,} updates: {hours:.1f} hours; here {seconds:.0f} s in all"
    report.claim("S3-14", "training by loops takes forever", bool(hours > 1), why)
    groups = {"test": histories}
    report.figure("S3-14", "accuracy", partial(fn.viz.save_bands, groups), "accuracy, 16 filters of 7 x 7")
    report.figure("S3-14", "filters", partial(fn.viz.save_filters, result["filters"]), "the 16 filters")


EXPERIMENTS = [
    fn.Experiment(
        id="s3.ten",
        title="ten filters of 28 x 28, a frozen identity as the dense layer",
        items=("S3-13",),
        train=train_ten,
        show=show_ten,
        full={"samples": 10000, "epochs": 5, "seeds": 3},
        quick={"samples": 200, "epochs": 1, "seeds": 2},
        data=("mnist",),
        minutes=0.3,
        expected="most look like noise; 2, 3, 8, 9 begin to look like digits",
    ),
    fn.Experiment(
        id="s3.full",
        title="16 filters of 7 x 7 on all of MNIST",
        items=("S3-14",),
        train=train_full,
        show=show_full,
        full={"samples": 60000, "tests": 10000, "epochs": 6, "seeds": 3},
        quick={"samples": 300, "tests": 100, "epochs": 1, "seeds": 2},
        data=("mnist",),
        minutes=1.5,
        expected="never finished",
    ),
]
