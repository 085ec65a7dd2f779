"""Write one HTML page about all results: `fastnn report`. It needs no network and no scripts."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastnn.files import write_atomic
from fastnn.reproduction.results import VERDICTS, Result, by_experiment, coverage, environment, results_in

LARGEST_SVG = 400_000  # bytes; beyond, the page holds the PNG
KINDS = {".svg": "image/svg+xml", ".png": "image/png"}


def write(out: Path, items: Mapping[str, str], path: Path) -> list[Result]:
    """Write the page about the results in the folder `out`, and return the results.

    `items` are the items of the reports with their texts: those without a result are listed as not run.
    Raises FileNotFoundError if there is no result.
    """
    results = results_in(out)
    write_atomic(path, page(results, items).encode())
    return results


def page(results: Sequence[Result], items: Mapping[str, str]) -> str:
    """Return the page as HTML."""
    style = files("fastnn.reproduction").joinpath("page.css").read_text("utf-8")
    groups = by_experiment(results)
    body = [
        "<h1>Reports reproduced with fastnn</h1>",
        _machine(results),
        "<h2>Coverage</h2>",
        _coverage(results, items),
        _contents(groups),
        *(_experiment(group) for group in groups),
        _missing(results, items),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<title>Reports reproduced with fastnn</title>\n<link rel="icon" href="data:,">\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def _machine(results: Sequence[Result]) -> str:
    """Versions, machine and time as a list of definitions."""
    rows = (f"<div><dt>{_(name)}</dt><dd>{_(value)}</dd></div>" for name, value in environment(results))
    return f"<dl>{''.join(rows)}</dl>"


def _coverage(results: Sequence[Result], items: Mapping[str, str]) -> str:
    """A line for each report: the number of its items with a row, and the verdicts of the rows."""
    heading, *rows = coverage(results, items)
    lines = (
        f"<tr><th>{_(row[0])}</th>{''.join(f'<td>{_(cell)}</td>' for cell in row[1:])}</tr>" for row in rows
    )
    first = "".join(f"<th>{_(name)}</th>" for name in heading)
    return f'<div class="scroll"><table class="numbers"><tr>{first}</tr>{"".join(lines)}</table></div>'


def _contents(groups: Sequence[Sequence[Result]]) -> str:
    """Links to the experiments."""
    links = (f'<li><a href="#{_(group[0]["id"])}">{_(group[0]["id"])}</a></li>' for group in groups)
    return f"<nav><ul>{''.join(links)}</ul></nav>"


def _experiment(variants: Sequence[Result]) -> str:
    """A section: the variants of an experiment side by side."""
    first = variants[0]
    stand_in = f'<p class="note">Stand-in: {_(first["stand_in"])}</p>' if first.get("stand_in") else ""
    columns = "".join(f'<div class="variant">{_variant(result)}</div>' for result in variants)
    return (
        f'<section id="{_(first["id"])}"><h2>{_(first["id"])}: {_(first["title"])}</h2>{stand_in}'
        f'<div class="variants">{columns}</div></section>'
    )


def _variant(result: Result) -> str:
    name = result["variant"] + (", quick" if result["quick"] else "")
    parameters = [f"{key} {value}" for key, value in result["depends_on"]["parameters"].items()]
    about = "; ".join(filter(None, [", ".join(parameters), f"{result['seconds']:.1f} s"]))
    rows = "".join(_row(row) for row in result["rows"])
    heading = "".join(
        f"<th>{cell}</th>" for cell in ("item", "what", "expected", "got", "tolerance", "verdict")
    )
    figures = "".join(_figure(result["folder"], figure, result["rows"]) for figure in result["figures"])
    return (
        f'<h3>{_(name)}</h3><p class="note">{_(about)}</p>'
        f'<div class="scroll"><table class="rows"><tr>{heading}</tr>{rows}</table></div>'
        f'<div class="figures">{figures}</div>'
    )


def _verdict(row: Mapping[str, str]) -> str:
    kind = next((kind for kind, names in VERDICTS.items() if row["verdict"] in names), "other")
    return f'<span class="{kind}">{_(row["verdict"])}</span>'


def _row(row: Mapping[str, str]) -> str:
    because = f'<div class="note">{_(row["because"])}</div>' if row["because"] else ""
    cells = "".join(
        f'<td data-label="{name}">{_(row[name])}</td>' if row[name] else "<td></td>"
        for name in ("expected", "got", "tolerance")
    )
    return (
        f"<tr><th>{_(row['item'])}</th><td>{_(row['what'])}{because}</td>{cells}<td>{_verdict(row)}</td></tr>"
    )


def _figure(folder: Path, figure: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> str:
    """The figure, as SVG or, if that is large, as PNG, and the claims about its item."""
    caption = f"{figure['item']}: {figure['caption']}"
    claims = [row for row in rows if row["item"] == figure["item"] and not row["got"] and row["because"]]
    listed = "".join(f"<li>{_verdict(row)} {_(row['what'])}: {_(row['because'])}</li>" for row in claims)
    text = f"<figcaption>{_(caption)}{f'<ul>{listed}</ul>' if listed else ''}</figcaption>"
    # Only files of this folder: the result may come from somebody else.
    names = sorted(map(str, figure["files"]), key=lambda name: name.endswith(".png"))
    found = [folder / name for name in names if Path(name).name == name and (folder / name).is_file()]
    pictures = [path for path in found if path.suffix in KINDS]
    if not pictures:
        return f"<figure><p>(the picture is missing)</p>{text}</figure>"
    small = (path for path in pictures if path.suffix != ".svg" or path.stat().st_size <= LARGEST_SVG)
    path = next(small, pictures[0])
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<figure><img src="data:{KINDS[path.suffix]};base64,{content}" alt="{_(caption)}">{text}</figure>'


def _missing(results: Sequence[Result], items: Mapping[str, str]) -> str:
    covered = {row["item"] for result in results for row in result["rows"]}
    missing = [f"<li>{_(item)}: {_(text)}</li>" for item, text in items.items() if item not in covered]
    return f"<h2>Not run</h2><ul>{''.join(missing)}</ul>" if missing else ""


def _(text: Iterable[str] | object) -> str:
    return html.escape(str(text))
