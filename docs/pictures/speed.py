"""Draw the time of training steps beside other libraries, from a run of bench/peers.py.

    python bench/peers.py --threads 1 2 --json peers.json
    python docs/pictures/speed.py peers.json docs/speed --threads 1

writes docs/speed-light.svg and docs/speed-dark.svg: a group of bars for each net, relative to fastnn
(`steps.read` says which variants count).
"""

import argparse
from pathlib import Path

from steps import LIBRARIES, Net, read
from svg import Theme, rectangle, save, text

# A selection that fits on a page; docs/performance.md has all nets.
CHART = ["A", "B", "D", "G", "H32", "I32", "J128"]
WIDTH, LEFT, RIGHT, TOP = 880, 262, 120, 64
BAR, GAP, BETWEEN = 12, 3, 15
CUT = 5.0  # longer bars are broken off, or they would squeeze all others


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us"


def chart(nets: dict[Net, dict[str, float]], threads: int, theme: Theme) -> list[str]:
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
    for net, times in nets.items():
        present = [library for library in colours if library in times]
        height = len(present) * (BAR + GAP) - GAP
        middle = y + height / 2 - 2
        drawn.append(text(0, middle, net.layers, fill=theme.ink, font_size=13))
        drawn.append(text(0, middle + 16, net.training, fill=theme.faint, font_size=13))
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
    parser.add_argument(
        "--nets", nargs="+", default=CHART, help=f"their letters (default: {' '.join(CHART)})"
    )
    options = parser.parse_args()
    nets = read(options.run, options.threads, options.nets)
    bars = sum(len(times) for times in nets.values())
    height = TOP + bars * (BAR + GAP) + len(nets) * (BETWEEN - GAP)
    title = "The time of one training step of fastnn, PyTorch, JAX and scikit-learn on small nets."
    save(options.out, WIDTH, height, title, lambda theme: chart(nets, options.threads, theme))


if __name__ == "__main__":
    main()
