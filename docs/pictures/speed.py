"""Draw the time of training steps beside other libraries, from a run of bench/peers.py.

    python bench/peers.py --threads 1 2 --json peers.json
    python docs/pictures/speed.py peers.json docs/speed --threads 1

writes docs/speed-light.svg and docs/speed-dark.svg: a group of bars for each net, relative to fastnn. Of each
library its best variant counts (eager or compiled, either order of the channels), with any number of threads
up to --threads; of fastnn exactly that number.
"""

import argparse
import json
import re
from pathlib import Path

from svg import Theme, rectangle, save, text

LIBRARIES = {"fastnn": "fastnn", "torch": "PyTorch", "jax": "JAX", "sklearn": "scikit-learn"}
NAMES = {
    "16@7x7 tanh 10": "conv 16 7x7, tanh, dense 10",
    "32@3x3 64@3x3 bn pool 128 10": "CNN, 2 convolutions, batch norm",
}
WIDTH, LEFT, RIGHT, TOP = 880, 262, 120, 64
BAR, GAP, BETWEEN = 12, 3, 15
CUT = 5.0  # longer bars are broken off, or they would squeeze all others


def read(path: Path, threads: int) -> dict[str, dict[str, float]]:
    """Seconds per step by net and library, the fastest variant of each."""
    found: dict[str, dict[str, float]] = {}
    for benchmark in json.loads(path.read_text())["benchmarks"]:
        info, seconds = benchmark["extra_info"], benchmark["stats"]["median"]
        library = LIBRARIES[re.match("[a-z]+", info["contestant"])[0]]
        fits = info["threads"] == threads if library == "fastnn" else info["threads"] <= threads
        if fits:
            net = found.setdefault(info["shape"], {})
            net[library] = min(seconds, net.get(library, seconds))
    return {net: times for net, times in found.items() if "fastnn" in times}


def label(shape: str) -> tuple[str, str]:
    """("784-300-10 sigmoid", "batch 50, SGD") of "B 784-300-10 sigmoid b50 sgd"."""
    name, batch, optimizer = re.fullmatch(r"\w (.+) b(\d+) (\w+)", shape).groups()
    return NAMES.get(
        name, name.replace("relu", "ReLU")
    ), f"batch {batch}, {'Adam' if optimizer == 'adam' else optimizer.upper()}"


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us"


def chart(nets: dict[str, dict[str, float]], threads: int, theme: Theme) -> list[str]:
    """The elements of the picture."""
    colours = dict(zip(LIBRARIES.values(), (theme.accent, *theme.others), strict=True))
    unit = (WIDTH - LEFT - RIGHT) / CUT
    plural = "s" if threads > 1 else ""
    drawn = [
        text(0, 22, "Time of one training step", font_size=19, font_weight=600),
        text(0, 44, f"relative to fastnn, {threads} thread{plural}; shorter is better", fill=theme.faint),
    ]
    x = WIDTH - 8 * sum(map(len, colours)) - 40 * len(colours)
    for library, colour in colours.items():
        drawn += [rectangle(x, 11, 12, 12, rx=2, fill=colour), text(x + 17, 22, library)]
        x += 40 + 8 * len(library)
    y = TOP
    for shape, times in nets.items():
        present = [library for library in colours if library in times]
        height = len(present) * (BAR + GAP) - GAP
        for line, (words, fill) in enumerate(zip(label(shape), (theme.ink, theme.faint), strict=True)):
            drawn.append(text(0, y + height / 2 - 2 + 16 * line, words, fill=fill, font_size=13))
        for number, library in enumerate(present):
            ratio, top = times[library] / times["fastnn"], y + number * (BAR + GAP)
            drawn.append(rectangle(LEFT, top, min(ratio, CUT) * unit, BAR, rx=2, fill=colours[library]))
            if ratio > CUT:
                drawn.append(text(LEFT + (CUT - 0.25) * unit, top + 11, "//", font_size=13, font_weight=700))
            words = microseconds(times[library]) + ("" if library == "fastnn" else f", {ratio:.1f}x")
            weight = 600 if library == "fastnn" else 400
            end = LEFT + min(ratio, CUT) * unit + 6
            drawn.append(text(end, top + 10.5, words, font_size=12, font_weight=weight))
        y += height + BETWEEN
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the JSON file of bench/peers.py")
    parser.add_argument("out", type=Path, help="where to write, without -light.svg")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    nets = read(options.run, options.threads)
    bars = sum(len(times) for times in nets.values())
    height = TOP + bars * (BAR + GAP) + len(nets) * (BETWEEN - GAP)
    title = "The time of one training step of fastnn, PyTorch, JAX and scikit-learn on seven nets."
    save(options.out, WIDTH, height, title, lambda theme: chart(nets, options.threads, theme))


if __name__ == "__main__":
    main()
