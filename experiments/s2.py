"""S2: Colombo, "Submission Assignment 1" (VU): gradients by hand, then MNIST with 300 sigmoid units."""

import math
from functools import partial

import numpy as np

import fastnn as fn

# Question 3: the gradients that the report prints; dW2 has three equal rows.
STARTING_WEIGHTS = ([[1, 1, 1], [-1, -1, -1]], [[1, 1], [-1, -1], [-1, -1]])
PRINTED = {
    "dW1": np.zeros((2, 3)),
    "db1": np.zeros(3),
    "dW2": np.tile([-0.44039853898894116, 0.44039853898894116], (3, 1)),
    "db2": np.array([-0.5, 0.5]),
}


def perceptron(inputs, hidden, outputs, dtype="float32"):
    """One hidden layer of sigmoid units, as in all questions, with the weights of Glorot."""
    options = {"weight_init": "xavier_uniform", "bias_init": "zeros", "dtype": dtype}
    return fn.Sequential(
        fn.Linear(inputs, hidden, **options), fn.Sigmoid(), fn.Linear(hidden, outputs, **options)
    )


def use_printed_weights(model, seed):
    """The "Xavier" weights of code 10: all positive, with one scale for both layers."""
    rng = np.random.default_rng(seed)
    for layer in (model[0], model[2]):
        layer.weight.value = rng.random(layer.weight.value.shape) * math.sqrt(1 / (784 + 300))


# Questions 1 to 3


def train_gradients(p):
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=5), 3
    step, softmax = 1e-5, lambda z: np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    moved = [logits + step * row for row in np.eye(5)], [logits - step * row for row in np.eye(5)]
    jacobian = np.array([(softmax(a) - softmax(b)) / (2 * step) for a, b in zip(*moved, strict=True)])
    _, dz = fn.CrossEntropy().value_and_gradient(logits[None], np.array([target]))

    model = perceptron(2, 3, 2, dtype="float64")
    model[0].weight.value, model[2].weight.value = STARTING_WEIGHTS
    batch = (np.array([[1.0, -1.0]]), np.array([0]))
    names = {"0.weight": "dW1", "0.bias": "db1", "2.weight": "dW2", "2.bias": "db2"}
    plain = fn.naive.pure_python_gradients(model, batch)
    loss = fn.gradients(model, batch)
    printed_loss = -np.log(model.predict_proba(batch[0])).sum()  # code 3 sums over all classes
    return {
        "y": softmax(logits),
        "jacobian": jacobian,
        "dz": dz[0],
        "loss": loss,
        "printed_loss": printed_loss,
        "plain": {names[name]: gradient for name, gradient in plain.items()},
        "compiled": {names[name]: param.grad.copy() for name, param in model.named_parameters()},
    }


def show_gradients(result, report):
    y = result["y"]
    expected = np.diag(y) - np.outer(y, y)
    error = float(np.abs(result["jacobian"] - expected).max())
    report.check("S2-1", "dy_i/do_j = y_i (1 - y_i) or -y_i y_j", error < 1e-9, f"error {error:.1e}")
    error = float(np.abs(result["dz"] - (y - np.eye(5)[3])).max())
    report.check("S2-1", "dl/do = y - one-hot", error < 1e-12, f"error {error:.1e}")
    for name in ("plain", "compiled"):
        worst = max(float(np.abs(result[name][key] - PRINTED[key]).max()) for key in PRINTED)
        what = "plain Python" if name == "plain" else "compiled kernels"
        report.check(
            "S2-2",
            f"all 17 gradients, {what}",
            worst <= 2 * np.finfo(float).eps,
            f"largest difference {worst:.1e}",
        )
    report.expect("S2-3", "loss of the true class", result["loss"], math.log(2), 1e-15, needs_data=False)
    report.expect(
        "S2-3",
        "loss as printed: the sum over all classes",
        result["printed_loss"],
        1.3862943611198906,
        atol=1e-15,
        needs_data=False,
    )


# Question 4


def train_synthetic(p):
    x, y = fn.data.two_classes(p.samples, seed=0)
    x = 2 * (x - x.min()) / (x.max() - x.min()) - 1  # code 8: to [-1, 1] over all values
    model = perceptron(2, 3, 2)
    model[0].weight.value, model[2].weight.value = STARTING_WEIGHTS
    history = fn.fit(
        *(model, (x, y)), optimizer=fn.SGD(0.01), batch_size=1, epochs=p.epochs, seed=0, progress=False
    )
    return {"history": history}


def show_synthetic(result, report):
    losses = np.array(result["history"].updates["loss"])
    means = losses[: len(losses) // 150 * 150].reshape(-1, 150).mean(axis=1)
    report.expect("S2-4", "points of the curve", len(means), 2000)
    fall = float(means[:20].mean()), float(means[-20:].mean())
    report.claim("S2-4", "the loss falls", fall[1] < fall[0], f"from {fall[0]:.3f} to {fall[1]:.3f}")
    epochs = (np.arange(len(means)) + 1) * 150 / updates_per_epoch(result)
    for number, part in ((1, 1.0), (2, 5.0)):
        shown = epochs <= part
        report.figure(
            "S2-4",
            f"figure-{number}",
            partial(save_loss, epochs[shown], means[shown]),
            f"figure {number}: loss in {'the first epoch' if part == 1 else 'five epochs'}",
        )


def updates_per_epoch(result):
    return len(result["history"].updates["loss"]) / result["history"].epochs


def save_loss(epochs, means, path):
    lines = {"mean of 150 updates": (epochs, means)}
    fn.viz.save_lines(lines, path, x_label="epoch", y_label="loss")


# Questions 5 to 7


def mnist(samples):
    """Return training (55,000), validation (5,000) and test set, flat, scaled by 1/255."""
    train, (x_test, y_test) = fn.data.mnist(download=False)
    (x, y), (x_valid, y_valid) = fn.data.holdout(*train, 5000)
    flat = [
        (images.reshape(len(images), 784) / np.float32(255), labels)
        for images, labels in ((x[:samples], y[:samples]), (x_valid, y_valid), (x_test, y_test))
    ]
    return flat


def run(p, lr, seed, printed_weights=False, reduction="mean"):
    """Train 784-300-10 and return its history, with the test accuracy of every epoch."""
    training, validation, test = mnist(p.samples)
    fn.manual_seed(seed)
    model = perceptron(784, 300, 10)
    if printed_weights:
        use_printed_weights(model, seed)
    history = fn.History()

    def test_it(training):
        history.record({"test_accuracy": fn.evaluate(model, test)["accuracy"]}, training.epoch + 1)

    return fn.fit(
        model,
        training,
        validation=validation,
        loss=fn.CrossEntropy(reduction=reduction),
        optimizer=fn.SGD(lr),
        batch_size=p.batch_size,
        epochs=p.epochs,
        seed=seed,
        history=history,
        callbacks=test_it,
        progress=False,
    )


def train_averaged(p):
    starts = {"positive weights, as printed": True, "Glorot's weights": False}
    return {name: [run(p, 0.03, seed, start) for seed in range(p.seeds)] for name, start in starts.items()}


def show_averaged(result, report):
    model = perceptron(784, 300, 10)
    report.expect(
        "S2-5", "parameters", sum(param.size for param in model.parameters()), 238510, needs_data=False
    )
    for name, histories in result.items():
        report.measured("S2-5", f"validation loss, {name}", [h["val_loss"][-1] for h in histories])
        report.measured("S2-5", f"test accuracy, {name}", [h["test_accuracy"][-1] for h in histories])
    report.figure(
        "S2-5",
        "losses",
        partial(fn.viz.save_bands, result, name="val_loss"),
        "validation loss with averaged gradients",
    )


def train_rates(p):
    return {
        f"{lr:g}": [run(p, lr, seed, reduction="sum") for seed in range(p.seeds)]
        for lr in (0.001, 0.003, 0.01, 0.03)
    }


def show_rates(result, report):
    accuracy = {lr: [h["test_accuracy"][-1] for h in histories] for lr, histories in result.items()}
    for lr, values in accuracy.items():
        report.measured("S2-9", f"test accuracy at learning rate {lr}", values)
    best = max(accuracy, key=lambda lr: float(np.mean(accuracy[lr])))
    report.claim("S2-10", "0.03 is the best of the four rates", best == "0.03", f"the best is {best}")
    report.expect(
        "S2-10",
        "test accuracy at 0.03",
        accuracy["0.03"],
        0.98,
        0.003,
        because="without the clip of dW2 to [-5, 5]",
    )
    spread = (
        np.std([h["loss"] for h in result["0.03"]], axis=0, ddof=1) if len(result["0.03"]) > 1 else [0, 0]
    )
    report.claim(
        "S2-10",
        "the spread over starts shrinks with the epochs",
        bool(spread[-1] < spread[0]),
        f"standard deviation of the training loss: {spread[0]:.2e} in the first epoch, {spread[-1]:.2e} last",
    )
    gap = float(np.mean([h["val_loss"][-1] - min(h["val_loss"]) for h in result["0.03"]]))
    report.claim(
        "S2-10", "no over-fitting at 0.03", gap < 0.01, f"validation loss ends {gap:.4f} above its least"
    )
    report.check(
        "S2-11",
        "loss of each update and test accuracy of each epoch",
        all(len(h.updates["loss"]) > len(h["test_accuracy"]) > 0 for hs in result.values() for h in hs),
    )
    three = {"learning rate 0.03": result["0.03"]}
    report.figure(
        "S2-9",
        "figure-3",
        partial(fn.viz.save_bands, three, name="updates.loss"),
        "figure 3: training loss of several starts",
    )
    report.figure(
        "S2-9",
        "figure-4",
        partial(fn.viz.save_bands, result, name="updates.loss", log=True),
        "figure 4: training loss at four learning rates",
    )
    for number, lr in ((5, "0.001"), (7, "0.03")):
        group = {"validation": result[lr]}
        report.figure(
            "S2-9",
            f"figure-{number}",
            partial(fn.viz.save_bands, group, name="val_loss"),
            f"figure {number}: validation loss at {lr}",
        )
        report.figure(
            "S2-9",
            f"figure-{number + 1}",
            partial(fn.viz.save_bands, group, name="test_accuracy"),
            f"figure {number + 1}: test accuracy at {lr}",
        )


EXPERIMENTS = [
    fn.Experiment(
        id="s2.gradients",
        title="gradients of a 2-3-2 net by plain Python and by the kernels",
        items=("S2-1", "S2-2", "S2-3"),
        train=train_gradients,
        show=show_gradients,
        minutes=0.02,
        expected="17 gradients, loss 0.6931 (printed 1.3863)",
    ),
    fn.Experiment(
        id="s2.synthetic",
        title="one sample at a time on synthetic data",
        items=("S2-4",),
        train=train_synthetic,
        show=show_synthetic,
        full={"samples": 60000, "epochs": 5},
        quick={"samples": 6000},
        minutes=0.1,
        expected="2,000 points, the loss falls",
        stand_in="two half circles, since the course's generator is not known",
    ),
    fn.Experiment(
        id="s2.averaged",
        title="MNIST with averaged gradients and two kinds of starting weights",
        items=("S2-5",),
        train=train_averaged,
        show=show_averaged,
        full={"samples": 55000, "epochs": 5, "batch_size": 50, "seeds": 3},
        quick={"samples": 2000, "epochs": 2, "seeds": 1},
        data=("mnist",),
        minutes=1.0,
        expected="238,510 parameters",
    ),
    fn.Experiment(
        id="s2.rates",
        title="MNIST with summed gradients, four learning rates and three starts",
        items=("S2-9", "S2-10", "S2-11"),
        train=train_rates,
        show=show_rates,
        full={"samples": 55000, "epochs": 5, "batch_size": 50, "seeds": 3},
        quick={"samples": 2000, "epochs": 2, "seeds": 2},
        data=("mnist",),
        minutes=2.0,
        expected="98 % at 0.03, the best rate",
    ),
]
