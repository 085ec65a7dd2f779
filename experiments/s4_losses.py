"""S4: Hung, "5LSH0 Final Project 1" (TU/e 2023): losses, and losses for unbalanced classes."""

from functools import partial

import numpy as np

import fastnn as fn

GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)

# Gradients and figure 2


def train_losses(p):
    rng = np.random.default_rng(0)
    z, t = rng.normal(size=200), rng.choice([0.0, 0.3, 1.0], size=200)
    result = {"errors": {}, "gamma_0": 0.0}
    for name, loss, targets in (
        ("softmax with cross-entropy", fn.CrossEntropy(reduction="sum"), None),
        ("sigmoid with binary cross-entropy", fn.BinaryCrossEntropy(reduction="sum"), t),
        *((f"focal, gamma {gamma:g}", fn.BinaryFocal(gamma=gamma, reduction="sum"), t) for gamma in GAMMAS),
        ("Dice", fn.Dice(smooth=0.0, reduction="sum"), t),
    ):
        outputs = z.reshape(40, 5) if targets is None else z.reshape(200, 1)
        target = np.arange(40) % 5 if targets is None else np.maximum(targets, 0.05).reshape(200, 1)
        gradient = loss.value_and_gradient(outputs, target)[1]
        numeric = np.empty_like(outputs)
        for place in np.ndindex(outputs.shape):
            moved = [outputs.copy(), outputs.copy()]
            moved[0][place] += 1e-6
            moved[1][place] -= 1e-6
            up, down = (float(loss.value(each, target)[0]) for each in moved)
            numeric[place] = (up - down) / 2e-6
        result["errors"][name] = float(np.abs(gradient - numeric).max())
    y = 1 / (1 + np.exp(-z))
    dice = fn.Dice(smooth=0.0, reduction="sum").value_and_gradient(z.reshape(200, 1), np.ones((200, 1)))
    formula = (y - 1) / (2 * y) * (1 - (1 - 2 * y / (y + 1))) ** 2  # S4-11
    result["dice_formula"] = float(np.abs(dice[1][:, 0] - formula).max())
    pair = [
        np.array(loss.value_and_gradient(z.reshape(200, 1), t.reshape(200, 1))[1])
        for loss in (fn.BinaryFocal(gamma=0.0), fn.BinaryCrossEntropy())
    ]
    result["gamma_0"] = float(np.abs(pair[0] - pair[1]).max())
    result |= formulas(z[:5], y, t)
    probability = np.linspace(0.001, 0.999, 400)
    logits = np.log(probability / (1 - probability)).reshape(-1, 1)
    result["probability"] = probability
    result["focal"] = {
        f"gamma {gamma:g}": [
            float(fn.BinaryFocal(gamma=gamma).value(each.reshape(1, 1), np.ones((1, 1)))[0])
            for each in logits
        ]
        for gamma in GAMMAS
    }
    return result


def formulas(logits, y, t):
    """Errors of the report's equations 7 and 21: the derivatives of softmax, and of the focal loss by y."""
    outputs, backward = fn.Softmax().forward(logits[None], train=True)
    jacobian = [backward(row[None])[0] for row in np.eye(5)]
    p = outputs[0]
    errors = {"equation_7": float(np.abs(jacobian - (np.diag(p) - np.outer(p, p))).max()), "equation_21": 0.0}
    entropy, other = -y * np.log(y), -(1 - y) * np.log(1 - y)
    for gamma in GAMMAS:
        present = t * (1 - y) ** gamma * (gamma * entropy + 1 - y)
        absent = (t - 1) * y**gamma * (gamma * other + y)
        loss = fn.BinaryFocal(gamma=gamma, reduction="sum")
        by_logit = loss.value_and_gradient(np.log(y / (1 - y))[:, None], t[:, None])[1][:, 0]
        error = np.abs(-(present + absent) - by_logit).max()  # dy/dz = y (1 - y)
        errors["equation_21"] = max(errors["equation_21"], float(error))
    return errors


def show_losses(result, report):
    items = {"softmax": "S4-10", "sigmoid": "S4-10", "focal": "S4-12", "Dice": "S4-11"}
    for name, error in result["errors"].items():
        item = items[name.partition(" ")[0].rstrip(",")]
        report.check(item, f"gradient: {name}", error < 1e-6, f"differs from differences by {error:.1e}")
    error = result["equation_7"]
    report.check("S4-10", "equation 7: the derivatives of softmax", error < 1e-12, f"difference {error:.1e}")
    error = result["equation_21"]
    report.check("S4-12", "equation 21 for five gammas", error < 1e-12, f"difference {error:.1e}")
    error = result["dice_formula"]
    report.check("S4-11", "(y - 1) / 2y (1 - L)^2 for t = 1", error < 1e-12, f"difference {error:.1e}")
    error = result["gamma_0"]
    report.check("S4-12", "gamma 0 is binary cross-entropy", error <= 1e-15, f"difference {error:.1e}")
    lines = {name: (result["probability"], values) for name, values in result["focal"].items()}
    labels = {"x_label": "probability of the true class", "y_label": "focal loss"}
    report.figure("S4-13", "figure-2", partial(fn.viz.save_lines, lines, **labels), "figure 2: focal loss")
    empty = fn.metrics.precision(np.array([0, 0, 0]), np.array([1, 0, 0]), average="none", zero_division=0.0)
    report.check("S4-15", "the precision of a class that is never predicted is 0", empty[1] == 0, f"{empty}")
    absent = fn.metrics.recall(np.array([0, 1, 0]), np.array([0, 0, 0]), average="none", zero_division=0.0)
    report.check("S4-15", "the recall of a class that does not occur is 0", absent[1] == 0, f"{absent}")
    counts = fn.metrics.confusion(np.array([1, 1, 0, 0, 0]), np.array([1, 0, 1, 0, 0]))
    report.check("S4-15", "TN, FP, FN and TP", counts.tolist() == [[2, 1], [1, 1]], f"{counts.tolist()}")


# Unbalanced classes


def squares(images, rng):
    """Return noisy images (N, 24, 24, 1) and masks of one small bright square in each: 2 % of the pixels."""
    x = rng.normal(0, 0.6, (images, 24, 24, 1)).astype(np.float32)
    mask = np.zeros((images, 24, 24, 1), np.float32)
    for each, row, column in zip(mask, *rng.integers(0, 21, (2, images)), strict=True):
        each[row : row + 3, column : column + 4] = 1
    return x + mask, mask


def train_unbalanced(p):
    losses = {
        "cross-entropy": fn.BinaryCrossEntropy(),
        "Dice": fn.Dice(),
        **{f"focal, gamma {gamma:g}": fn.BinaryFocal(gamma=gamma) for gamma in GAMMAS[1:]},
    }
    found = {name: [] for name in losses}
    for seed in range(p.seeds):
        rng = np.random.default_rng(seed)
        training, (x, mask) = squares(p.images, rng), squares(400, rng)
        for name, loss in losses.items():
            fn.manual_seed(seed)
            model = fn.Sequential(
                fn.Conv2d(1, 8, 3, padding=1),
                fn.ReLU(),
                fn.Conv2d(8, 8, 3, padding=1),
                fn.ReLU(),
                fn.Conv2d(8, 1, 1),
            )
            fn.fit(
                model,
                training,
                loss=loss,
                optimizer=fn.Adam(0.003),
                batch_size=32,
                epochs=p.epochs,
                seed=seed,
                watch=False,
                progress=False,
            )
            predicted, true = model.predict(x) > 0, mask > 0
            hits = float((predicted & true).sum())
            # Of a run that predicts no foreground, the precision is 0/0: not a number.
            precision = hits / predicted.sum() if predicted.any() else np.nan
            recall = hits / true.sum()
            wrong, missed = float((predicted & ~true).sum()), float((~predicted & true).sum())
            f1 = 2 * hits / (predicted.sum() + true.sum())
            found[name].append([precision, recall, f1, hits, wrong, missed])
    return found


def show_unbalanced(result, report):
    means = {}
    for name, values in result.items():
        columns = [column[np.isfinite(column)] for column in np.array(values, float).T]
        for column, what in zip(columns, ("precision", "recall", "F1"), strict=False):
            report.measured("S4-14", f"{name}: {what}", column if len(column) else np.nan)
        means[name] = np.array([column.mean() if len(column) else np.nan for column in columns])
        hits, wrong, missed = means[name][3:]
        counts = f"TP {hits:,.0f}, FP {wrong:,.0f}, FN {missed:,.0f}"
        report.measured("S4-14", f"{name}: pixels, mean of the starts", counts)
    precision, recall = means["cross-entropy"][:2]
    why = f"recall {recall:.3f}, precision {precision:.3f}"
    report.claim("S4-14", "cross-entropy has a low recall", bool(recall < precision), why)
    for name in ("Dice", "focal, gamma 2"):
        why = f"{means[name][1]:.3f} instead of {recall:.3f}"
        report.claim("S4-14", f"{name} has a higher recall", bool(means[name][1] > recall), why)
        why = f"{means[name][0]:.3f} instead of {precision:.3f}"
        report.claim("S4-14", f"{name} has a lower precision", bool(means[name][0] < precision), why)
    close = abs(means["focal, gamma 0.5"] - means["cross-entropy"])[:3].max()
    why = f"largest difference {close:.3f}"
    report.claim("S4-14", "a low gamma is close to cross-entropy", bool(close < 0.05), why)
    scores = {name: float(mean[2]) for name, mean in means.items() if name.startswith("focal")}
    why = ", ".join(f"{score:.3f} with {name.removeprefix('focal, ')}" for name, score in scores.items())
    harms = scores["focal, gamma 5"] < max(scores.values())
    report.claim("S4-14", "too high a gamma harms: F1 falls", harms, f"F1 {why}")
    bars = [(name, float(mean[1])) for name, mean in means.items()]
    report.figure(
        "S4-14",
        "recall",
        partial(fn.viz.save_bars, bars, title="Recall of each loss", label="recall"),
        "recall of each loss",
    )


EXPERIMENTS = [
    fn.Experiment(
        id="s4.losses",
        title="gradients of cross-entropy, Dice and focal loss",
        items=("S4-10", "S4-11", "S4-12", "S4-13", "S4-15"),
        train=train_losses,
        show=show_losses,
        minutes=0.05,
        expected="formulas 7, 13 and 21",
    ),
    fn.Experiment(
        id="s4.unbalanced",
        title="recall and precision of three losses where 2 % of the pixels are foreground",
        items=("S4-14",),
        train=train_unbalanced,
        show=show_unbalanced,
        full={"images": 1000, "epochs": 15, "seeds": 5},
        quick={"images": 100, "epochs": 2, "seeds": 2},
        minutes=3.0,
        expected="Dice and focal loss: higher recall than cross-entropy",
    ),
]
