"""S3: Highsmith, "EECS 8770 Project 1" (2019): a small convolutional net by hand, trained on few digits."""

import inspect
from functools import partial

import numpy as np

import fastnn as fn

ACTIVATIONS = {"tanh": fn.Tanh, "sigmoid": fn.Sigmoid, "relu": fn.ReLU, "none": fn.Identity}
RATES = (0.0, 0.0001, 0.001, 0.01, 0.1, 1.0)
# The settings of the report's runNetwork, with the parameters of `network` and `run_network` here.
SETTINGS = {"L": "filters", "I": "size", "R": "outputs", "lrA": "conv_rate", "lrW": "dense_rate"}
SETTINGS |= {"ACT": "activation", "Epochs": "epochs", "ORDER": "order", "TrialNum": "seed"}
START = fn.init.Uniform(-0.1, 0.1)  # the report says "Uniform", without a range


def network(filters, size, outputs, activation="tanh", conv_rate=1.0, dense_rate=1.0, identity=False):
    """Convolution and dense layer, both with the activation; the rates are factors on the learning rate."""
    kind = ACTIVATIONS[activation]
    places = (28 - size + 1) ** 2
    model = fn.Sequential(
        fn.Conv2d(1, filters, size, weight_init=START, bias_init=START),
        kind(),
        fn.Flatten(),
        fn.Linear(filters * places, outputs, weight_init=START, bias_init=START),
        kind(),
    )
    for layer, rate in ((model[0], conv_rate), (model[3], dense_rate)):
        for param in layer.parameters():
            param.lr_scale = rate
    if identity:
        model[3].weight.value = np.eye(filters * places, outputs)
        model[3].bias.value = np.zeros(outputs)
        model[3].trainable = False
    return model


def few_digits(digits=(3, 1), training=31, test=98, seed=0):
    """Return `training` and `test` images (N, 28, 28, 1) of the digits, as many of each as possible."""
    parts = []
    rng = np.random.default_rng(seed)
    for (x, y), count in zip(fn.data.mnist(download=False), (training, test), strict=True):
        rows = [rng.permutation(np.flatnonzero(y == digit)) for digit in digits]
        chosen = np.concatenate([row[: -(-count // len(digits))] for row in rows])[:count]
        x = x[chosen].reshape(-1, 28, 28, 1) / np.float32(255)
        labels = np.argmax(y[chosen][:, None] == np.array(digits), axis=1)
        parts.append((x, fn.data.one_hot(labels, len(digits))))
    return parts


def run_network(data, model, *, lr=0.001, epochs=100, order="random", seed=0):
    """Train one sample at a time on the squared error, as `runNetwork` of the report does."""
    training, test = data
    return fn.fit(
        model,
        training,
        validation=test,
        loss=fn.SquaredError(reduction="sum"),
        optimizer=fn.SGD(lr),
        order=order,
        batch_size=1,
        epochs=epochs,
        seed=seed,
        watch=False,
        on_nonfinite="stop",
        progress=False,
    )


def ends(histories, name):
    """The last value of a curve in each run; NaN for a run that diverged before it had one."""
    return [history[name][-1] if history.get(name) else float("nan") for history in histories]


# Features


def train_features(p):
    fn.manual_seed(0)
    data = few_digits(training=8, test=8)
    few = [array[:3].astype(np.float64) for array in data[0]]
    check = {}
    for activation in ACTIVATIONS:
        model = network(2, 7, 2, activation).to(np.float64)
        check[activation] = fn.gradcheck(model, few, loss=fn.SquaredError(reduction="sum"))
    frozen = network(2, 7, 2, conv_rate=0.0)
    before = frozen[0].weight.value
    run_network(data, frozen, epochs=2)
    affine = network(2, 7, 2, "none").to(np.float64)
    zero = affine.predict(np.zeros((1, 28, 28, 1)))
    basis = affine.predict(np.eye(784).reshape(784, 28, 28, 1)) - zero
    x = np.random.default_rng(0).normal(size=(5, 784))
    one_matrix = np.abs(affine.predict(x.reshape(5, 28, 28, 1)) - (x @ basis + zero)).max()
    flat = data[0][0].reshape(8, 784), data[0][1].argmax(axis=1)
    noticed = []
    for activation, scale in (("sigmoid", 0.01), ("identity", 10.0)):
        watch = fn.GradientWatch(silent=True)
        deep = fn.nets.mlp((784, *[32] * 6, 2), activation=activation, weight_init=fn.init.Normal(scale))
        options = {"optimizer": fn.SGD(0.01), "on_nonfinite": "stop", "callbacks": watch, "progress": False}
        history = fn.fit(deep, flat, batch_size=1, epochs=30, **options)
        noticed.append(history.stopped or ", ".join(watch.found))
    net = network(2, 7, 2)
    convolved, output = fn.features(net, few[0][:1], upto=0), net.predict(few[0][:1])
    return {
        "gradcheck": {name: float(error) for name, error in check.items()},
        "shape": list(convolved.shape[1:]),
        "tanh_at_the_end": bool(np.abs(output).max() < 1),
        "frozen": bool((frozen[0].weight.value == before).all()),
        "one_matrix": float(one_matrix),
        "noticed": noticed,
    }


def show_features(result, report):
    errors = result["gradcheck"]
    shape = tuple(result["shape"])
    report.check("S3-1", "filters of 7 x 7 give 22 x 22 outputs", shape == (22, 22, 2), f"{shape}")
    report.check("S3-1", "the output has the activation, too", result["tanh_at_the_end"])
    worst = max(errors.values())
    report.check("S3-2", "gradients of all four groups", worst < 1e-5, f"relative error {worst:.1e}")
    report.check("S3-3", "a learning rate of 0 freezes the convolution", result["frozen"])
    for name, error in errors.items():
        report.check("S3-4", f"gradients with {name}", error < 1e-5, f"relative error {error:.1e}")
    settings = {*inspect.signature(network).parameters, *inspect.signature(run_network).parameters}
    missing = ", ".join(set(SETTINGS.values()) - settings)
    report.check("S3-5", "a parameter for each setting of runNetwork", not missing, missing)
    for sizes, count in {(2, 28, 2): 1576, (16, 7, 10): 78250, (10, 28, 10): 7960}.items():
        found = sum(param.size for param in network(*sizes).parameters())
        what = "parameters of {} filters of size {} and {} outputs".format(*sizes)
        report.expect("S3-6", what, found, count, needs_data=False)
    kept = {"timelines.csv", "training.npz"} - {path.name for path in report.folder.iterdir()}
    report.check("S3-7", "timelines and filters are kept", not kept, ", ".join(kept))
    small, large = result["noticed"]
    report.check("S3-15", "vanishing gradients are noticed", "vanished" in small, small)
    report.check("S3-15", "exploding values are noticed", "loss is" in large, large)
    why = f"difference {result['one_matrix']:.1e}"
    report.check("S3-16", "without activations the net is one matrix", result["one_matrix"] < 1e-12, why)


# Orders, activations and learning rates: two filters of 28 x 28, digits 3 and 1


def trials(p, variations):
    """Train each variation with several starts: histories and filters of all starts, by name."""
    found = {"histories": {}, "filters": {}}
    data = few_digits()
    for name, (options, training) in variations.items():
        histories, found["filters"][name] = [], []
        for seed in range(p.trials):
            fn.manual_seed(seed)
            model = network(2, 28, 2, **options)
            histories.append(run_network(data, model, epochs=p.epochs, seed=seed, **training))
            found["filters"][name].append(model[0].weight.value)
        found["histories"][name] = histories
    return found


def show_trials(item, result, report):
    """Measure each variation and draw its curves and filters."""
    histories = result["histories"]
    for name, runs in histories.items():
        report.measured(item, f"{name}: training loss", ends(runs, "loss"))
        report.measured(item, f"{name}: test accuracy", ends(runs, "val_accuracy"))
    for curve in ("loss", "val_loss", "val_accuracy"):
        drawn = {name: runs for name, runs in histories.items() if all(run.get(curve) for run in runs)}
        report.figure(
            item,
            curve.replace("_", "-"),
            partial(fn.viz.save_bands, drawn, name=curve),
            f"{curve.replace('val_', 'test ')} of each variation",
        )
    for name, filters in result["filters"].items():
        label = "filters-" + name.replace(" ", "-")
        draw = partial(fn.viz.save_filters, np.concatenate(filters, axis=-1), columns=2)
        report.figure(item, label, draw, f"the two filters of each start, {name}")


def best(result, curve, smallest):
    """The variation with the best mean of the last values."""
    means = {name: np.nanmean(ends(runs, curve)) for name, runs in result["histories"].items()}
    return (min if smallest else max)(means, key=lambda name: means[name]), means


def train_orders(p):
    return trials(p, {order: ({}, {"order": order}) for order in ("random", "fixed", "alternate")})


def show_orders(result, report):
    show_trials("S3-8", result, report)
    _, losses = best(result, "loss", True)
    worst = max(losses, key=lambda name: losses[name])
    why = f"worst: {worst}, {losses[worst]:.4f}"
    report.claim("S3-8", "the fixed order has the worst training loss", worst == "fixed", why)
    name, accuracies = best(result, "val_accuracy", False)
    why = f"best: {name}, {accuracies[name]:.3f}; fixed: {accuracies['fixed']:.3f}"
    report.claim("S3-8", "the fixed order has the best test accuracy", name == "fixed", why)
    epochs = {name: epochs_to_90(runs) for name, runs in result["histories"].items()}
    slowest = epochs["fixed"] > max(epochs["random"], epochs["alternate"])
    report.claim("S3-8", "the fixed order trains slowest", slowest, f"epochs to 90 % of the way: {epochs}")
    name, tested = best(result, "val_loss", True)
    why = f"fixed: {tested['fixed']:.4f}; best: {name}, {tested[name]:.4f}"
    close = bool(tested["fixed"] < 1.1 * tested[name])
    report.claim("S3-8", "its test loss is comparable: within 10 %", close, why)


def epochs_to_90(runs):
    """Return after how many epochs the mean training loss has made 90 % of its way."""
    curve = np.mean([run["loss"] for run in runs], axis=0)
    return int(np.argmax(curve <= curve[0] - 0.9 * (curve[0] - curve.min()))) + 1


def train_activations(p):
    return trials(p, {name: ({"activation": name}, {}) for name in ACTIVATIONS})


def show_activations(result, report):
    show_trials("S3-9", result, report)
    epochs = {name: epochs_to_90(runs) for name, runs in result["histories"].items()}
    is_first = epochs["sigmoid"] < min(epochs[name] for name in epochs if name != "sigmoid")
    report.claim("S3-9", "sigmoid converges quickest", is_first, f"epochs to 90 % of the way: {epochs}")
    name, accuracies = best(result, "val_accuracy", False)
    gap = accuracies[name] - accuracies["relu"]
    close = bool(gap < 0.03)
    report.claim("S3-9", "ReLU reaches a comparable test accuracy", close, f"{gap:.3f} below the best")
    _, losses = best(result, "loss", True)
    worst = max(losses, key=lambda name: losses[name])
    why = f"highest training loss: {worst}"
    report.claim("S3-9", "no activation has less capacity", worst == "none", why)


def train_rates(p):
    data = few_digits()
    found = {"table": [], "filters": {}, "histories": {}}
    for conv_rate in RATES:
        for dense_rate in RATES:
            runs = []
            for seed in range(p.trials):
                fn.manual_seed(seed)
                model = network(2, 28, 2, conv_rate=conv_rate, dense_rate=dense_rate)
                runs.append(run_network(data, model, lr=1.0, epochs=p.epochs, seed=seed))
                if seed == 0 and conv_rate == dense_rate and conv_rate in RATES[1:5]:
                    found["filters"][f"{conv_rate:g}"] = model[0].weight.value
            if conv_rate == dense_rate and conv_rate in RATES[1:5]:
                found["histories"][f"{conv_rate:g}"] = runs
            accuracy, loss = (float(np.nanmean(ends(runs, name))) for name in ("val_accuracy", "loss"))
            found["table"].append([conv_rate, dense_rate, accuracy, loss])
    return found


def show_rates(result, report):
    table = result["table"]
    conv_rate, dense_rate, accuracy, _ = max(
        table, key=lambda row: (np.nan_to_num(row[2]), -np.nan_to_num(row[3], nan=1e9))
    )
    report.expect("S3-10", "runs for each start", len(table), 36, needs_data=False)
    report.measured("S3-10", "best test accuracy", accuracy)
    why = f"convolution {conv_rate:g}, dense layer {dense_rate:g}"
    report.claim("S3-10", "best: a faster dense layer, a slower convolution", conv_rate < dense_rate, why)
    lines = {
        f"convolution {rate:g}": (RATES[1:], [row[2] for row in table if row[0] == rate and row[1] > 0])
        for rate in RATES
    }
    labels = {"x_label": "learning rate of the dense layer", "y_label": "test accuracy", "log": (True, False)}
    report.figure("S3-10", "rates", partial(fn.viz.save_lines, lines, **labels), "test accuracy of 36 pairs")
    histories = result["histories"]
    draw = partial(fn.viz.save_bands, histories, name="loss", log=True)
    report.figure("S3-10", "loss", draw, "training loss at four rates of both layers")
    epochs = {rate: epochs_to_90(runs) for rate, runs in histories.items() if all(map(is_whole, runs))}
    faster = list(epochs.values()) == sorted(epochs.values(), reverse=True)
    report.claim("S3-10", "larger rates converge faster", faster, f"epochs to 90 % of the way: {epochs}")
    rises = {rate: float(np.mean([largest_rise(run) for run in runs])) for rate, runs in histories.items()}
    why = ", ".join(f"{rise:.2g} at {rate}" for rate, rise in rises.items())
    why = f"largest rise of the training loss between two epochs of the second half: {why}"
    report.claim("S3-10", "large rates become erratic", rises["0.1"] > 10 * rises["0.001"], why)
    for curve, what in (("loss", "training"), ("val_loss", "test")):
        rate, losses = best(result, curve, True)
        why = ", ".join(f"{loss:.4f} at {rate}" for rate, loss in losses.items())
        report.claim("S3-10", f"slow rates end with the lowest {what} loss", rate in ("0.0001", "0.001"), why)
    for rate, filters in result["filters"].items():
        if np.isfinite(filters).all():
            name = f"filters-{rate.replace('.', '-')}"
            report.figure("S3-10", name, partial(fn.viz.save_filters, filters), f"filters at rate {rate}")


def is_whole(run):
    """Whether a run has not diverged."""
    return run.stopped is None


def largest_rise(run):
    """Return the largest rise of the training loss between two epochs of the second half."""
    losses = run.get("loss", [])
    return float(np.diff(losses[len(losses) // 2 :]).max(initial=0)) if is_whole(run) else np.inf


# Frozen layers


def train_frozen(p):
    variations = {
        "frozen convolution": ({"conv_rate": 0.0}, {}),
        "frozen identity": ({"identity": True}, {}),
        "nothing frozen": ({}, {}),
    }
    found = trials(p, variations)
    x, y = few_digits()[0]
    found["means"] = np.stack([x[y[:, digit] == 1].mean(axis=0).ravel() for digit in range(2)])
    return found


def show_frozen(result, report):
    show_trials("S3-11", result, report)
    _, accuracies = best(result, "val_accuracy", False)
    frozen, free, means = accuracies["frozen convolution"], accuracies["nothing frozen"], result["means"]
    losses = np.mean([run["loss"] for run in result["histories"]["frozen convolution"]], axis=0)
    why = f"from {losses[0]:.4f} to {losses[-1]:.4f}"
    report.claim("S3-11", "the training loss falls all the same", bool(losses[-1] < losses[0]), why)
    why = f"test accuracy {frozen:.3f}, {free:.3f} with nothing frozen"
    report.claim("S3-11", "frozen filters do not generalize", bool(frozen < free - 0.03), why)
    fn.manual_seed(0)
    still = np.array_equal(network(2, 28, 2)[0].weight.value, result["filters"]["frozen convolution"][0])
    report.check("S3-11", "frozen filters stay as they were at the start", still)
    pairs = [filters.reshape(784, 2).T for filters in result["filters"]["frozen identity"]]
    digits = [np.corrcoef(each, mean)[0, 1] for pair in pairs for each, mean in zip(pair, means, strict=True)]
    why = f"mean correlation with the mean image of its digit {np.mean(digits):.2f}"
    effective = bool(np.mean(digits) > 0.3)
    report.claim(
        "S3-12", "a frozen identity does not make filters look like their digits", not effective, why
    )
    alike = float(np.mean([np.corrcoef(pair)[0, 1] for pair in pairs]))
    why = f"mean correlation of the starts {alike:.2f}"
    report.claim("S3-12", "its two filters look alike", alike > 0.5, why)
    pairs = [filters.reshape(784, 2).T for filters in result["filters"]["nothing frozen"]]
    three_less_one = means[0] - means[1]
    overlaid = [abs(np.corrcoef(each, three_less_one)[0, 1]) for pair in pairs for each in pair]
    why = f"mean correlation with the difference of the mean images {np.mean(overlaid):.2f}"
    report.claim("S3-12", "filters show 3 overlaid with 1", bool(np.mean(overlaid) > 0.3), why)


def experiment(id, title, items, minutes, expected, train, show, full, quick):
    return fn.Experiment(
        **{"id": id, "title": title, "items": items, "minutes": minutes, "expected": expected},
        **{"train": train, "show": show, "full": full, "quick": quick, "data": ("mnist",)},
    )


FEATURES = tuple(f"S3-{number}" for number in (1, 2, 3, 4, 5, 6, 7, 15, 16))
EXPERIMENTS = [
    experiment(
        *(
            "s3.features",
            "gradients, rates, activations, parameters",
            FEATURES,
            0.1,
            "1,576 and 78,250 parameters",
        ),
        *(train_features, show_features, {}, {}),
    ),
    experiment(
        *("s3.orders", "order of the samples", ("S3-8",), 0.3, "fixed: worst loss, best test accuracy"),
        *(train_orders, show_orders, {"trials": 4, "epochs": 100}, {"trials": 2, "epochs": 5}),
    ),
    experiment(
        *("s3.activations", "four activations", ("S3-9",), 0.3, "sigmoid converges quickest"),
        *(train_activations, show_activations, {"trials": 3, "epochs": 100}, {"trials": 2, "epochs": 5}),
    ),
    experiment(
        *("s3.rates", "36 pairs of learning rates", ("S3-10",), 1.0, "dense layer faster than convolution"),
        *(train_rates, show_rates, {"trials": 3, "epochs": 200}, {"trials": 1, "epochs": 2}),
    ),
    experiment(
        *("s3.frozen", "frozen layers", ("S3-11", "S3-12"), 0.5, "neither generalizes"),
        *(train_frozen, show_frozen, {"trials": 3, "epochs": 200}, {"trials": 2, "epochs": 3}),
    ),
]
