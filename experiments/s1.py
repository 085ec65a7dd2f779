"""S1: Deng and Lee, "CSC411 Assignment 2" (2018): softmax regression on MNIST, by plain gradient descent."""

import json
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

import fastnn as fn

TRAIN_COUNTS = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
TEST_COUNTS = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
RATES = (1e-7, 5e-7, 1e-6, 5e-6, 1e-5, 2e-5)  # the report names 5e-6 only


def mnist(p, split=0):
    """Return training, validation and test set, flat: int(0.8 n) of the n images of each digit train."""
    (x, y), (x_test, y_test) = fn.data.mnist(download=False)
    if p.images:
        x, y = fn.data.subset(x, y, n=p.images)
    training, validation = fn.data.stratified(x, y, 0.8, seed=split)
    return [(x.reshape(len(x), 784), y) for x, y in (training, validation, (x_test, y_test))]


def softmax_regression():
    """784-10 with weights 0 and biases 1."""
    return fn.Sequential(fn.Linear(784, 10, weight_init="zeros", bias_init="ones"))


SUM = fn.CrossEntropy(reduction="sum")


# Parts 1 to 3: the data, and the gradients


def train_data(p):
    (x, y), (_, y_test) = fn.data.mnist(download=False)
    rng = np.random.default_rng(0)
    chosen = np.concatenate([rng.permutation(np.flatnonzero(y == digit))[:10] for digit in range(10)])
    return {
        "train": np.bincount(y).tolist(),
        "test": np.bincount(y_test).tolist(),
        "x": x[chosen],
        "y": y[chosen],
    }


def show_data(result, report):
    for name, counts in (("train", TRAIN_COUNTS), ("test", TEST_COUNTS)):
        report.check(
            "S1-1", f"images of each digit, {name}", tuple(result[name]) == counts, f"{result[name]}"
        )
    draw = partial(fn.viz.save_classes, result["x"], result["y"])
    report.figure("S1-2", "figure-1", draw, "figure 1: images of each digit")


def train_gradients(p):
    errors, sums, outputs = [], [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        model = fn.Sequential(fn.Linear(5, 3, dtype="float64"))
        x, y = rng.normal(size=(6, 5)), rng.integers(3, size=6)
        logits = model.predict(x)
        w, b = model[0].weight.value, model[0].bias.value
        outputs.append(np.abs(logits - (x @ w + b)).max())
        fn.gradients(model, (x, y), loss=SUM)
        found = {name: param.grad for name, param in model.named_parameters()}
        differences = fn.naive.central_differences(model, (x, y), loss=SUM, step=1e-5)
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        formula = x.T @ (probabilities - np.eye(3)[y])
        errors.append([np.abs(found[name] - differences[name]).max() for name in found])
        errors[-1].append(np.abs(found["0.weight"] - formula).max())
        sums.append([np.abs(gradient.sum(axis=-1)).max() for gradient in found.values()])
    return {"errors": np.array(errors), "sums": np.array(sums), "outputs": float(max(outputs))}


def show_gradients(result, report):
    errors = result["errors"].max(axis=0)
    report.check("S1-3", "W x + b", result["outputs"] < 1e-12, f"largest difference {result['outputs']:.1e}")
    report.check("S1-4", "dC/dW = (P - Y) X^T", errors[2] < 1e-12, f"largest difference {errors[2]:.1e}")
    report.check(
        "S1-5", "central differences with h = 1e-5", errors[:2].max() < 1e-8, f"{errors[:2].max():.1e}"
    )
    report.check("S1-6", "both agree to 1e-8 on 20 random cases of 3 x 5", errors[:2].max() <= 1e-8)
    sums = float(result["sums"].max())
    report.check("S1-6", "dW and db of all classes sum to 0", sums < 1e-12, f"largest sum {sums:.1e}")


# Parts 4 and 5: gradient descent on all images at once


def descend(p, momentum, lr=5e-6, steps=None, split=0):
    """Update by all images until the weights stay still, and measure all three sets every `every` updates."""
    training, validation, test = mnist(p, split)
    model, history = softmax_regression(), fn.History()

    def measure(run):
        updates = run.epoch + 1
        if updates % p.every == 0:
            found = {}
            for name, data in (("train", training), ("valid", validation), ("test", test)):
                values = fn.evaluate(model, data, loss=SUM)
                found |= {f"{name}_cost": values["loss"], f"{name}_accuracy": values["accuracy"]}
            history.record(found, updates)

    fn.fit(
        *(model, training),
        loss=SUM,
        optimizer=fn.SGD(lr, momentum=momentum),
        batch_size=len(training[0]),
        micro_batch=512,
        shuffle=False,
        epochs=steps or p.steps,
        history=history,
        callbacks=[measure, fn.StopWhenStill(p.still)],
        watch=False,
        progress=False,
    )
    return model, history


def train_softmax(p):
    runs = [descend(p, p.momentum, split=split) for split in range(p.splits)]
    result = {"histories": [history for _, history in runs], "weights": runs[0][0][0].weight.value}
    if p.momentum == 0:
        curves = [f"{name}_{what}" for what in ("accuracy", "cost") for name in ("train", "valid")]
        found = [descend(p, 0.0, rate, p.search)[1] for rate in RATES]
        result["rates"] = [[history[curve][-1] for curve in curves] for history in found]
    return result


def show_ends(report, item, histories, expected):
    """Compare accuracy and cost of the three sets with (accuracy, cost) of the report."""
    tolerances = {"train": (0.004, 0.03), "valid": (0.008, 0.06), "test": (0.004, 0.03)}
    why = "which images the report held out is not known"
    for name, (accuracy, cost) in expected.items():
        atol, rtol = tolerances[name]
        accuracies = [history[f"{name}_accuracy"][-1] for history in histories]
        costs = [history[f"{name}_cost"][-1] for history in histories]
        report.expect(item, f"accuracy, {name}", accuracies, accuracy, atol, because=why)
        report.expect(item, f"cost, {name}", costs, cost, rtol=rtol, because=why)
    updates = [float(history.epochs_of("test_cost")[-1]) for history in histories]
    report.measured(item, "updates, at most 5,000 until the weights change by 1e-5", updates)


def draw_curves(report, item, histories, numbers):
    """Draw accuracy and cost over the updates, of the first split."""
    for number, what in zip(numbers, ("accuracy", "cost"), strict=True):
        names = [f"{name}_{what}" for name in ("train", "valid", "test")]
        history = histories[0]
        lines = {name.partition("_")[0]: (history.epochs_of(name), history[name]) for name in names}
        draw = partial(fn.viz.save_lines, lines, x_label="updates", y_label=what)
        report.figure(item, f"figure-{number}", draw, f"figure {number}: {what}, first split")


def updates_until(history, name, accuracy):
    """Return the first measured update at which the accuracy of a set is reached; infinity if none is."""
    curve = zip(history.epochs_of(f"{name}_accuracy"), history[f"{name}_accuracy"], strict=True)
    return min((update for update, value in curve if value >= accuracy), default=float("inf"))


def show_softmax(result, report):
    histories = result["histories"]
    parameters = sum(param.size for param in softmax_regression().parameters())
    report.expect("S1-7", "parameters", parameters, 7850, needs_data=False)
    expected = {"train": (0.927742, 12607.40), "valid": (0.918284, 3380.84), "test": (0.9221, 2727.79)}
    show_ends(report, "S1-8", histories, expected)
    passed = [updates_until(history, name, 0.9) for history in histories for name in ("train", "valid")]
    why = f"training and validation pass 90 % after {min(passed):g} to {max(passed):g} updates"
    report.claim("S1-9", "90 % at about 750 updates", 500 <= min(passed) <= max(passed) <= 1000, why)
    curve = dict(zip(histories[0].epochs_of("valid_accuracy"), histories[0]["valid_accuracy"], strict=True))
    gain = curve[max(curve)] - curve.get(1000, 0.0)
    report.claim("S1-9", "small gains after 1,000 updates", gain < 0.02, f"{gain:.4f} in the validation set")
    rates = np.array(result["rates"])
    for number, what, columns in ((2, "accuracy", rates[:, :2]), (3, "cost", rates[:, 2:])):
        lines = {name: (RATES, columns[:, i]) for i, name in enumerate(("train", "valid"))}
        options = {"x_label": "learning rate", "y_label": what, "log": (True, what == "cost")}
        draw = partial(fn.viz.save_lines, lines, **options)
        report.figure("S1-10", f"figure-{number}", draw, f"figure {number}: {what} by learning rate")
    draw_curves(report, "S1-10", histories, (4, 5))
    titles = [str(digit) for digit in range(10)]
    draw = partial(fn.viz.save_weights, result["weights"], image_shape=(28, 28), titles=titles, columns=5)
    report.figure("S1-10", "figure-6", draw, "figure 6: weights of each digit")


def show_momentum(result, report):
    expected = {"train": (0.938056, 10850.96), "valid": (0.919284, 3378.92), "test": (0.9243, 2727.16)}
    show_ends(report, "S1-11", result["histories"], expected)
    passed = [updates_until(history, "valid", 0.9) for history in result["histories"]]
    why = f"validation passes 90 % after {max(passed):g} updates, the report's plain descent after about 750"
    report.claim("S1-11", "faster convergence", max(passed) < 500, why)
    draw_curves(report, "S1-11", result["histories"], (7, 8))


# Part 6: the cost of two weights


# Two neighbours in the middle. The report does not name its weights: of four pairs that were tried, plain
# descent oscillates on two, of which this is one.
PIXELS = (14 * 28 + 14, 15 * 28 + 14)
DIGIT = 3
START = (1.5, -1.5)  # distance from the trained weights
PATHS = {"plain, 0.0026": (0.0026, 0.0), "momentum, 0.0034": (0.0034, 0.9), "momentum, 0.0026": (0.0026, 0.9)}


def train_surface(p):
    training, _, _ = mnist(p)
    model, _ = descend(p, 0.9)
    weight = model[0].weight
    trained = weight.value[PIXELS, DIGIT].astype(float)
    axis = np.linspace(-2.5, 2.5, p.grid)
    first, second = (("0.weight", (pixel, DIGIT)) for pixel in PIXELS)
    grid = (trained[0] + axis, trained[1] + axis)
    surface = fn.loss_surface(model, training, first, second, grid, loss=SUM, progress=False)
    paths = {}
    for name, (lr, momentum) in PATHS.items():
        at, speed = trained + START, np.zeros(2)
        points = [at]
        for _ in range(15):
            values = weight.value.copy()
            values[PIXELS, DIGIT] = at
            weight.value = values
            fn.gradients(model, training, loss=SUM)
            speed = momentum * speed + lr * weight.grad[PIXELS, DIGIT]
            at = at - speed
            points.append(at)
        paths[name] = np.array(points)
    return {"surface": surface, "grid": np.array(grid), "paths": paths}


def turns(path):
    """Mean cosine between successive steps: -1 for a path that goes back and forth, 1 for a straight one."""
    steps = np.diff(path, axis=0)
    lengths = np.maximum(np.linalg.norm(steps, axis=1), 1e-12)
    return float(((steps[1:] * steps[:-1]).sum(axis=1) / (lengths[1:] * lengths[:-1])).mean())


def show_surface(result, report):
    paths = result["paths"]
    plain, momentum, slow = (turns(path) for path in paths.values())
    why = (
        f"mean cosine between successive steps: {plain:.2f}, with momentum {momentum:.2f}, for these two "
        "weights; the report does not name its own, and of four pairs that were tried two do not oscillate"
    )
    report.claim("S1-12", "plain descent oscillates, momentum is smoother", plain < 0 < momentum, why)
    last, short = (np.linalg.norm(np.diff(paths[name], axis=0), axis=1).mean() for name in list(paths)[1:])
    why = f"mean distance of successive points {short:.2f} instead of {last:.2f}; cosine {slow:.2f}"
    report.claim("S1-12", "with momentum and 0.0026 the points are really close", short < last / 2, why)
    draw = partial(fn.viz.loss_surface, result["surface"], result["grid"], trajectories=paths)
    report.figure("S1-12", "figure-9", draw, "figure 9: cost of two weights in the middle, 15 steps each")


# Part 7: what backpropagation saves


def train_cost(p):
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "methods": ("differences", "aot"),
            "limit": p.limit,
            "rounds": p.rounds,
            "out": Path(folder),
        }
        fn.complexity.run(widths=p.widths, depths=p.depths, **options)
        return {"sweeps": json.loads((Path(folder) / "complexity.json").read_text("utf-8"))["sweeps"]}


def show_cost(result, report):
    by_width, by_depth = (
        next(sweep for sweep in result["sweeps"] if sweep["grows"] == grows) for grows in ("width", "depth")
    )
    names = {"differences": "central differences", "aot": "backpropagation"}
    for name, what in names.items():
        laws = by_width["laws"][name]
        for kind in ("time", "multiplications"):
            law = laws[kind]
            found = "too few widths" if law is None else f"K^{law['slope']:.2f}"
            report.measured("S1-13", f"{what}: {kind} of 4 layers of K units", found)
    times = {name: {} for name in names}
    for point in by_depth["points"]:
        times[point["method"]][point["depth"]] = float(np.median(point["seconds"]))
    common = sorted(times["differences"].keys() & times["aot"].keys())
    factors = [times["differences"][depth] / times["aot"][depth] for depth in common]
    at_four = factors[common.index(4)]
    why = f"{at_four:,.0f} times less at 4 layers of 8 units, {factors[-1]:,.0f} at {common[-1]}"
    report.claim(
        "S1-13", "backpropagation is significantly less expensive from 4 layers on", at_four > 2, why
    )
    lines = {
        name: (list(points), list(points.values()))
        for name, points in zip(names.values(), times.values(), strict=True)
    }
    draw = partial(fn.viz.save_lines, lines, x_label="layers of 8 units", y_label="seconds", log=(True, True))
    report.figure("S1-13", "cost", draw, "time of one gradient")


RECIPE = {"steps": 5000, "every": 100, "still": 1e-5, "images": 0}
QUICK = {"steps": 20, "every": 10, "images": 1000}


EXPERIMENTS = [
    fn.Experiment(
        id="s1.data",
        title="number of images of each digit, and some of them",
        items=("S1-1", "S1-2"),
        train=train_data,
        show=show_data,
        data=("mnist",),
        minutes=0.05,
        expected="60,000 and 10,000 images",
    ),
    fn.Experiment(
        id="s1.gradients",
        title="gradients of softmax regression, by the formula and by differences",
        items=("S1-3", "S1-4", "S1-5", "S1-6"),
        train=train_gradients,
        show=show_gradients,
        minutes=0.02,
        expected="8 equal digits",
    ),
    fn.Experiment(
        id="s1.part4",
        title="softmax regression by gradient descent",
        items=("S1-7", "S1-8", "S1-9", "S1-10"),
        train=train_softmax,
        show=show_softmax,
        full={**RECIPE, "momentum": 0.0, "splits": 3, "search": 300},
        quick={**QUICK, "splits": 2, "search": 10},
        data=("mnist",),
        minutes=10.0,
        expected="train .9277, valid .9183, test .9221",
    ),
    fn.Experiment(
        id="s1.part5",
        title="softmax regression with momentum 0.9",
        items=("S1-11",),
        train=train_softmax,
        show=show_momentum,
        full={**RECIPE, "momentum": 0.9, "splits": 3},
        quick={**QUICK, "splits": 2},
        data=("mnist",),
        minutes=9.0,
        expected="train .9381, valid .9193, test .9243",
    ),
    fn.Experiment(
        id="s1.part6",
        title="paths of gradient descent on the cost of two weights",
        items=("S1-12",),
        train=train_surface,
        show=show_surface,
        full={**RECIPE, "steps": 500, "every": 500, "grid": 21},
        quick={"steps": 20, "every": 20, "images": 1000, "grid": 7},
        data=("mnist",),
        minutes=1.0,
        expected="plain descent oscillates, momentum is smoother",
    ),
    fn.Experiment(
        id="s1.part7",
        title="time of one gradient by differences and by backpropagation",
        items=("S1-13",),
        train=train_cost,
        show=show_cost,
        full={"widths": (2, 4, 8, 16, 32), "depths": (2, 3, 4, 6, 8, 12, 16), "limit": 1.0, "rounds": 5},
        quick={"widths": (2, 4, 8), "depths": (2, 3, 4), "limit": 0.2, "rounds": 1},
        minutes=0.5,
        expected="O(K^N) weight by weight, O(K^3) by backpropagation",
        alone=True,
    ),
]
