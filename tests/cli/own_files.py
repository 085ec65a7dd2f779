"""Small data sets in files, as users of the command line have them."""

import csv

import numpy as np
from PIL import Image

COLOURS = ("green", "red", "white")


def write_rows(path, header, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def flowers(path, count=60, seed=0, missing=False):
    """A table of three classes that depend on the length and, beyond 5, on the colour (text)."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        length, colour = round(float(rng.uniform(0, 10)), 2), COLOURS[rng.integers(3)]
        species = "small" if length < 5 else ("tulip" if colour == "red" else "rose")
        shown = "" if missing and number % 10 == 3 else length
        rows.append([f"{number:03}", shown, 1e6 + number, colour, species])
    return write_rows(path, ["id", "length", "weight", "colour", "species"], rows)


def houses(path, count=80, seed=0):
    """A table for regression: price = 1000 (3 area + 50 [city is Rome])."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        area, city = round(float(rng.uniform(20, 200)), 1), ("Oslo", "Rome")[rng.integers(2)]
        rows.append([area, city, round(1000 * (3 * area + 50 * (city == "Rome")), 2)])
    return write_rows(path, ["area", "city", "price"], rows)


def pictures(folder, count=12, colour=True, seed=0):
    """Pictures of squares: the classes are the colours, or the halves of a grey picture."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(("blue one", "red one")):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            image = rng.integers(0, 60, (20, 24, 3)).astype(np.uint8)
            if colour:
                image[4:16, 4:20, 2 - 2 * label] += 150
            else:
                image[...] = image[..., :1]
                image[:, 12 * label : 12 * label + 12] += 150
            Image.fromarray(image).save(folder / name / f"{number}.png")
    return folder


def digit_files(folder, count=200):
    """train.csv and test.csv in the form of Kaggle's digit recognizer, with images of 8 x 8 pixels.

    Returns the labels of the test set.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x, y = (bunch.images * 15.9).astype(int).reshape(-1, 64)[:count], bunch.target[:count]
    names = [f"pixel{number}" for number in range(64)]
    split = count * 3 // 4
    train = ([label, *pixels] for label, pixels in zip(y[:split], x[:split].tolist(), strict=True))
    write_rows(folder / "train.csv", ["label", *names], train)
    write_rows(folder / "test.csv", names, x[split:].tolist())
    return y[split:]
