"""Draw how a mini-batch flows through a training step: python docs/pictures/architecture.py docs/architecture

writes docs/architecture-light.svg and docs/architecture-dark.svg.
"""

import sys
from pathlib import Path

from svg import Theme, path, rectangle, save, text

WIDTH, HEIGHT = 880, 470
STEPS = [
    ("gather", ("rows by index,", "scale, augment")),
    ("forward", ("layer by layer,", "bias and ReLU fused")),
    ("loss", ("value and gradient", "in one pass")),
    ("backward", ("gradients of inputs", "and weights")),
    ("update", ("optimizer fused with", "weight gradients")),
]
PACKAGES = [
    ("cli, studies, measure, complexity, naive, nets", "commands, sweeps, measurements"),
    ("training", "fit, Trainer, callbacks, checkpoints, plans"),
    ("layers, losses, optim, data, augment, metrics", "check shapes, ask for buffers, call kernels"),
    ("recording", "writes kernel calls down, once"),
]


def draw(theme: Theme) -> list[str]:
    """The elements of the picture."""
    return [*_packages(theme), *_plan(theme)]


def _packages(theme: Theme) -> list[str]:
    drawn = [text(0, 18, "Python (fastnn/): each row may import the rows below it", font_weight=600)]
    for row, (name, what) in enumerate(PACKAGES):
        y = 32 + row * 40
        drawn += [
            rectangle(0.5, y, WIDTH - 1, 32, rx=6, fill=theme.box, stroke=theme.line),
            text(16, y + 21, name, font_weight=600),
            text(WIDTH - 16, y + 21, what, fill=theme.faint, text_anchor="end"),
        ]
    return drawn


def _plan(theme: Theme) -> list[str]:
    top = 226
    drawn = [
        text(0, top, "Kernels (kernels/): a training step is recorded once as a plan,", font_weight=600),
        text(
            0,
            top + 20,
            "then replayed as one native call without Python, the GIL or allocation",
            font_weight=600,
        ),
        rectangle(0.5, top + 36, WIDTH - 1, 126, rx=10, fill="none", stroke=theme.accent, stroke_width=1.5),
    ]
    width, gap = 148, 24
    for number, (name, lines) in enumerate(STEPS):
        x = 22 + number * (width + gap)
        y = top + 56
        drawn += [
            rectangle(x, y, width, 86, rx=8, fill=theme.box, stroke=theme.line),
            text(x + width / 2, y + 27, name, font_weight=600, fill=theme.accent, text_anchor="middle"),
        ]
        drawn += [
            text(x + width / 2, y + 50 + 18 * i, line, font_size=13, text_anchor="middle")
            for i, line in enumerate(lines)
        ]
        if number:
            middle = y + 43
            drawn += [
                path(f"M{x - gap + 3} {middle}h{gap - 8}", stroke=theme.ink, stroke_width=1.5),
                path(f"M{x - 10} {middle - 4}l6 4l-6 4z", fill=theme.ink),
            ]
    y = top + 188
    columns = [
        ("ref", "NumPy: the specification"),
        ("jit", "Numba"),
        ("aot", "C++ for each instruction set, threads"),
    ]
    x = 0.5
    for (name, what), wide in zip(columns, (255, 150, 443), strict=True):
        emphasis = theme.accent if name == "aot" else theme.line
        drawn += [
            rectangle(x, y, wide, 40, rx=6, fill=theme.box, stroke=emphasis),
            text(x + 16, y + 25, name, font_weight=600),
            text(x + 52, y + 25, what, fill=theme.faint),
        ]
        x += wide + 15.5
    return drawn


if __name__ == "__main__":
    title = "Python packages above, and below them a training step: gather, forward, loss, backward, update."
    save(Path(sys.argv[1]), WIDTH, HEIGHT, title, draw)
