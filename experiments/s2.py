"""S2: Colombo, "Submission Assignment 1" (VU), questions 1 to 4: gradients by hand and a first training."""

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


def small_net(dtype="float32"):
    """2-3-2 with sigmoid units and the printed weights."""
    options = {"bias_init": "zeros", "dtype": dtype}
    model = fn.Sequential(fn.Linear(2, 3, **options), fn.Sigmoid(), fn.Linear(3, 2, **options))
    model[0].weight.value, model[2].weight.value = STARTING_WEIGHTS
    return model


# Questions 1 to 3


def train_gradients(p):
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=5), 3
    step, softmax = 1e-5, lambda z: np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    moved = [logits + step * row for row in np.eye(5)], [logits - step * row for row in np.eye(5)]
    jacobian = np.array([(softmax(a) - softmax(b)) / (2 * step) for a, b in zip(*moved, strict=True)])
    _, dz = fn.CrossEntropy().value_and_gradient(logits[None], np.array([target]))

    model = small_net("float64")
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
    history = fn.fit(
        *(small_net(), (x, y)), optimizer=fn.SGD(0.01), batch_size=1, epochs=p.epochs, seed=0, progress=False
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
]
