"""A few SVG elements, and pictures in two themes: light and dark."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape


class Theme(NamedTuple):
    """Colours of the text, of secondary text, of lines, of boxes, of fastnn, and of the other libraries."""

    ink: str
    faint: str
    line: str
    box: str
    accent: str
    others: tuple[str, str, str]


# The background is transparent. Accent and others are told apart by the colour-blind (Okabe and Ito 2008).
THEMES = {
    "light": Theme("#1f2328", "#59636e", "#afb8c1", "#f6f8fa", "#0550ae", ("#d1762f", "#b08fc7", "#9aa4b2")),
    "dark": Theme("#e6edf3", "#9198a1", "#545d68", "#161b22", "#58a6ff", ("#c9764f", "#a07fc0", "#6b7280")),
}
FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


def save(stem: Path, width: int, height: int, title: str, draw: Callable[[Theme], list[str]]) -> None:
    """Write `<stem>-light.svg` and `<stem>-dark.svg` from the elements that `draw(theme)` returns."""
    for name, theme in THEMES.items():
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" font-family="{FONT}" font-size="14" fill="{theme.ink}">'
        )
        lines = [head, f"<title>{escape(title)}</title>", *draw(theme), "</svg>"]
        path = stem.with_name(f"{stem.name}-{name}.svg")
        path.write_text("\n".join(lines) + "\n")
        print(f"written to {path}")


def text(x: float, y: float, words: str, **attributes: object) -> str:
    """Words at (x, y); attributes such as fill or text_anchor."""
    return f'<text x="{x:g}" y="{y:g}"{_written(attributes)}>{escape(words)}</text>'


def rectangle(x: float, y: float, width: float, height: float, **attributes: object) -> str:
    """A rectangle with its upper left corner at (x, y)."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"{_written(attributes)}/>'


def path(d: str, **attributes: object) -> str:
    """A line: `d` in SVG's path commands."""
    return f'<path d="{d}"{_written({"fill": "none", **attributes})}/>'


def _written(attributes: dict[str, object]) -> str:
    return "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
