"""S1, parts 8 to 10: Deng and Lee, "CSC411 Assignment 2" (2018): faces by small networks.

The report's pictures (FaceScrub) and the weights of its AlexNet (ImageNet) may not be passed on. In their
place are the 400 AT&T faces of 40 people, and a network that is trained here on CIFAR-10. So the accuracies
are not those of the report, and nothing claims them: their verdict is "stand-in".
"""

import hashlib
import itertools
import tempfile
import threading
import time
import warnings
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

import fastnn as fn

STAND_IN = "400 AT&T faces of 40 people, in place of 507 pictures of six people in FaceScrub"
STAND_IN_FRONT = STAND_IN + "; features by a net trained on CIFAR-10, in place of AlexNet"
PEOPLE = 40
ACTIVATIONS = {"relu": fn.ReLU, "tanh": fn.Tanh}


def faces(side, split=0):
    """Return training, validation and test set: 6, 2 and 2 pictures (N, side, side) of each person."""
    x, y = fn.data.att_faces(size=(side, side))
    return fn.data.split(x, y, per_class=(6, 2, 2), seed=split)


def classifier(inputs, hidden, outputs=PEOPLE, activation="relu"):
    return fn.Sequential(
        fn.Flatten(), fn.Linear(inputs, hidden), ACTIVATIONS[activation](), fn.Linear(hidden, outputs)
    )


def parameters(model):
    return sum(param.size for param in model.parameters())


# Part 8: the pictures


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def train_pictures(p):
    """Fetch pictures of six people from a server in this process; one is altered, one is gone."""
    x, y = fn.data.att_faces()
    x, y = fn.data.subset(x, y, classes=range(6))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "site")
        folder.mkdir()
        handler = partial(QuietHandler, directory=folder)
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            rows = ["name,url,bbox,sha256"]
            for number, (image, person) in enumerate(zip(x, y, strict=True)):
                picture = b"P5 92 112 255\n" + image.tobytes()
                digest = hashlib.sha256(picture).hexdigest()
                url = f"http://127.0.0.1:{server.server_port}/{number}.pgm"
                rows.append(f'person {person},{url},"0,10,92,102",{digest}')
                (folder / f"{number}.pgm").write_bytes(picture)
            (folder / "0.pgm").write_bytes(picture)
            (folder / "1.pgm").unlink()
            (folder.parent / "list.csv").write_text("\n".join(rows), "utf-8")
            threading.Thread(target=server.serve_forever, args=(0.05,)).start()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that two are left out
                options = {"size": (64, 64), "grey": True, "progress": False}
                found = fn.data.fetch_images(folder.parent / "list.csv", folder.parent / "store", **options)
            server.shutdown()
    labels = np.repeat(np.arange(6), [90, 57, 90, 90, 90, 90])  # as in the report: 57 of Peri Gilpin
    parts = fn.data.split(labels, labels, per_class=(70, 10, 10), seed=0, allow_fewer=True)
    return {
        "shape": list(found.x.shape),
        "reasons": [each.reason.partition(":")[0] for each in found.skipped],
        "sizes": [len(part) for part, _ in parts],
        "fewest": int(np.bincount(parts[0][1]).min()),
    }


def show_pictures(result, report):
    why = f"left out: {', '.join(result['reasons'])}"
    left_out = result["reasons"] == ["another SHA-256", "HTTP 404"]
    report.check("S1-14", "altered and dead pictures are left out by their SHA-256", left_out, why)
    report.check("S1-14", "grey pictures of 64 x 64", result["shape"] == [58, 64, 64], f"{result['shape']}")
    for what, got, want in zip(("train", "valid", "test"), result["sizes"], (387, 60, 60), strict=True):
        report.expect("S1-14", f"pictures of 70, 10 and 10 each, {what}", got, want, needs_data=False)
    report.expect("S1-14", "training pictures of Gilpin", result["fewest"], 37, needs_data=False)


# Part 8: the search


def train_net(model, sets, lr, batch, epochs, patience=None):
    """Train by Adam on the first set, and return the history with the accuracies of the first two."""
    return fn.fit(
        *(model, sets[0]),
        validation=sets[1],
        optimizer=fn.Adam(lr),
        batch_size=batch,
        epochs=epochs,
        seed=0,
        callbacks=[] if patience is None else fn.EarlyStopping(patience=patience),
        watch=False,
        progress=False,
    )


def accuracies(model, sets):
    found = [fn.evaluate(model, data)["accuracy"] for data in sets]
    return dict(zip(("train", "valid", "test"), found, strict=True))


def train_search(p):
    """Train at all points of the grid, several at a time; the widest nets one by one, on all cores.

    Each update of 4096 units reads and writes 470 MB of weights and moments: two at a time would wait for
    the memory.
    """
    sets = faces(p.side)

    def train_one(hidden, lr, batch, activation):
        fn.manual_seed(0)
        start = time.perf_counter()
        model = classifier(p.side**2, hidden, activation=activation)
        history = train_net(model, sets, lr, batch, p.epochs, p.patience)
        seconds = time.perf_counter() - start
        return {**accuracies(model, sets), "epochs": len(history["loss"]), "seconds": seconds}

    names = ("hidden", "lr", "batch", "activation")
    points = [
        dict(zip(names, values, strict=True))
        for values in itertools.product(p.widths, p.rates, p.batches, ACTIVATIONS)
    ]
    narrow = [point for point in points if point["hidden"] < 4096]
    wide = [point for point in points if point["hidden"] >= 4096]
    study = fn.sweep(train_one, narrow, seeds=[0], progress=False)
    runs = [{**member.point, **member.values} for member in study.members]
    return {"runs": runs + [{**point, **train_one(**point)} for point in wide]}


def show_search(result, report):
    runs = result["runs"]
    report.expect("S1-15", "runs", len(runs), 90)
    best = max(runs, key=lambda run: (run["valid"], -run["hidden"]))
    text = "lr {lr:g}, {hidden} units, batch {batch}, {activation}: valid {valid:.3f}, test {test:.3f}"
    report.measured("S1-15", "best run by the validation set", text.format(**best))
    theirs = {"lr": 0.0001, "hidden": 128, "batch": 128, "activation": "relu"}
    for run in runs:
        if theirs.items() <= run.items():
            better = sum(other["valid"] > run["valid"] for other in runs)
            report.measured("S1-15", "best run of the report", f"{text.format(**run)}; {better} are better")
    minutes = sum(run["seconds"] for run in runs) / 60
    report.measured("S1-15", "minutes of all runs, one after the other", f"{minutes:.1f}")
    lines = {}
    for activation, rate in itertools.product(ACTIVATIONS, sorted({run["lr"] for run in runs})):
        of_width = {}
        for run in runs:
            if (run["activation"], run["lr"]) == (activation, rate):
                of_width.setdefault(run["hidden"], []).append(run["valid"])
        means = [np.mean(values) for values in of_width.values()]
        lines[f"{activation}, lr {rate:g}"] = (list(of_width), means)
    labels = {"x_label": "hidden units", "y_label": "validation accuracy, mean of the batch sizes"}
    draw = partial(fn.viz.save_lines, lines, **labels, log=(True, False))
    report.figure("S1-15", "search", draw, "validation accuracy of the 90 runs")


# Part 8: the best net of the report; part 9: its weights


def train_best(p):
    result = {}
    for side in (64, 32):
        runs, histories = [], []
        for split in range(p.splits):
            fn.manual_seed(split)
            sets, model = faces(side, split), classifier(side**2, 128)
            histories.append(train_net(model, sets, 1e-4, 128, p.epochs))
            runs.append(accuracies(model, sets))
            if (side, split) == (64, 0):
                weights = [param.value for param in model.parameters()]
        result[f"{side}"] = {"runs": runs, "histories": histories}
    return {**result, "weights": weights}


def show_accuracies(report, item, runs, expected):
    for name, want in expected.items():
        report.expect(item, f"accuracy, {name}", [run[name] for run in runs], want, atol=0.02)


def draw_accuracies(report, item, name, histories, updates, caption):
    lines = {
        what: (updates * np.arange(1, len(histories[0][curve]) + 1), histories[0][curve])
        for what, curve in (("train", "accuracy"), ("valid", "val_accuracy"))
    }
    draw = partial(fn.viz.save_lines, lines, x_label="updates", y_label="accuracy")
    report.figure(item, name, draw, caption)


def show_best(result, report):
    net = classifier(64 * 64, 128, outputs=6)
    report.expect("S1-16", "parameters of 4096-128-6", parameters(net), 525_190, needs_data=False)
    show_accuracies(report, "S1-16", result["64"]["runs"], {"train": 1.0, "valid": 0.75, "test": 0.8})
    large, small = (np.mean([run["valid"] for run in result[side]["runs"]]) for side in ("64", "32"))
    why = f"validation accuracy {large:.3f} with 64 x 64, {small:.3f} with 32 x 32"
    report.claim("S1-14", "64 x 64 is better than 32 x 32", large > small, why)
    caption = "figure 10: accuracy on the stand-in"
    draw_accuracies(report, "S1-16", "figure-10", result["64"]["histories"], 2, caption)
    model = classifier(64 * 64, 128)
    for param, value in zip(model.parameters(), result["weights"], strict=True):
        param.value = value
    output = model[3].weight.value[:, :2]
    titles = ["person 0", "person 1"]
    draw = partial(fn.viz.save_weights, output, image_shape=(8, 16), titles=titles)
    report.figure("S1-17", "figure-11", draw, "figure 11: weights of 128 hidden units on two people")
    for number, person in ((12, 0), (13, 1)):
        units = fn.top_units(model, person, 3)
        are_largest = [unit.weight for unit in units] == sorted(output[:, person])[:-4:-1]
        report.check("S1-17", f"three most useful hidden units, person {person}", are_largest)
        draw = partial(fn.viz.top_units, model, person, k=3, image_shape=(64, 64))
        report.figure("S1-17", f"figure-{number}", draw, f"figure {number}: useful units, person {person}")


# Part 10: features of a convolutional net


def block(inputs, outputs, pool=True):
    layers = [fn.Conv2d(inputs, outputs, 3, padding=1), fn.BatchNorm2d(outputs), fn.ReLU()]
    return [*layers, fn.MaxPool2d(2)] if pool else layers


def train_features(p):
    """Train four convolutions on CIFAR-10, and a classifier on what they make of faces.

    256 * 6 * 6 is the size in AlexNet after its last convolution and the pooling behind it, not after the
    fourth convolution, which gives 13 x 13: here, too, a pooling follows the last convolution.
    """
    fn.manual_seed(0)
    training, test = fn.data.cifar10()
    if p.images:
        training, test = (fn.data.subset(*part, n=p.images) for part in (training, test))
    convolutions = [*block(3, 32), *block(32, 64), *block(64, 128, pool=False), *block(128, 256)]
    front = fn.Sequential(*convolutions, fn.GlobalAvgPool2d(), fn.Linear(256, 10))
    options = {"epochs": p.front_epochs, "seed": 0, "watch": False, "progress": False}
    fn.fit(front, training, optimizer=fn.Adam(1e-3), batch_size=100, augment=fn.augment.Flip(), **options)
    x, y = fn.data.subset(*fn.data.att_faces(size=(48, 48)), classes=range(p.people))
    colours = np.repeat(x[..., None], 3, axis=3)
    z = fn.features(front, colours, upto=len(convolutions) - 1)
    runs, histories = [], []
    for split in range(p.splits):
        fn.manual_seed(split)
        sets = fn.data.split(z, y, per_class=(6, 2, 2), seed=split)
        model = classifier(z[0].size, 64)
        histories.append(train_net(model, sets, 1e-4, 128, p.epochs))
        runs.append(accuracies(model, sets))
    return {
        "front": fn.evaluate(front, test)["accuracy"],
        "features": z[0].size,
        "runs": runs,
        "histories": histories,
    }


def show_features(result, report):
    report.expect("S1-18", "features without the 1 for the bias", result["features"], 9216, needs_data=False)
    for inputs, count in ((9216, 590_278), (9217, 590_342)):
        net = classifier(inputs, 64, outputs=6)
        report.expect("S1-18", f"parameters, {inputs} inputs", parameters(net), count, needs_data=False)
    report.measured("S1-18", "test accuracy of the front on CIFAR-10", result["front"])
    show_accuracies(report, "S1-18", result["runs"], {"train": 1.0, "valid": 0.95, "test": 0.933333})
    caption = "figure 14: accuracy on features of the stand-in"
    draw_accuracies(report, "S1-18", "figure-14", result["histories"], 2, caption)


EXPERIMENTS = [
    fn.Experiment(
        id="s1.part8.pictures",
        title="pictures by URL and SHA-256, and their split",
        items=("S1-14",),
        train=train_pictures,
        show=show_pictures,
        data=("att_faces",),
        minutes=0.1,
        expected="387 + 60 + 60 pictures",
        stand_in=STAND_IN,
    ),
    fn.Experiment(
        id="s1.part8.search",
        title="90 runs: learning rate, hidden units, batch size, activation",
        items=("S1-15",),
        train=train_search,
        show=show_search,
        full={
            "side": 64,
            "rates": (0.01, 0.001, 0.0001),
            "widths": (64, 128, 512, 1024, 4096),
            "batches": (32, 64, 128),
            "epochs": 150,
            "patience": 15,
        },
        quick={"side": 16, "rates": (0.001,), "widths": (16, 4096), "batches": (128,), "epochs": 2},
        data=("att_faces",),
        minutes=12.0,
        expected="lr .0001, 128 units, batch 128, ReLU",
        alone=True,
        stand_in=STAND_IN,
    ),
    fn.Experiment(
        id="s1.part8.best",
        title="faces by one hidden layer of 128 units, and what these look at",
        items=("S1-14", "S1-16", "S1-17"),
        train=train_best,
        show=show_best,
        full={"splits": 3, "epochs": 400},
        quick={"splits": 2, "epochs": 5},
        data=("att_faces",),
        minutes=0.5,
        expected="train 1.0, valid .75, test .80",
        stand_in=STAND_IN,
    ),
    fn.Experiment(
        id="s1.part10",
        title="faces by the features of a convolutional net",
        items=("S1-18",),
        train=train_features,
        show=show_features,
        full={"images": None, "front_epochs": 10, "people": PEOPLE, "splits": 3, "epochs": 400},
        quick={"images": 100, "front_epochs": 1, "people": 6, "splits": 2, "epochs": 2},
        data=("att_faces", "cifar10"),
        minutes=5.0,
        expected="train 1.0, valid .95, test .933",
        stand_in=STAND_IN_FRONT,
    ),
]
