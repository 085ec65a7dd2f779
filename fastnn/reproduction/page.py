"""Write one HTML page about all results: `fastnn report`. It needs no network and no scripts."""

from __future__ import annotations

import base64
import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastnn.files import write_atomic
from fastnn.reproduction import store

LARGEST_SVG = 400_000  # bytes; beyond, the page holds the PNG
KINDS = {".svg": "image/svg+xml", ".png": "image/png"}
VERDICTS = {
    "good": ("matches", "claim holds", "drawn"),
    "bad": ("differs", "claim does not hold"),
    "other": ("measured", "stand-in", "quick"),
}


def write(out: Path, items: Mapping[str, str], path: Path) -> list[dict[str, Any]]:
    """Write the page about the results in the folder `out`, and return the results.

    `items` are the items of the reports with their texts: those without a result are listed as not run.
    Raises FileNotFoundError if there is no result.
    """
    results = [
        {**found, "folder": folder.parent}
        for folder in sorted(out.glob(f"*/*/{store.RESULT}"))
        if not folder.parent.name.startswith(store.PARTIAL)
        and (found := store.finished(folder.parent)) is not None
    ]
    if not results:
        raise FileNotFoundError(f"{out} has no results: run fastnn reproduce --out {out} first")
    write_atomic(path, page(results, items).encode())
    return results


def page(results: Sequence[Mapping[str, Any]], items: Mapping[str, str]) -> str:
    """Return the page as HTML."""
    style = files("fastnn.reproduction").joinpath("page.css").read_text("utf-8")
    by_id: dict[str, list[Mapping[str, Any]]] = {}
    for result in sorted(results, key=_place):
        by_id.setdefault(result["id"], []).append(result)
    body = [
        "<h1>Reports reproduced with fastnn</h1>",
        _machine(results),
        "<h2>Coverage</h2>",
        _coverage(results, items),
        *(_experiment(group) for group in by_id.values()),
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


def _machine(results: Sequence[Mapping[str, Any]]) -> str:
    """Versions and machine; several values if the results come from several machines."""
    found: dict[str, dict[str, None]] = {}
    for result in results:
        for name, value in result["environment"].items():
            found.setdefault(name, {})[str(value)] = None
    seconds = sum(result["seconds"] for result in results)
    rows = [(name.replace("_", " "), ", ".join(values)) for name, values in found.items()]
    rows.append(("time of all trainings", f"{seconds / 60:.1f} minutes"))
    return (
        "<dl>"
        + "".join(f"<div><dt>{_(name)}</dt><dd>{_(value)}</dd></div>" for name, value in rows)
        + "</dl>"
    )


def _coverage(results: Sequence[Mapping[str, Any]], items: Mapping[str, str]) -> str:
    """A line for each report: the number of its items with a row, and the verdicts of the rows."""
    names = [name for names in VERDICTS.values() for name in names]
    covered = {row["item"] for result in results for row in result["rows"]}
    lines = []
    for report in sorted({_report(item) for item in (*items, *covered)}):
        counts = Counter(
            row["verdict"] for result in results for row in result["rows"] if _report(row["item"]) == report
        )
        wanted = [item for item in items if _report(item) == report]
        done = sum(item in covered for item in wanted)
        cells = [f"<td>{counts[name] or ''}</td>" for name in names]
        lines.append(f"<tr><th>{_(report)}</th><td>{done} of {len(wanted)}</td>{''.join(cells)}</tr>")
    heading = "".join(f"<th>{_(name)}</th>" for name in ("report", "items", *names))
    return f'<div class="scroll"><table class="numbers"><tr>{heading}</tr>{"".join(lines)}</table></div>'


def _experiment(variants: Sequence[Mapping[str, Any]]) -> str:
    """A section: the variants of an experiment side by side."""
    first = variants[0]
    stand_in = f'<p class="note">Stand-in: {_(first["stand_in"])}</p>' if first.get("stand_in") else ""
    columns = "".join(f'<div class="variant">{_variant(result)}</div>' for result in variants)
    return (
        f'<section id="{_(first["id"])}"><h2>{_(first["id"])}: {_(first["title"])}</h2>{stand_in}'
        f'<div class="variants">{columns}</div></section>'
    )


def _variant(result: Mapping[str, Any]) -> str:
    name = result["variant"] + (", quick" if result["quick"] else "")
    parameters = ", ".join(f"{key} {value}" for key, value in result["depends_on"]["parameters"].items())
    rows = "".join(_row(row) for row in result["rows"])
    heading = "".join(
        f"<th>{cell}</th>" for cell in ("item", "what", "expected", "got", "tolerance", "verdict")
    )
    figures = "".join(_figure(result["folder"], figure, result["rows"]) for figure in result["figures"])
    return (
        f'<h3>{_(name)}</h3><p class="note">{_(parameters)}; {result["seconds"]:.1f} s</p>'
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


def _missing(results: Sequence[Mapping[str, Any]], items: Mapping[str, str]) -> str:
    covered = {row["item"] for result in results for row in result["rows"]}
    missing = [f"<li>{_(item)}: {_(text)}</li>" for item, text in items.items() if item not in covered]
    return f"<h2>Not run</h2><ul>{''.join(missing)}</ul>" if missing else ""


def _place(result: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sort key: numbers in ids by their value, full runs before quick ones, what is corrected first."""
    words = [(int(word) if word.isdecimal() else 0, word) for word in re.split(r"(\d+)", result["id"])]
    return words, result["quick"], result["variant"] == "as-written", result["variant"]


def _report(item: str) -> str:
    return item.partition("-")[0]


def _(text: Iterable[str] | object) -> str:
    return html.escape(str(text))
