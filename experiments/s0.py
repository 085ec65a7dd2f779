"""S0: Al-Jaff, "Deep Learning for Image Analysis, Assignment 2" (2021): nets of any depth on MNIST."""

import io
import os
import tempfile
from functools import partial

import numpy as np

import fastnn as fn


def create_and_train(
    training, test, hidden, activation, *, learning_rate=0.4, batch_size=30, epochs=3, seed=0, callbacks=()
):
    """The function of the report: build a net for the data, train it, return it with its history."""
    fn.manual_seed(seed)
    sizes = (training[0].shape[1], *hidden, int(training[1].max()) + 1)
    model = fn.nets.mlp(sizes, activation=activation, weight_init=fn.init.Normal(0.01))
    for param in model.parameters():
        if param.value.ndim == 1:
            param.value = np.zeros(param.value.shape)
    history = fn.fit(
        model,
        training,
        validation=test,
        optimizer=fn.SGD(learning_rate),
        batch_size=batch_size,
        epochs=epochs,
        seed=seed,
        callbacks=callbacks,
        watch=False,
        progress=False,
    )
    return model, history


class Sampled(fn.Callback):
    """Measures cost and accuracy on 1,000 random images every `every` updates."""

    def __init__(self, data, every, seed):
        chosen = np.random.default_rng(seed).permutation(len(data[0]))[:1000]
        self.data = data[0][chosen], data[1][chosen]
        self.every, self.updates, self.values = every, [], []

    def on_update(self, training, loss):
        if training.updates % self.every == 0:
            self.updates.append(training.updates)
            self.values.append(fn.evaluate(training.model, self.data))


def mnist(p):
    (x, y), (x_test, y_test) = fn.data.mnist(download=False)
    x, y, x_test, y_test = x[: p.samples], y[: p.samples], x_test[: p.tests], y_test[: p.tests]
    return (x.reshape(-1, 784), y), (x_test.reshape(-1, 784), y_test)


# Features


def train_features(p):
    rng = np.random.default_rng(0)
    layer = fn.Linear(3, 2, dtype="float64")
    o, step = rng.normal(size=(1, 3)), 1e-6
    moved = layer.weight.value.copy()
    before = layer.predict(o)
    moved[1, 0] += step
    layer.weight.value = moved
    slope = (layer.predict(o) - before)[0, 0] / step
    z, y = rng.normal(size=(4, 5)), np.array([0, 3, 1, 4])
    loss, dz = fn.CrossEntropy().value_and_gradient(z, y)
    exponentials = np.exp(z)
    softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
    clipped = -np.log(np.clip(softmax, 1e-5, 1 - 1e-5)[np.arange(4), y]).mean()

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "mnist_train.csv")
        pixels = rng.integers(256, size=(20, 784))
        with open(path, "w", encoding="utf-8") as file:
            for label, row in enumerate(pixels):
                file.write(",".join(map(str, (label % 10, *row))) + "\n")
        read, labels = fn.data.read_csv(path, label=0)
        csv_ok = np.array_equal(read, pixels) and np.array_equal(labels, np.arange(20) % 10)

    data = rng.random((90, 6), np.float32), rng.integers(3, size=90)
    model, history = create_and_train(data, data, (8, 5), "sigmoid", epochs=2)
    before = [param.value for param in model.parameters()]
    again = fn.fit(model, data, optimizer=fn.SGD(0.1), batch_size=30, epochs=1, watch=False, progress=False)
    text = io.StringIO()
    print(model.summary((6,)), file=text)
    try:
        fn.nets.mlp((6, 8, 3), activation="sigmod")
        refusal = ""
    except ValueError as error:
        refusal = str(error)
    relu = fn.ReLU()
    _, backward = relu.forward(np.array([[-1.0, 0.0, 2.0]]), train=True)
    return {
        "slope": slope - o[0, 1],
        "softmax": float(np.abs(dz * 4 - (softmax - np.eye(5)[y])).max()),
        "mean": float(loss[0]) - float(-np.log(softmax[np.arange(4), y]).mean()),
        "clipped": float(loss[0]) - float(clipped),
        "csv": bool(csv_ok),
        "names": sorted(history),
        "refusal": refusal,
        "summary": text.getvalue(),
        "moved": bool(any((a != b.value).any() for a, b in zip(before, model.parameters(), strict=True))),
        "history": again,
        "shape": list(model.predict(data[0]).shape),
        "relu": backward(np.ones((1, 3)))[0].tolist(),
        "old_weights": float(old_weights_error()),
        "scale": float(fn.nets.mlp((784, 900, 10), weight_init=fn.init.Normal(0.01))[1].weight.value.std()),
    }


def old_weights_error():
    """How far the update of a layer is from the gradient with the next layer's weights before its update."""
    fn.manual_seed(0)
    model = fn.Sequential(fn.Linear(4, 3, dtype="float64"), fn.Linear(3, 2, dtype="float64"))
    x, y = np.random.default_rng(0).normal(size=(5, 4)), np.array([0, 1, 1, 0, 1])
    first, second = model[0].weight.value, model[1].weight.value
    fn.gradients(model, (x, y))
    expected = first - 0.1 * model[0].weight.grad
    fn.Trainer(model, optimizer=fn.SGD(0.1), seed=0).step(x, y)
    assert (model[1].weight.value != second).any()
    return np.abs(model[0].weight.value - expected).max()


def show_features(result, report):
    def check(item, what, holds, because=""):
        report.check(item, what, bool(holds), because)

    check("S0-1", "dz/dw = o", abs(result["slope"]) < 1e-8, f"error {result['slope']:.1e}")
    check("S0-2", "dL/dz = softmax - one-hot", result["softmax"] < 1e-12, f"error {result['softmax']:.1e}")
    check("S0-3", "the loss is the mean of the batch", abs(result["mean"]) < 1e-12)
    check("S0-4", "CSV without header, label first", result["csv"])
    check(
        "S0-5",
        "costs and accuracies of both sets",
        result["names"] == ["accuracy", "loss", "val_accuracy", "val_loss"],
    )
    check(
        "S0-6",
        "an unknown activation is an error",
        "unknown activation" in result["refusal"],
        result["refusal"],
    )
    check("S0-7", "sizes from the data, and a summary", "Linear(6, 8)" in result["summary"])
    check("S0-8", "predicts, and trains on from its weights", result["moved"] and result["shape"] == [90, 3])
    draw = partial(fn.viz.save_curves, result["history"])
    report.figure("S0-9", "training", draw, "cost and accuracy of a training")
    report.expect("S0-10", "standard deviation of the weights", result["scale"], 0.01, 1e-4, needs_data=False)
    report.expect(
        "S0-11", "loss without the clip minus loss with it", result["clipped"], 0, 1e-12, needs_data=False
    )
    check("S0-12", "ReLU's derivative at -1, 0 and 2", result["relu"] == [0, 0, 1], f"{result['relu']}")
    check("S0-13", "deltas use the weights before the update", result["old_weights"] < 1e-14)
    counts = {(784, 100, 10): 79510, (784, 900, 400, 10): 1070910, (784, 400, 100, 25, 10): 356885}
    counts |= {(784, 900, 10): 715510, (784, 900, 784, 10): 1420734}
    for sizes, count in counts.items():
        found = sum(param.size for param in fn.nets.mlp(sizes).parameters())
        what = "parameters of " + "-".join(map(str, sizes))
        report.expect("S0-14", what, found, count, needs_data=False)


# Figures 1 to 4


def train_curves(p):
    training, test = mnist(p)
    probes = [Sampled(training, p.every, 1), Sampled(test, p.every, 2)]
    _, history = create_and_train(
        training,
        test,
        p.hidden,
        p.activation,
        learning_rate=p.learning_rate,
        batch_size=p.batch_size,
        epochs=p.epochs,
        callbacks=probes,
    )
    return {
        "history": history,
        "per_epoch": -(-len(training[0]) // 30),
        "updates": probes[0].updates,
        **{
            f"{name}_{where}": [values[name] for values in probe.values]
            for where, probe in zip(("training", "test"), probes, strict=True)
            for name in ("loss", "accuracy")
        },
    }


def show_curves(result, report, item, number, what):
    """Show figure `number`."""
    history = result["history"]
    report.measured(item, "test accuracy at the end", history["val_accuracy"][-1])
    report.measured(item, "test cost at the end", history["val_loss"][-1])
    losses = np.array(history.updates["loss"])
    block = max(1, len(losses) // 300)
    means = losses[: len(losses) // block * block].reshape(-1, block).mean(axis=1)
    cost = {
        f"training, mean of {block} updates": ((np.arange(len(means)) + 1) * block, means),
        "1,000 training images": (result["updates"], result["loss_training"]),
        "1,000 test images": (result["updates"], result["loss_test"]),
    }
    accuracy = {
        "1,000 training images": (result["updates"], result["accuracy_training"]),
        "1,000 test images": (result["updates"], result["accuracy_test"]),
    }
    for name, lines in (("cost", cost), ("accuracy", accuracy)):
        labels = {"x_label": "updates", "y_label": name, "title": what}
        report.figure(
            item,
            f"figure-{number}-{name}",
            partial(fn.viz.save_lines, lines, **labels),
            f"figure {number}, {name}: {what}",
        )
    if number == 1:
        expected = history.epochs * result["per_epoch"]
        report.expect("S0-15", "updates with batches of 30", len(losses), expected, needs_data=False)


def show_figure_1(result, report):
    show_curves(result, report, "S0-16", 1, "100 ReLU units")


def show_figure_2(result, report):
    show_curves(result, report, "S0-17", 2, "100 sigmoid units")


def show_figure_3(result, report):
    show_curves(result, report, "S0-18", 3, "900 and 400 ReLU units")


def show_figure_4(result, report):
    show_curves(result, report, "S0-19", 4, "400, 100 and 25 sigmoid units")


# Figures 5 and 6


def train_images(p):
    training, test = mnist(p)
    found = {}
    for name, hidden, activation in (("relu", (900,), "relu"), ("sigmoid", (900, 784), "sigmoid")):
        model, history = create_and_train(
            training,
            test,
            hidden,
            activation,
            learning_rate=p.learning_rate,
            batch_size=p.batch_size,
            epochs=p.epochs,
        )
        found[name] = model[len(model) - 1].weight.value
        found[f"{name}_accuracy"] = history["val_accuracy"][-1]
    return found


def neighbours(images):
    """Correlation of neighbouring pixels, near 0 for noise and near 1 for shapes; (N, H, W)."""
    pairs = [(images[:, :, 1:], images[:, :, :-1]), (images[:, 1:], images[:, :-1])]
    return float(np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs]))


def show_images(result, report):
    for item, number, name, side in (("S0-20", 5, "relu", 30), ("S0-21", 6, "sigmoid", 28)):
        weights = result[name]
        report.measured(item, "test accuracy", result[f"{name}_accuracy"])
        options = {"image_shape": (side, side), "titles": [str(digit) for digit in range(10)], "columns": 5}
        report.figure(
            item,
            f"figure-{number}",
            partial(fn.viz.save_weights, weights, **options),
            f"figure {number}: output weights of each class as an image",
        )
        found = neighbours(weights.T.reshape(10, side, side))
        report.claim(
            "S0-22",
            f"no structure that a person can read, {name}",
            abs(found) < 0.1,
            f"correlation of neighbouring pixels {found:.3f}",
        )


WRITTEN = {"learning_rate": 0.1}


def curves(id, item, show, what, hidden, activation, minutes, epochs=3, asked=0.4):
    return fn.Experiment(
        id=id,
        title=f"cost and accuracy of {what}",
        items=(item, "S0-15") if show is show_figure_1 else (item,),
        train=train_curves,
        show=show,
        full={
            "hidden": hidden,
            "activation": activation,
            "learning_rate": asked,
            "batch_size": 30,
            "epochs": epochs,
            "samples": 60000,
            "tests": 10000,
            "every": 200,
        },
        quick={"samples": 1500, "tests": 500, "epochs": 2, "every": 20},
        # The report's function ignores its learning rate: every run of the report used 0.1.
        variants={"corrected": {}, "as-written": WRITTEN},
        data=("mnist",),
        minutes=minutes,
        expected="curves, without numbers",
    )


EXPERIMENTS = [
    fn.Experiment(
        id="s0.features",
        title="what the report's functions do, one by one",
        items=tuple(f"S0-{number}" for number in range(1, 15)),
        train=train_features,
        show=show_features,
        minutes=0.05,
        expected="formulas, errors and numbers of parameters",
    ),
    curves("s0.figure1", "S0-16", show_figure_1, "100 ReLU units", (100,), "relu", 0.3),
    curves("s0.figure2", "S0-17", show_figure_2, "100 sigmoid units", (100,), "sigmoid", 0.3),
    curves("s0.figure3", "S0-18", show_figure_3, "900 and 400 ReLU units", (900, 400), "relu", 1.5),
    curves(
        "s0.figure4",
        "S0-19",
        show_figure_4,
        "400, 100 and 25 sigmoid units",
        (400, 100, 25),
        "sigmoid",
        3.0,
        epochs=20,
        asked=0.15,
    ),
    fn.Experiment(
        id="s0.images",
        title="output weights as images",
        items=("S0-20", "S0-21", "S0-22"),
        train=train_images,
        show=show_images,
        full={"learning_rate": 0.4, "batch_size": 30, "epochs": 3, "samples": 60000, "tests": 10000},
        quick={"samples": 1000, "tests": 500, "epochs": 1},
        variants={"corrected": {}, "as-written": WRITTEN},
        data=("mnist",),
        minutes=3.0,
        expected="no structure that a person can read",
    ),
]
