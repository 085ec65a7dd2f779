"""S4: Hung, "5LSH0 Final Project 1" (TU/e 2023): an MLP by hand and a CNN."""

import itertools
from functools import partial

import numpy as np

import fastnn as fn

LAYERS = (784, 128, 64, 32, 10)


def mlp(seed):
    """784-128-64-32-10 with ReLU, weights from N(0, 0.01^2) and zero biases; the loss has the softmax."""
    fn.manual_seed(seed)
    layers = []
    for inputs, outputs in itertools.pairwise(LAYERS):
        layers += [fn.Linear(inputs, outputs, weight_init=fn.init.Normal(0.01), bias_init="zeros"), fn.ReLU()]
    return fn.Sequential(*layers[:-1])


def mnist(p):
    """Return training and test set, flat; pixels are bytes, which fastnn scales by 1/255."""
    (x, y), (x_test, y_test) = fn.data.mnist(download=False)
    x, y, x_test, y_test = x[: p.samples], y[: p.samples], x_test[: p.tests], y_test[: p.tests]
    return (x.reshape(-1, 784), y), (x_test.reshape(-1, 784), y_test)


# The MLP: tables and figure 1


def train_mlp(p):
    if p.as_written:
        return train_as_written(p)
    training, test = mnist(p)
    histories = []
    for seed in range(p.seeds):
        model = mlp(seed)
        histories.append(
            fn.fit(
                model,
                training,
                validation=test,
                optimizer=fn.SGD(0.01),
                batch_size=32,
                epochs=p.epochs,
                seed=seed,
                progress=False,
            )
        )
    together = [np.concatenate([a, b]) for a, b in zip(training, test, strict=True)]
    chosen = np.random.default_rng(0).permutation(len(together[0]))[:42000]
    overlapping = fn.evaluate(model, (together[0][chosen], together[1][chosen]))["accuracy"]
    sizes = {"weights": 0, "biases": 0}
    for param in model.parameters():
        sizes["weights" if param.value.ndim == 2 else "biases"] += param.size
    return {"histories": histories, "overlapping": overlapping, **sizes}


def train_as_written(p):
    """Listing 3 in NumPy: gradients divided by the width of a layer, one number for all its biases."""
    (x, y), (x_test, y_test) = mnist(p)
    result = {}
    for pixels, factor in (("0 to 255", 1.0), ("0 to 1", 1 / 255)):
        scaled = x * np.float32(factor), x_test * np.float32(factor)
        result[pixels] = [run_as_written(p, scaled, (y, y_test), seed) for seed in range(p.seeds)]
    return {"as_written": result}


def run_as_written(p, images, labels, seed):
    """Train as the listing does; the history has the mean cross-entropy of an image."""
    rng = np.random.default_rng(seed)
    weights = [0.01 * rng.normal(size=(m, n)) for n, m in itertools.pairwise(LAYERS)]
    biases = [np.zeros((m, 1)) for m in LAYERS[1:]]
    (x, x_test), (y, y_test) = images, labels
    history = fn.History()
    for epoch in range(p.epochs):
        order = rng.permutation(len(x))
        total = 0.0
        for start in range(0, len(x), 32):
            rows = order[start : start + 32]
            total += written_step(weights, biases, x[rows].T, np.eye(10)[y[rows]].T)
        values = {"loss": 10 * total / len(x)}  # the listing divides by the 10 classes
        if epoch % p.every == p.every - 1:
            values["accuracy"] = written_accuracy(weights, biases, x, y)
            values["val_accuracy"] = written_accuracy(weights, biases, x_test, y_test)
        history.record(values, epoch + 1)
    return history


def written_outputs(weights, biases, x):
    """Return the activations of all layers; the last ones are probabilities."""
    activations = [x]
    for number, (w, b) in enumerate(zip(weights, biases, strict=True)):
        z = w @ activations[-1] + b
        if number < len(weights) - 1:
            activations.append(np.maximum(z, 0))
        else:
            exponentials = np.exp(z - z.max(axis=0))
            activations.append(exponentials / exponentials.sum(axis=0))
    return activations


def written_step(weights, biases, x, y):
    """Make one update as the listing does, and return its loss."""
    activations = written_outputs(weights, biases, x)
    output = activations[-1]
    dz = output * (1 - y / (output + 1e-8))
    for layer in reversed(range(len(weights))):
        width = len(weights[layer])
        dw, db = dz @ activations[layer].T / width, dz.sum() / width
        below = weights[layer].T @ dz
        weights[layer] -= 0.01 * dw
        biases[layer] -= 0.01 * db
        dz = below * (activations[layer] > 0)
    return float(-(y * np.log(output + 1e-8)).sum() / len(y))


def written_accuracy(weights, biases, x, y):
    blocks = range(0, len(x), 5000)
    right = [written_outputs(weights, biases, x[at : at + 5000].T)[-1].argmax(axis=0) for at in blocks]
    return float((np.concatenate(right) == y).mean())


def show_mlp(result, report):
    if "as_written" in result:
        show_as_written(result["as_written"], report)
        return
    histories = result["histories"]
    report.expect("S4-6", "weights", result["weights"], 110912, needs_data=False)
    report.expect("S4-6", "biases", result["biases"], 234, needs_data=False)
    report.measured("S4-4", "accuracy on 42,000 of all 70,000 images", result["overlapping"])
    log = histories[0]
    recorded = len(log["loss"]) == len(log["accuracy"]) == len(log["val_accuracy"])
    report.check("S4-1", "loss and both accuracies of each epoch", recorded)
    model = mlp(0)
    kinds = [type(layer).__name__ for layer in model]
    report.check("S4-2", "784-128-64-32-10 with ReLU", kinds == ["Linear", "ReLU"] * 3 + ["Linear"])
    deviation = float(model[0].weight.value.std())
    report.expect("S4-2", "standard deviation of the first weights", deviation, 0.01, 1e-4, needs_data=False)
    show_accuracies(histories, report)


def show_accuracies(histories, report):
    """Compare with the 99.6 % and 97.1 % of the report, and draw figure 1."""
    train = [history["accuracy"][-1] for history in histories]
    test = [history["val_accuracy"][-1] for history in histories]
    report.expect("S4-3", "training accuracy", train, 0.996, 0.004)
    why = "tested on the 10,000 test images; the report's 42,000 overlap the training set"
    report.expect("S4-3", "test accuracy", test, 0.971, 0.005, because=why)
    groups = {"training": histories}
    report.figure("S4-3", "figure-1a", partial(fn.viz.save_bands, groups, name="loss"), "figure 1 (a): loss")
    report.figure("S4-3", "figure-1b", partial(save_accuracies, histories), "figure 1 (b): accuracy")


def show_as_written(result, report):
    show_accuracies(result["0 to 255"], report)
    for pixels, histories in result.items():
        losses = [history["loss"][-1] for history in histories]
        report.measured("S4-5", f"loss of an image, pixels from {pixels}", losses)
        accuracies = [history["val_accuracy"][-1] for history in histories]
        report.measured("S4-5", f"test accuracy, pixels from {pixels}", accuracies)
    # A remark on this listing says that on [0, 1] the loss stays at ln 10 = 2.30; it does for some epochs.
    curve = np.mean([history["loss"] for history in result["0 to 1"]], axis=0)
    learned = np.flatnonzero(curve < 2.2)
    why = f"the loss is below 2.2 from epoch {learned[0] + 1} on" if len(learned) else f"loss {curve[-1]:.4f}"
    report.claim("S4-5", "as written it learns from pixels in [0, 1], too", bool(len(learned)), why)
    lines = {
        f"pixels from {pixels}": (histories[0].epochs_of("loss"), histories[0]["loss"])
        for pixels, histories in result.items()
    }
    labels = {"x_label": "epoch", "y_label": "loss of an image", "log": (False, True)}
    draw = partial(fn.viz.save_lines, lines, **labels)
    report.figure("S4-5", "as-written", draw, "the listing as written, first start")


def save_accuracies(histories, path):
    """Draw the mean training and test accuracy over the epochs."""
    lines = {}
    for label, name in (("training", "accuracy"), ("test", "val_accuracy")):
        lines[label] = (
            histories[0].epochs_of(name),
            np.mean([history[name] for history in histories], axis=0),
        )
    fn.viz.save_lines(lines, path, x_label="epoch", y_label="accuracy", title="Accuracy, mean of the seeds")


# The CNN


def train_cnn(p):
    (x, y), (x_test, y_test) = mnist(p)
    training, test = (x.reshape(-1, 28, 28), y), (x_test.reshape(-1, 28, 28), y_test)
    histories = []
    for seed in range(p.seeds):
        fn.manual_seed(seed)
        model = fn.nets.mnist_cnn()
        histories.append(
            fn.fit(
                model,
                training,
                validation=test,
                optimizer=fn.Adam(0.004),
                schedule=fn.schedules.OneCycle(),
                augment=fn.augment.Rotate(15),
                batch_size=128,
                epochs=p.epochs,
                seed=seed,
                progress=False,
            )
        )
    images = training[0][:3]
    flat = images.reshape(3, 784), training[1][:3]

    def build(lr):
        return {"model": mlp(0), "data": flat, "optimizer": fn.SGD(lr), "epochs": 1, "progress": False}

    study = fn.sweep(build, {"lr": (0.01, 0.1)}, seeds=(0, 1), progress=False)
    return {
        "histories": histories,
        "summary": str(model.summary((28, 28))),
        "images": images,
        "features": list(fn.features(model, images, upto=0).shape),
        "swept": sum(member.error is None for member in study.members),
    }


def show_cnn(result, report):
    accuracy = [history["val_accuracy"][-1] for history in result["histories"]]
    report.expect("S4-8", "accuracy with rotations of up to 15 degrees", accuracy, 0.9956, 0.001)
    report.claim(
        "S4-8", "above 98.5 to 99.0 %", min(accuracy) > 0.99, f"the least of all seeds is {min(accuracy)}"
    )
    model = fn.Sequential(fn.Conv2d(1, 8, 3), fn.BatchNorm2d(8))
    learned = sum(param.size for param in model[1].parameters())
    kept = sum(buffer.value.size for buffer in model[1].buffers() if buffer.value.dtype.kind == "f")
    what, why = "batch norm of 8 channels: 16 learned, 16 kept", f"{learned}, {kept}"
    report.check("S4-7", what, (learned, kept) == (16, 16), why)
    report.check("S4-7", "the summary has a column for each", "trainable  fixed" in result["summary"])
    distort = fn.augment.Crop(2) | fn.augment.Rotate(15) | fn.augment.Elastic(2.0)
    draw = partial(fn.viz.save_augmented, result["images"], distort)
    report.figure("S4-9", "augmented", draw, "images cropped, rotated and distorted")
    shape = tuple(result["features"])
    report.check("S4-9", "features of the first layer, for another net", shape == (3, 28, 28, 32), f"{shape}")
    report.check("S4-9", "runs of a parallel sweep", result["swept"] == 4, f"{result['swept']} of 4")
    groups = {"test": result["histories"]}
    report.figure("S4-8", "accuracy", partial(fn.viz.save_bands, groups), "test accuracy of the CNN")


EXPERIMENTS = [
    fn.Experiment(
        id="s4.mlp",
        title="784-128-64-32-10 for 200 epochs",
        items=("S4-1", "S4-2", "S4-3", "S4-4", "S4-6"),
        train=train_mlp,
        show=show_mlp,
        full={"samples": 60000, "tests": 10000, "epochs": 200, "seeds": 3, "as_written": False, "every": 10},
        quick={"samples": 2000, "tests": 1000, "epochs": 2, "every": 1},
        variants={"corrected": {}, "as-written": {"as_written": True, "seeds": 1}},
        data=("mnist",),
        minutes=6.0,
        expected="99.6 % in training, 97.1 % in the test",
    ),
    fn.Experiment(
        id="s4.cnn",
        title="convolutions with batch norm, dropout and rotated images",
        items=("S4-7", "S4-8", "S4-9"),
        train=train_cnn,
        show=show_cnn,
        full={"samples": 60000, "tests": 10000, "epochs": 10, "seeds": 3},
        quick={"samples": 256, "tests": 256, "epochs": 1, "seeds": 2},
        data=("mnist",),
        minutes=20.0,
        expected="99.56 % (goal: above 98.5 to 99.0 %)",
        alone=True,
    ),
]
